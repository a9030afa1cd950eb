"""How a farmer waits out what is short: processes, memory, descriptors, a file server's answer."""

from __future__ import annotations

import os
from collections.abc import Callable

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.errors import FarmError, ShortageError, is_own_limit

log = Log(__name__)

SHORTAGE_PATIENCE = 600.0
"""How long something may be short while no task runs here before the farmer gives up [s]."""
OWN_PATIENCE = 10.0
"""The same, if it is this process's own limit of open files: nothing else can mend that [s]."""
_PAUSES = (0.5, 10.0)
"""Shortest and longest pause between two attempts [s]; it doubles."""


class Shortage:
    """Whether to try again what failed because something was short."""

    def __init__(self, meanwhile: str, clock: Callable[[], float]) -> None:
        """Know of no shortage.

        Parameters
        ----------
        meanwhile
            What a shortage means, for the message.
        clock
            A clock that only goes forward [s].
        """
        self._meanwhile = meanwhile
        self._clock = clock
        self._end()

    def _end(self) -> None:
        self._since: float | None = None
        self._alone_since = self._next = 0.0
        self._pause = _PAUSES[0]

    @property
    def is_time_to_try(self) -> bool:
        """Whether nothing is known to be short, or it is time for another attempt."""
        return self._since is None or self._clock() >= self._next

    def see(self, error: ShortageError, *, is_busy: bool) -> float:
        """Know that an attempt failed; return the pause before the next one [s].

        Parameters
        ----------
        error
            What is short; its cause is the error of the system, if one said so.
        is_busy
            Whether a task runs, whose end may help.

        Raises
        ------
        FarmError
            If nothing runs, and it has been so for long.
        """
        now = self._clock()
        if self._since is None:
            self._since = now
            log.warning("%s; %s; trying again from time to time", error, self._meanwhile)
        if is_busy or not self._alone_since:
            self._alone_since = now
        elif now - self._alone_since > (OWN_PATIENCE if is_own_limit(error.__cause__) else SHORTAGE_PATIENCE):
            advice = "; raise the limit (ulimit -n)" if is_own_limit(error.__cause__) else ""
            raise FarmError(f"{error}, and that for {now - self._since:.0f} s{advice}") from error
        pause = self._pause * (0.75 + os.urandom(1)[0] / 510)
        self._next = now + pause
        self._pause = min(2 * self._pause, _PAUSES[1])
        return pause

    def try_now(self) -> None:
        """Expect that the next attempt may succeed, as a task has ended."""
        self._next = 0.0

    def see_success(self) -> None:
        """Know that an attempt did not fail."""
        if self._since is not None:
            log.warning("going on after a shortage of %.0f s", self._clock() - self._since)
            self._end()
