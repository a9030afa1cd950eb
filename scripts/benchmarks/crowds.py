"""Many plain farmers of one slot at one lock: what they ask of it, how long they wait for it, and when the last one ends."""

from __future__ import annotations

import json
import resource
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.folders import BenchError, check_finished

COUNTED = Path(__file__).with_name("counted_farmer.py")


@dataclass(frozen=True)
class LockUse:
    """What one or more farmers did with a lock."""

    tries: int
    """Attempts, those that succeeded included."""
    waits: list[float]
    """How long it was waited for each hold [s]."""
    holds: list[float]
    """How long each hold lasted [s]."""
    begin: float
    """First attempt [s]."""
    end: float
    """Last attempt [s]."""

    @property
    def rate(self) -> float:
        """Attempts a second."""
        return self.tries / max(self.end - self.begin, 1e-9)


@dataclass(frozen=True)
class CrowdRun:
    """One run of many farmers."""

    farmers: int
    tasks: int
    seconds: float
    """How long a task sleeps [s]."""
    wall: float
    """From the first command to the last farmer's end [s]."""
    first_start: float
    """From the first command to the begin of the first task [s]."""
    spread: float
    """From the first farmer's first attempt at the lock to that of the last one [s]."""
    after: float
    """From the last task's end to the last farmer's end [s]."""
    cpu: float
    """CPU time of farmers, guardians and tasks [s]."""
    lock: LockUse

    @property
    def ideal(self) -> float:
        """How long the tasks take if no slot ever waits [s]."""
        return -(-self.tasks // self.farmers) * self.seconds


def parse_notes(text: str) -> LockUse:
    """Return what the notes of one farmer say."""
    notes = [(line[0], float(line[2:])) for line in text.splitlines()]
    waits, holds, since = [], [], None
    for (sign, moment), (after, later) in pairwise([*notes, ("", 0.0)]):
        if sign == "-":
            since = moment if since is None else since
        elif sign == "+":
            waits.append(0.0 if since is None else moment - since)
            since = None
            if after == "/":
                holds.append(later - moment)
    attempts = [moment for sign, moment in notes if sign != "/"]
    return LockUse(len(attempts), waits, holds, attempts[0], attempts[-1])


def sum_up(uses: list[LockUse]) -> LockUse:
    """Return what several farmers did together."""
    waits, holds = [wait for use in uses for wait in use.waits], [hold for use in uses for hold in use.holds]
    begin, end = min(use.begin for use in uses), max(use.end for use in uses)
    return LockUse(sum(use.tries for use in uses), waits, holds, begin, end)


def run_crowd(
    folder: Path, python: str, environ: Mapping[str, str], *, farmers: int, tasks: int, seconds: float, poll: float = 0.0
) -> CrowdRun:
    """Let plain farmers of one slot work through tasks that sleep, all in one work directory.

    Parameters
    ----------
    folder
        An empty directory.
    python, environ
        A Python that has taskfarmer_mpi, and its environment.
    farmers, tasks, seconds
        How many farmers and tasks, and how long a task sleeps [s].
    poll
        After how long farmers that wait ask for the lock again [s]; 0 if as they do.

    Raises
    ------
    BenchError
        If a farmer failed, or not all tasks are done.
    """
    notes = folder / "notes"
    notes.mkdir()
    (folder / "tasks").write_text(f"sleep {seconds:g}\n" * tasks)
    surroundings = {**environ, "BENCH_NOTES": str(notes), "BENCH_POLL": f"{poll:g}" if poll else ""}
    command = [python, str(COUNTED), "--mpi", "off", "--progress", "none", "--proc", "1", "tasks"]
    began, used = time.time(), _cpu()
    with (folder / "output").open("wb") as output:
        crowd = [
            subprocess.Popen(
                command, cwd=folder, env=surroundings, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
            for _ in range(farmers)
        ]
        codes = [farmer.wait() for farmer in crowd]
    ended = time.time()
    if any(codes):
        raise BenchError(f"{folder}: {sum(map(bool, codes))} of {farmers} farmers failed; see {folder / 'output'}")
    check_finished(folder, tasks)
    uses = [parse_notes(path.read_text()) for path in notes.iterdir()]
    runs = list(_runs(folder / "tasks_workdir" / "farmers"))
    begins = [use.begin for use in uses]
    return CrowdRun(
        farmers, tasks, seconds, ended - began, min(runs)[0] - began, max(begins) - min(begins),
        ended - max(end for _, end in runs), _cpu() - used, sum_up(uses),
    )  # fmt: skip


def _cpu() -> float:
    """Return the CPU time of processes that this one has waited for, and theirs [s]."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _runs(farmers: Path) -> Iterator[tuple[float, float]]:
    """Yield begin and end of all runs, by the journals [s since the epoch]."""
    for path in farmers.iterdir():
        for line in path.read_text().splitlines():
            record = json.loads(line)
            if record.get("ev") == "end":
                yield record.get("begin", record["end"]), record["end"]


def crowd_table(runs: list[CrowdRun]) -> list[str]:
    """Return runs as a Markdown table."""
    names = (
        *("farmers", "tasks", "attempts a second", "for each hold", "a hold, mean [ms]", "wait, mean [s]", "longest [s]"),
        *("last farmer's end after the last task's [s]", "all [s]", "of the ideal", "CPU of all [s]"),
    )
    rows = [" | ".join(_cells(run)) for run in runs]
    return [f"| {' | '.join(names)} |", "|--:" * len(names) + "|", *(f"| {row} |" for row in rows)]


def _cells(run: CrowdRun) -> list[str]:
    lock = run.lock
    hold, wait = sum(lock.holds) / len(lock.holds), sum(lock.waits) / len(lock.waits)
    return [
        *(
            f"{run.farmers}",
            f"{run.tasks:,}",
            f"{lock.rate:.0f}",
            f"{lock.tries / len(lock.waits):.1f}",
            f"{1000 * hold:.1f}",
        ),
        *(f"{wait:.2f}", f"{max(lock.waits):.1f}", f"{run.after:.1f}", f"{run.wall:.1f}", f"{run.wall / run.ideal:.2f}"),
        f"{run.cpu:.0f}",
    ]


def describe_crowd(run: CrowdRun) -> dict[str, object]:
    """Return a run for JSON."""
    lock = run.lock
    return {
        "farmers": run.farmers, "tasks": run.tasks, "task_s": run.seconds, "wall_s": run.wall, "ideal_s": run.ideal,
        "first_start_s": run.first_start, "spread_s": run.spread, "after_s": run.after, "cpu_s": run.cpu,
        "tries": lock.tries, "tries_per_s": lock.rate, "holds": len(lock.waits),
        "hold_mean_s": sum(lock.holds) / len(lock.holds),
        "hold_max_s": max(lock.holds), "wait_max_s": max(lock.waits), "holds_s": lock.holds,
    }  # fmt: skip
