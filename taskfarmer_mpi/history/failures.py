"""Tasks that failed: which, why, and what their logs say last."""

from __future__ import annotations

from taskfarmer_mpi.common.causes import describe_cause
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.common.wording import last_lines
from taskfarmer_mpi.history.runs import Attempt
from taskfarmer_mpi.workdir.files import Workdir, read_file, reading
from taskfarmer_mpi.workdir.journal_records import Identity
from taskfarmer_mpi.workdir.lists import parse_task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.logs.reading import Logs

_LINE_GUESS = 2 * 1024


class Failure(Value):
    """A task that failed; what no journal tells is None."""

    task: int
    cause: str
    exit_code: int | None
    """Exit code, or minus the number of the signal that ended it."""
    farmer: str | None
    host: str | None
    rank: int | None
    slot: int | None
    begin: float | None
    """[s since the epoch]"""
    end: float | None
    """[s since the epoch]"""
    command: str
    log: str
    log_tail: list[str]
    kind: str | None = None
    """The word of the cause, as journals have it."""
    cpu: float | None = None
    """User and system time [s]."""
    max_rss: int | None = None
    """Peak memory of its largest process [KiB]."""
    name: str | None = None
    """What a `#TF` line calls it."""


def last_failed(workdir: Workdir, count: int) -> dict[int, str]:
    """Return the last tasks on the list of the failed ones with their texts, the oldest first."""
    lines: list[bytes] = []
    with reading(workdir.failed):
        size = workdir.failed.stat().st_size if workdir.failed.exists() else 0
        length = (count + 1) * _LINE_GUESS
        while count and len(lines) < count:
            start = max(0, size - length)
            data = read_file(workdir.failed, start) or b""
            lines = data[: data.rfind(b"\n") + 1].split(b"\n")[1 if start else 0 : -1][-count:]
            if not start:
                break
            length *= 2
    tasks = [task for line in lines if (task := parse_task(line)) is not None]
    return {task.id: task.text for task in tasks}


def tell_failure(
    logs: Logs, task: int, command: str, who: Identity | None, run: Attempt | None, lines: int, name: str = ""
) -> Failure:
    """Return what is known of a failed task.

    Parameters
    ----------
    logs
        Where its log is.
    task, command
        The task.
    who, run
        The farmer that ran it and its last run; None if no journal tells.
    lines
        How many of the last lines of the log to quote.
    name
        What the task is called, if it has a name.
    """
    head, tail = logs.ends(task)
    return Failure(
        task=task,
        cause=describe_cause(run.returncode, head, run.cause, run.max_rss) if run else describe_cause(None, head),
        exit_code=run.returncode if run else None,
        farmer=who.farmer if who else None,
        host=who.host if who else None,
        rank=who.rank if who else None,
        slot=run.slot if run else None,
        begin=run.begin if run else None,
        end=run.end if run else None,
        command=command,
        log=logs.name(task),
        log_tail=last_lines(tail, lines),
        kind=run.cause if run else None,
        cpu=run.cpu if run else None,
        max_rss=(run.max_rss or None) if run else None,
        name=name or None,
    )
