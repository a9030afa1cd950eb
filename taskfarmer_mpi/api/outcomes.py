"""How a task ended, as a value of its own."""

from __future__ import annotations

from pathlib import Path

from taskfarmer_mpi.common.causes import CANNOT_CODES, Cause, cause_of, describe_cause
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.logs.reading import Logs
from taskfarmer_mpi.workdir.files import Workdir, read_file
from taskfarmer_mpi.workdir.journal_records import Identity, Record

FINISHED, FAILED, REMOVED = "finished", "failed", "removed"


class TaskOutcome(Value):
    """A task whose end is recorded; what is not known, as where a PyTaskFarmer ran it, is None."""

    id: int
    command: str
    """Its text, as the tasklist has it, or as it was added."""
    state: str
    """``"finished"``, ``"failed"``, or ``"removed"`` for one that was taken off the list."""
    exit_code: int | None
    """None also if a signal ended it."""
    signal: int | None
    """The number of the signal that ended it."""
    kind: Cause | None
    """Why it failed, in one of a few words, as ``"exit code"``; None if it finished."""
    cause: str | None
    """Why it failed, in a sentence."""
    begin: float | None
    """[s since the epoch]"""
    end: float | None
    """[s since the epoch]"""
    cpu: float | None
    """User and system time [s]."""
    max_rss: int | None
    """Peak memory of its largest process [KiB]."""
    host: str | None
    """The node where it ran."""
    log: Path
    """Where its output is."""

    @property
    def is_finished(self) -> bool:
        """Whether it ended with exit code 0."""
        return self.state == FINISHED

    @property
    def duration(self) -> float | None:
        """Wall time [s]."""
        return None if self.begin is None or self.end is None else max(self.end - self.begin, 0.0)

    def read_output(self) -> str:
        """Return what it wrote to its standard output and error; empty if its log is gone."""
        output = read_file(self.log)
        if output is None:  # it was packed since, or is gone
            packed = Logs(Workdir(self.log.parent.parent), [self.id]).last_packed(self.id)
            output = packed.read() if packed is not None else b""
        return output.decode("utf-8", "replace")


def make_outcome(
    workdir: Workdir, task_id: int, command: str, state: str, who: Identity | None, record: Record | None
) -> TaskOutcome:
    """Make an outcome.

    Parameters
    ----------
    workdir
        The work directory.
    task_id, command, state
        The task, and the list that it is on.
    who, record
        Its farmer, and the end of its run in the farmer's journal; None if there is none.
    """
    log = workdir.log(task_id)
    if state == REMOVED or who is None or record is None:
        kind, text = None, command
        if state == REMOVED:  # its line has the cause before the task
            word, _, text = command.partition(" ")
            kind = cause_of(None, word)
        cause = None if state == FINISHED else describe_cause(None, cause=kind)
        return TaskOutcome(task_id, text, state, None, None, kind, cause, None, None, None, None, None, log)
    code = record["rc"]
    kind = cause_of(code, record.get("cause")) if state == FAILED else None
    cause = None
    if state == FAILED:
        cause = describe_cause(
            code, Logs(workdir, [task_id]).ends(task_id)[0] if code in CANNOT_CODES else b"", kind, record["rss"]
        )
    return TaskOutcome(
        id=task_id,
        command=command,
        state=state,
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        kind=kind,
        cause=cause,
        begin=record["begin"] + who.clock_offset,
        end=record["end"] + who.clock_offset,
        cpu=record["cpu"],
        max_rss=record["rss"] or None,
        host=who.host,
        log=log,
    )
