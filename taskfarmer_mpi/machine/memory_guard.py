"""Whether so little memory is available that no task is to be started, or that one has to end."""

from __future__ import annotations

import math
from collections.abc import Callable

from taskfarmer_mpi.common.wording import say_memory
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.machine.memory import Memory, available_memory, find_memory
from taskfarmer_mpi.policies.resources import Resources

LOOK_INTERVAL = 0.2
"""How often one looks [s]."""


def find_reserve(wanted: Resources, memory: Memory | None = None) -> int:
    """Return how much memory has to be available here before a task is started [bytes].

    Parameters
    ----------
    wanted
        What a user asked for.
    memory
        What there is; None to look for it.

    Raises
    ------
    UserError
        If there is never so much.
    """
    found = memory or find_memory()
    total = found.limit or found.node
    reserve = wanted.reserve_of(total)
    if not total and wanted.memory_reserve_share:
        raise UserError("--memory-reserve: how much memory there is cannot be found out here; give an amount, like 4G")
    if 0 < total <= reserve:
        whose = "this job" if found.limit else "this node"
        raise UserError(f"--memory-reserve {say_memory(reserve >> 10)}: {whose} has {say_memory(total >> 10)} in all")
    return reserve


class MemoryGuard:
    """Looks from time to time."""

    def __init__(
        self,
        reserve: int,
        clock: Callable[[], float],
        tell: Callable[[str], object],
        available: Callable[[], int | None] = available_memory,
    ) -> None:
        """Have not looked yet.

        Parameters
        ----------
        reserve
            How much has to be available before a task is started [bytes].
        clock
            A clock that only goes forward [s].
        tell
            Hears why no task is started when that begins, and an empty text when it is over.
        available
            Says how much is [bytes]; None if it is not known, which is enough.
        """
        self._reserve = reserve
        self._clock = clock
        self._tell = tell
        self._find = available
        self._next_look = -math.inf
        self._left = math.inf
        self._room = 0
        self.is_short = False
        """Whether no task is to be started."""

    @property
    def is_critical(self) -> bool:
        """Whether a task that runs has to end, so that the kernel kills none."""
        return self._left < self._reserve / 2

    def make_room(self, size: int) -> None:
        """Have so much more available before a task is started [bytes], for one that was given back; 0 for nothing."""
        self._room = size

    def look(self, *, is_needed: bool = False) -> None:
        """Look, if it is time to, or something is to be decided now."""
        now = self._clock()
        if now < self._next_look and not is_needed:
            return
        self._next_look = now + LOOK_INTERVAL
        found = self._find()
        self._left = math.inf if found is None else found
        is_short = self._left < self._reserve + self._room
        if is_short != self.is_short:
            self.is_short = is_short
            self._tell(self._reason() if is_short else "")

    def _reason(self) -> str:
        left, reserve, room = (say_memory(int(size) >> 10) for size in (self._left, self._reserve, self._room))
        more = f", beside {room} for the task that was given back" if self._room else ""
        return f"{left} of memory are available, and --memory-reserve is {reserve}{more}"
