"""Which failures are tried again, how often, and after what pause."""

from __future__ import annotations

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.common.values import Value

LONGEST_DELAY = 3600.0
"""A pause before an attempt grows up to this [s]."""
_NEVER = (Cause.CANCELLED, Cause.REMOVED, Cause.CRASHES, Cause.STOPPED)


class Choice(Value):
    """Some failures; nothing named means all."""

    causes: frozenset[Cause] = frozenset()
    codes: frozenset[int] = frozenset()
    """Exit codes, and minus the numbers of signals; 128 + n is signal n, too."""

    def has(self, cause: Cause, returncode: int) -> bool:
        """Whether a failure is among them."""
        if not self.causes and not self.codes:
            return True
        codes = {returncode, 128 - returncode if returncode > 128 else returncode}
        return cause in self.causes or not codes.isdisjoint(self.codes)


class Retries(Value):
    """The budget for a task's own failures."""

    count: int = 0
    """How often it is tried again."""
    choice: Choice = Choice()
    delay: float = 0.0
    """Pause before the second attempt [s]; it doubles with each further one."""

    def pause_after(self, cause: Cause | None, returncode: int, failures: int) -> float | None:
        """Return how long to wait before a task is tried again [s]; None if it is not.

        Parameters
        ----------
        cause, returncode
            Why, and with what, its attempt failed; it has no cause if it finished.
        failures
            How many attempts failed before.
        """
        if cause is None or cause in _NEVER or failures >= self.count or not self.choice.has(cause, returncode):
            return None
        return self.pause_of(failures)

    def pause_of(self, failures: int) -> float:
        """Return the pause after an attempt that failed, with so many failures before it [s]."""
        return min(self.delay * 2.0 ** min(failures, 30), LONGEST_DELAY)
