"""What the journals of a work directory tell of its runs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from taskfarmer_mpi.history.runs import Attempt, read_histories
from taskfarmer_mpi.workdir.files import Workdir


def runs_of(workdir: Path) -> dict[int, list[Attempt]]:
    """Return the runs of each task, in the order of their begins."""
    found: dict[int, list[Attempt]] = {}
    for history in read_histories(Workdir(workdir))[0]:
        for run in history.attempts():
            found.setdefault(run.task_id, []).append(run)
    return {task: sorted(runs, key=lambda run: run.begin) for task, runs in found.items()}


def most_at_once(workdir: Path, tasks: Collection[int]) -> int:
    """Return how many of some tasks ran at the same time at most."""
    moments: list[tuple[float, int]] = []
    for history in read_histories(Workdir(workdir))[0]:
        for run in history.attempts():
            if run.task_id in tasks:
                moments += [(run.begin, 1), (run.end if run.end is not None else history.last_moment(), -1)]
    running = most = 0
    for _, step in sorted(moments):
        running += step
        most = max(most, running)
    return most
