"""The runs of PyTaskFarmer farmers, as far as `timeline.json` tells: it has process, worker, times and text of each run.

Nothing says which task it was or on which node: the text must do, and the lists say how the task ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any

from taskfarmer_mpi.history.event_marks import is_time
from taskfarmer_mpi.history.pytaskfarmer_events import Snapshot
from taskfarmer_mpi.history.runs import Attempt, FarmerHistory, FarmerState, Outcome
from taskfarmer_mpi.workdir.files import Workdir, read_file, reading
from taskfarmer_mpi.workdir.journal_records import Identity
from taskfarmer_mpi.workdir.lists import parse_task

UNKNOWN_HOST = "?"
"""Stands for the node of a PyTaskFarmer: nothing tells it."""
IsTold = Callable[[int, Outcome], bool]
"""Whether a journal of ours tells of the run by which a task ended so."""


class _Tasks:
    """The tasks that ended, by their texts; tasks whose last run is in a journal only if there is no other of that text."""

    def __init__(self, workdir: Workdir, is_told: IsTold) -> None:
        self._workdir = workdir
        self._is_told = is_told
        self._found: dict[str, deque[tuple[int, Outcome]]] | None = None

    def next(self, text: str) -> tuple[int, Outcome] | None:
        """Return a task with a text, and how it ended: with each call the next one."""
        if self._found is None:
            self._found = self._read()
        tasks = self._found.get(text)
        if tasks is None:
            return None
        tasks.rotate(-1)
        return tasks[-1]

    def _read(self) -> dict[str, deque[tuple[int, Outcome]]]:
        told: dict[str, deque[tuple[int, Outcome]]] = {}
        others: dict[str, deque[tuple[int, Outcome]]] = {}
        for path, outcome in ((self._workdir.finished, Outcome.FINISHED), (self._workdir.failed, Outcome.FAILED)):
            with reading(path):
                lines = (read_file(path) or b"").split(b"\n")[:-1]
            for task in filter(None, map(parse_task, lines)):
                found = told if self._is_told(task.id, outcome) else others
                found.setdefault(task.text, deque()).append((task.id, outcome))
        return told | others


class PlainHistory(FarmerHistory):
    """What one PyTaskFarmer did."""

    events: tuple[tuple[int, dict[str, Any]], ...]
    """Its runs as the timeline has them, with their slots, in the order of their begins."""
    tasks: _Tasks

    def last_moment(self) -> float:
        """Return when its last run ended [s since the epoch]."""
        return max(float(event["ts"] + event["dur"]) for _, event in self.events) / 1e6

    def has_left(self) -> bool:
        """Return that it left: nothing tells otherwise."""
        return True

    def attempts(self) -> Iterator[Attempt]:
        """Yield its runs; to be called once, and after what tells which tasks are ours has been read."""
        for slot, event in self.events:
            task = self.tasks.next(event["name"])
            if task is not None:
                begin, outcome = event["ts"] / 1e6, task[1]
                code = 0 if outcome is Outcome.FINISHED else None
                yield Attempt(task[0], slot, begin, begin + event["dur"] / 1e6, code, outcome)


def read_plain_histories(
    workdir: Workdir, is_told: IsTold = lambda _task, _outcome: False
) -> tuple[list[PlainHistory], list[str]]:
    """Return what PyTaskFarmers did, and what could not be read and why.

    Parameters
    ----------
    workdir
        Where they worked.
    is_told
        Whether a journal of ours tells how a task ended; not asked before the first attempt is.
    """
    snapshot = Snapshot(workdir.timeline)
    try:
        events = [event for event in snapshot.events() if _is_run(event)]
    finally:
        snapshot.close()
    troubles = [f"{snapshot.trouble}; other runs of PyTaskFarmers are left out"] if snapshot.trouble else []
    if not events:
        return [], troubles
    tasks = _Tasks(workdir, is_told)
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


def _history(workdir: Workdir, pid: int, events: list[dict[str, Any]], tasks: _Tasks) -> PlainHistory:
    slots: dict[str, int] = {}
    runs = tuple((slots.setdefault(str(event.get("tid")), len(slots)), event) for event in events)
    identity = Identity(
        farmer=f"PyTaskFarmer-{pid}",
        host=UNKNOWN_HOST,
        pid=pid,
        rank=0,
        ranks=1,
        job="",
        slots=len(slots),
        alive_lock="",
        task_lock="",
    )
    return PlainHistory(workdir.timeline, identity, events[0]["ts"] / 1e6, FarmerState.GONE, runs, tasks)
