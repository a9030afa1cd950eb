"""When all farmers of a work directory are to stop, by what ended so far."""

from __future__ import annotations

from taskfarmer_mpi.common.values import Value


class Limit(Value):
    """A number of tasks, or a part of all."""

    number: int
    is_percent: bool

    def is_reached(self, count: int, total: int) -> bool:
        """Whether so many of all tasks are that many, or more."""
        return 100 * count >= self.number * total > 0 if self.is_percent else count >= self.number


class Halt(Value):
    """What a user wants."""

    is_now: bool
    """Whether running tasks are ended, too."""
    is_about_failures: bool
    limit: Limit

    def reason(self, *, finished: int, failed: int, total: int) -> str | None:
        """Return why to stop, if it is time to.

        Parameters
        ----------
        finished, failed, total
            How many tasks of the work directory finished and failed, and how many there are.
        """
        count = failed if self.is_about_failures else finished
        if not self.limit.is_reached(count, total):
            return None
        return f"{count} of {total} tasks {'failed' if self.is_about_failures else 'finished'} (--halt {self.text})"

    @property
    def text(self) -> str:
        """As a user writes it."""
        what = "fail" if self.is_about_failures else "success"
        return f"{'now' if self.is_now else 'soon'},{what}={self.limit.number}{'%' * self.limit.is_percent}"
