"""How farmers wait for a lock that others hold: by the product's pauses, or by polling, as they once did."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, insort
from typing import Protocol

from taskfarmer_mpi.workdir.lock_files import LockPauses


class Line(Protocol):
    """Farmers that wait for the lock; nobody queues, the next one that asks gets it."""

    tries: int
    """Attempts in vain so far."""

    def join(self, farmer: int, now: float) -> None:
        """Let a farmer wait whose first attempt was in vain now [s]."""

    def first(self, free_at: float) -> tuple[float, int] | None:
        """Return who asks first from a time on at which the lock is free [s], and when; None if nobody waits."""

    def leave(self, now: float) -> None:
        """Let the farmer go that `first` named, and has the lock now [s]."""


class PausingLine:
    """Farmers with the product's pauses."""

    def __init__(self, farmers: int) -> None:
        self.tries = 0
        self._pauses = [LockPauses(lambda: farmers) for _ in range(farmers)]
        self._since = [0.0] * farmers
        self._next: list[tuple[float, int]] = []

    def join(self, farmer: int, now: float) -> None:
        """See `Line`."""
        self._pauses[farmer].begin()
        self._since[farmer] = now
        heapq.heappush(self._next, (self._fail(farmer, now), farmer))

    def _fail(self, farmer: int, now: float) -> float:
        """Return when a farmer asks again whose attempt now was in vain [s]."""
        self.tries += 1
        return now + self._pauses[farmer].next(now - self._since[farmer])

    def first(self, free_at: float) -> tuple[float, int] | None:
        """See `Line`."""
        while self._next and self._next[0][0] < free_at:
            moment, farmer = self._next[0]
            heapq.heapreplace(self._next, (self._fail(farmer, moment), farmer))
        return self._next[0] if self._next else None

    def leave(self, now: float) -> None:  # noqa: ARG002
        """See `Line`."""
        heapq.heappop(self._next)


class PollingLine:
    """Farmers that ask after the same time always; they are in the order of their moments within one such time."""

    def __init__(self, period: float) -> None:
        self.tries = 0
        self._period = period
        self._phases: list[tuple[float, int]] = []
        self._since: dict[int, float] = {}
        self._place = 0

    def join(self, farmer: int, now: float) -> None:
        """See `Line`."""
        self._since[farmer] = now
        insort(self._phases, (now % self._period, farmer))

    def first(self, free_at: float) -> tuple[float, int] | None:
        """See `Line`."""
        if not self._phases:
            return None
        place = bisect_left(self._phases, (free_at % self._period, -1))
        is_next_round = place == len(self._phases)
        self._place = 0 if is_next_round else place
        phase, farmer = self._phases[self._place]
        rounds = math.floor(free_at / self._period) + is_next_round
        return max(rounds * self._period + phase, free_at), farmer

    def leave(self, now: float) -> None:
        """See `Line`."""
        _, farmer = self._phases.pop(self._place)
        since = self._since.pop(farmer)
        self.tries += max(round((now - since) / self._period), 1)
