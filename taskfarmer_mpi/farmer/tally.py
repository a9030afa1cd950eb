"""What one farmer did."""

from __future__ import annotations

from taskfarmer_mpi.tasklists.task import Run


class Tally:
    """Counts of runs, and how long they lasted."""

    def __init__(self, slots: int, finished: int = 0, failed: int = 0, busy: float = 0.0, aside: str = "") -> None:
        self.slots = slots
        self.finished = finished
        self.failed = failed
        self.busy = busy
        """Slot time in which a task ran [s]."""
        self.aside = aside
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
