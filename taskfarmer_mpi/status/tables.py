"""The tasks as tables for other programs: GNU parallel's joblog, CSV, SQLite. A row is made when it is written."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from taskfarmer_mpi.common.causes import CANNOT_CODES, describe_cause
from taskfarmer_mpi.directives.book import read_names
from taskfarmer_mpi.history.last_runs import LastRuns, TaskState
from taskfarmer_mpi.history.runs import Attempt, Outcome
from taskfarmer_mpi.logs.reading import Logs
from taskfarmer_mpi.workdir.files import Workdir

JOBLOG_HEAD = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand"


class Row(NamedTuple):
    """One task; what is not known is None."""

    id: int
    state: str
    farmer: str | None
    host: str | None
    rank: int | None
    slot: int | None
    attempts: int
    begin: float | None
    end: float | None
    duration: float | None
    exit_code: int | None
    signal: int | None
    cause: str | None
    log: str
    command: str
    kind: str | None = None
    cpu: float | None = None
    max_rss: int | None = None
    name: str | None = None


def make_row(last_runs: LastRuns, logs: Logs, task: int, name: str = "") -> Row:
    """Return the row of a task."""
    state = last_runs.state(task)
    run = last_runs.last_run(task)
    history = last_runs.farmer(task)
    who = history.identity if history else None
    code = run.returncode if run and run.outcome in (Outcome.FINISHED, Outcome.FAILED) else None
    return Row(
        id=task,
        state=state.value,
        farmer=who.farmer if who else None,
        host=who.host if who else None,
        rank=who.rank if who else None,
        slot=run.slot if run else None,
        attempts=last_runs.attempts(task),
        begin=_microseconds(run.begin if run else None),
        end=_microseconds(run.end if run else None),
        duration=_microseconds(max(run.end - run.begin, 0.0) if run and run.end is not None else None),
        exit_code=None if code is None or code < 0 else code,
        signal=-code if code is not None and code < 0 else None,
        cause=_cause(logs, state, task, run),
        log=logs.name(task, who.farmer if who else None),
        command=last_runs.texts[task],
        kind=run.cause if run else None,
        cpu=_microseconds(run.cpu if run and run.end is not None else None),
        max_rss=(run.max_rss or None) if run else None,
        name=name or None,
    )


def _microseconds(time: float | None) -> float | None:
    """Return a time [s] with the digits that it has."""
    return None if time is None else round(time, 6)


def _cause(logs: Logs, state: TaskState, task: int, run: Attempt | None) -> str | None:
    if run is not None and run.outcome in (Outcome.KILLED, Outcome.LOST):
        return describe_cause(run.returncode, cause=run.cause)
    if state is not TaskState.FAILED:
        return None
    if run is None:
        return describe_cause(None)
    log = logs.ends(task)[0] if run.returncode in CANNOT_CODES else b""
    return describe_cause(run.returncode, log, run.cause, run.max_rss)


def make_rows(last_runs: LastRuns, workdir: Workdir, tasks: Iterable[int] | None = None) -> Iterator[Row]:
    """Yield the rows of tasks, or of all tasks in the order of their IDs."""
    everything = range(len(last_runs))
    logs = Logs(workdir, [task for task in everything if last_runs.state(task) is TaskState.FAILED])
    name_of = read_names(workdir)
    return (make_row(last_runs, logs, task, name_of(task)) for task in (everything if tasks is None else tasks))


def encode_joblog(row: Row) -> str | None:
    """Return a task's line of a joblog without its newline; None if it has not ended.

    A task that a PyTaskFarmer ran has 1 as its exit code if it failed: nobody knows better.
    """
    if row.state not in ("finished", "failed"):
        return None
    code = row.exit_code or 0
    if row.state == "failed" and not code and row.signal is None:
        code = 1
    return (
        f"{row.id + 1}\t{row.host or '-'}\t{row.begin or 0.0:.3f}\t{row.duration or 0.0:10.3f}\t0\t0"
        f"\t{code}\t{row.signal or 0}\t{row.command}"
    )


def write_joblog(path: Path, last_runs: LastRuns, workdir: Workdir) -> None:
    """Write what has ended as GNU parallel does, in the order of the ends."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        file.write(JOBLOG_HEAD + "\n")
        for row in make_rows(last_runs, workdir, last_runs.in_order_of_ends()):
            line = encode_joblog(row)
            if line is not None:
                file.write(line + "\n")


def write_csv(path: Path, last_runs: LastRuns, workdir: Workdir) -> None:
    """Write all tasks as comma-separated values with a head line, as RFC 4180 has them, but with plain newlines."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(make_rows(last_runs, workdir))
