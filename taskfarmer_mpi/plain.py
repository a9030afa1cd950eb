"""The runs of PyTaskFarmer farmers, as far as `timeline.json` tells: it has process, worker, times and text of each run.

Nothing says which task it was or on which node: the text must do, and the lists say how the task ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from taskfarmer_mpi.history import Attempt, FarmerHistory, FarmerState, Outcome
from taskfarmer_mpi.journal import Identity
from taskfarmer_mpi.lists import parse_task
from taskfarmer_mpi.marks import is_time
from taskfarmer_mpi.plain_events import Snapshot
from taskfarmer_mpi.workdir import Workdir, read_file, reading


@dataclass(frozen=True, slots=True)
class PlainHistory(FarmerHistory):
    """What one PyTaskFarmer did."""

    runs: tuple[Attempt, ...] = ()

    def last_moment(self) -> float:
        """Return when its last run ended [s since the epoch]."""
        return max((run.end for run in self.runs if run.end is not None), default=self.born)

    def attempts(self) -> Iterator[Attempt]:
        """Yield its runs."""
        return iter(self.runs)


def read_plain_histories(workdir: Workdir) -> tuple[list[PlainHistory], list[str]]:
    """Return what PyTaskFarmers did, and what could not be read and why."""
    snapshot = Snapshot(workdir.timeline)
    try:
        events = [event for event in snapshot.events() if _is_run(event)]
    finally:
        snapshot.close()
    troubles = [f"{snapshot.trouble}; other runs of PyTaskFarmers are left out"] if snapshot.trouble else []
    if not events:
        return [], troubles
    tasks = _tasks_by_text(workdir)
    farmers: dict[int, list[dict[str, Any]]] = {}
    for event in sorted(events, key=itemgetter("ts")):
        farmers.setdefault(event["pid"], []).append(event)
    return [_history(workdir, pid, runs, tasks) for pid, runs in farmers.items()], troubles


def _is_run(event: object) -> bool:
    return (
        isinstance(event, dict)
        and event.get("ph") == "X"
        and event.get("args") == {}
        and isinstance(event.get("name"), str)
        and isinstance(event.get("pid"), int)
        and all(is_time(event.get(name)) for name in ("ts", "dur"))
    )


def _tasks_by_text(workdir: Workdir) -> dict[str, deque[tuple[int, Outcome]]]:
    found: dict[str, deque[tuple[int, Outcome]]] = {}
    for path, outcome in ((workdir.finished, Outcome.FINISHED), (workdir.failed, Outcome.FAILED)):
        with reading(path):
            lines = (read_file(path) or b"").split(b"\n")[:-1]
        for line in lines:
            if (task := parse_task(line)) is not None:
                found.setdefault(task.text, deque()).append((task.id, outcome))
    return found


def _history(
    workdir: Workdir, pid: int, events: list[dict[str, Any]], tasks: dict[str, deque[tuple[int, Outcome]]]
) -> PlainHistory:
    slots: dict[object, int] = {}
    runs = []
    for event in events:
        slot = slots.setdefault(str(event.get("tid")), len(slots))
        of_text = tasks.get(event["name"])
        if of_text:
            task, outcome = of_text[0]
            of_text.rotate(-1)  # the next run of the same text is that of the next task
            begin = event["ts"] / 1e6
            code = 0 if outcome is Outcome.FINISHED else None
            runs.append(Attempt(task, slot, begin, begin + event["dur"] / 1e6, code, outcome))
    name = f"PyTaskFarmer-{pid}"
    identity = Identity(
        farmer=name, host="?", pid=pid, rank=0, ranks=1, job="", slots=max(len(slots), 1), alive_lock="", task_lock=""
    )
    return PlainHistory(workdir.timeline, identity, events[0]["ts"] / 1e6, FarmerState.GONE, tuple(runs))
