"""How long to wait for others, and how that is cut short when there is no time."""

from __future__ import annotations

import time
from collections.abc import Callable

STOP_PATIENCE = 1.0
"""How long a rank that was told to stop waits for the others to come to the start [s]."""


Hurry = Callable[[], bool]
"""Says whether there is no time, as this farmer was told to stop."""


def never() -> bool:
    """Return False: there is time."""
    return False


class Patience:
    """A span of time that is cut short when the farmer is told to stop."""

    def __init__(self, span: float, is_hurried: Hurry = never, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to wait.

        Parameters
        ----------
        span
            How long [s].
        is_hurried
            Whether there is no time.
        clock
            A clock that only goes forward [s].
        """
        self.span = span
        self._is_hurried = is_hurried
        self._clock = clock
        self._end = clock() + span
        self.is_cut = False
        """Whether the time was cut short."""

    def renew(self) -> None:
        """Begin anew, as there was a sign of life."""
        if not self.is_cut:
            self._end = self._clock() + self.span

    @property
    def is_over(self) -> bool:
        """Whether there was enough waiting."""
        if not self.is_cut and self._is_hurried():
            self.is_cut = True
            self._end = min(self._end, self._clock() + STOP_PATIENCE)
        return self._clock() > self._end
