"""What is run, and what came of it: frozen values that cross module borders."""

from __future__ import annotations

from taskfarmer_mpi.common.causes import Cause, cause_of
from taskfarmer_mpi.common.values import Value


class Task(Value, is_frequent=True):
    """One line of the tasklist."""

    id: int
    text: str
    """The stripped line as the lists show it; undecodable bytes are surrogate escapes."""


class Run(Value, is_frequent=True):
    """One run of a task that came to its end."""

    task: Task
    slot: int
    started: float
    """Wall-clock start [s since the epoch]."""
    ended: float
    """Wall-clock end [s since the epoch]."""
    returncode: int
    """Exit code, or minus the number of the signal that ended the task."""
    cpu: float = 0.0
    """User and system time of the task and its awaited children [s]."""
    max_rss: int = 0
    """Peak memory of the largest process of the task [KiB]; 0 if it is not known.

    Linux counts the farmer's own memory in until a task's program begins, so a peak below that cannot be seen.
    """
    known_cause: Cause | None = None
    """Why it ended, where its farmer knows more than the return code says."""

    @property
    def cause(self) -> Cause | None:
        """Why it did not finish; None if it did."""
        return self.known_cause or cause_of(self.returncode)

    @property
    def is_finished(self) -> bool:
        """Whether the task did what it should: exit code 0."""
        return self.returncode == 0

    @property
    def may_be_interrupted(self) -> bool:
        """Whether a signal of unknown origin may have ended the task, seen directly or through a shell's 128 + signal."""
        return self.known_cause is None and (self.returncode < 0 or 128 < self.returncode <= 192)
