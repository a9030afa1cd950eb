"""What one farmer did."""

from __future__ import annotations

from dataclasses import dataclass

from taskfarmer_mpi.tasklists.task import Run


@dataclass(slots=True)
class Tally:
    """Counts of runs, and how long they lasted."""

    slots: int
    finished: int = 0
    failed: int = 0
    busy: float = 0.0
    """Slot time in which a task ran [s]."""
    aside: str = ""
    """Why the farmer took no more tasks, as they failed on its node only; empty if it did not come to that."""

    @property
    def ended(self) -> int:
        """Runs that came to their end."""
        return self.finished + self.failed

    def add(self, run: Run, *, is_ended: bool = True) -> None:
        """Count a run; one that was cut short only by its time."""
        self.busy += run.ended - run.started
        if is_ended and run.is_finished:
            self.finished += 1
        elif is_ended:
            self.failed += 1
