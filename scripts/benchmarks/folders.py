"""The tasklists of runs, and whether all was done."""

from __future__ import annotations

from pathlib import Path


class BenchError(Exception):
    """A contender did not do its work."""


def write_tasklist(folder: Path, tasks: int) -> None:
    """Write the tasklist of a run."""
    (folder / "tasks").write_text("".join(f"/bin/true {number}\n" for number in range(tasks)))


def check_finished(folder: Path, tasks: int) -> None:
    """Check that each task is on the list of the finished ones, once."""
    lines = (folder / "tasks_workdir" / "finished").read_text().splitlines()
    if sorted(int(line.split()[0]) for line in lines) != list(range(tasks)):
        raise BenchError(f"{folder}: not every task is recorded as finished once")
