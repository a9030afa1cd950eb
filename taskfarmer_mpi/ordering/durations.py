"""What tasks took in an earlier run: a work directory of ours, or the joblog of GNU parallel.

The joblog is a table with tabs between its columns, of which `JobRuntime` [s], `Exitval`, `Signal` and `Command` count (GNU
parallel's manual, option ``--joblog``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.history.last_runs import read_last_runs
from taskfarmer_mpi.history.runs import Outcome
from taskfarmer_mpi.workdir.files import Workdir

_JOBLOG = ("JobRuntime", "Exitval", "Signal", "Command")

Timed = tuple[str, float, bool]
"""A command, what it took [s], and whether it finished."""


def read_durations(path: Path) -> dict[str, float]:
    """Return what commands took [s]: the mean of the runs that finished, where there are some.

    Parameters
    ----------
    path
        A work directory, or its tasklist, or a joblog.

    Raises
    ------
    UserError
        If it is neither, cannot be read, or no command ended there.
    """
    if not (found := _means(list(_read_runs(path)))):
        raise UserError(f"--durations: {path}: no task has ended there, so nothing is known about how long they take")
    return found


def own_durations(workdir: Workdir) -> dict[str, float]:
    """Return likewise what the commands of a work directory took so far; nothing if none has ended."""
    return _means(list(_runs_of(workdir)))


def _means(runs: list[Timed]) -> dict[str, float]:
    finished = {command for command, _, is_finished in runs if is_finished}
    totals: dict[str, tuple[int, float]] = {}
    for command, seconds, is_finished in runs:
        if is_finished or command not in finished:
            count, total = totals.get(command, (0, 0.0))
            totals[command] = (count + 1, total + seconds)
    return {command: total / count for command, (count, total) in totals.items()}


def _read_runs(path: Path) -> Iterator[Timed]:
    workdir = Workdir.meant(path)
    try:
        if workdir.path.is_dir():
            return _runs_of(Workdir.existing(workdir.path))
        return _joblog_runs(path, path.read_bytes().decode("utf-8", "surrogateescape"))
    except OSError as error:
        raise UserError(f"--durations: {path}: cannot read: {error.strerror}") from error


def _runs_of(workdir: Workdir) -> Iterator[Timed]:
    runs, _ = read_last_runs(workdir)
    for task, _, seconds, _, _ in runs.ended_runs():
        yield runs.texts[task], seconds, runs.is_told(task, Outcome.FINISHED)


def _joblog_runs(path: Path, text: str) -> Iterator[Timed]:
    lines = text.split("\n")
    header = lines[0].split("\t")
    if not set(_JOBLOG) <= set(header):
        raise UserError(
            f"--durations: {path}: neither a work directory nor a joblog of GNU parallel, whose first line has the columns"
            f" {', '.join(_JOBLOG)}"
        )
    runtime, code, signal, command = (header.index(name) for name in _JOBLOG)
    for number, line in enumerate(lines[1:], 2):
        if not line:
            continue
        cells = line.split("\t", len(header) - 1)
        try:
            yield cells[command].strip(), max(float(cells[runtime]), 0.0), (int(cells[code]), int(cells[signal])) == (0, 0)
        except (IndexError, ValueError):
            raise UserError(f"--durations: {path}:{number}: not a line of a joblog: {line[:60]!r}") from None
