"""How often a farmer visits the lock, and how many tasks it takes there."""

from __future__ import annotations

import math

VISIT_SHARE = 0.02
"""The part of its time that a farmer may spend on visits."""
MIN_INTERVAL = 0.2
"""Shortest planned time between visits [s]."""
MAX_INTERVAL = 10.0
"""Longest planned time between visits [s]."""
LOCK_SHARE = 0.25
"""The part of the time for which the visits of all farmers together may hold the lock."""
LEAST_HOLD = 0.0025
"""What a visit counts at least as, when it comes to that share [s]: so they all make 100 visits a second at most."""
MAX_SHARED_INTERVAL = 30.0
"""Longest planned time between visits where that is for the sake of the others [s]."""
RELOOK = 2.0
"""How long a farmer that found the list empty waits before it looks again, if it still runs tasks [s]."""

_MEMORY = 0.2
"""Weight of the newest visit or batch of runs in the running means."""


class Pace:
    """Running means of what tasks and visits last, and what follows from them."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._task: float | None = None
        self._visit = self._hold = 0.0
        self._plan(1)

    def see_task(self, duration: float) -> None:
        """Take the duration of a run [s] into account."""
        weight = _MEMORY / self._slots
        self._task = duration if self._task is None else (1 - weight) * self._task + weight * duration

    def see_visit(self, cost: float, hold: float = 0.0, farmers: int = 1) -> None:
        """Take a visit into account.

        Parameters
        ----------
        cost
            Its duration, the wait for the lock included [s].
        hold
            For how long it held the lock [s].
        farmers
            Farmers that share the list.
        """
        self._visit += _MEMORY * (cost - self._visit)
        self._hold += _MEMORY * (hold - self._hold)
        self._plan(farmers)

    def _plan(self, farmers: int) -> None:
        own = min(max(self._visit / VISIT_SHARE, MIN_INTERVAL), MAX_INTERVAL)
        shared = min(farmers * max(self._hold, LEAST_HOLD) / LOCK_SHARE, MAX_SHARED_INTERVAL) if farmers > 1 else 0.0
        self.interval = max(own, shared)
        """Planned time between visits [s]: it grows with their cost and the number of farmers, who so do not queue."""
        self.gap = self.interval / 20
        """Least time between visits while a slot has nothing to do [s]."""
        self.relook = max(RELOOK, 2 * self.interval)
        """Time until the next look at a list that was empty [s]."""
        self.patience = max(1.0, 3 * self.interval)
        """How long tasks wait for a slot before they are given back to the others [s]."""

    @property
    def task_time(self) -> float:
        """What a task lasts, by the runs seen so far [s]; 0 before the first one."""
        return self._task or 0.0

    def batch(self, *, free: int, queued: int, remaining: int, farmers: int) -> int:
        """Return how many tasks to take.

        Parameters
        ----------
        free
            Slots that run nothing.
        queued
            Tasks that wait for a slot already.
        remaining
            Tasks on the list.
        farmers
            Farmers that share the list.
        """
        ahead = 0
        if self._task is not None:
            ahead = math.floor(1.5 * self._slots * self.interval / max(self._task, 1e-4))
        share = remaining // (2 * max(farmers, 1))
        return max(free - queued, min(free + ahead - queued, share), 0)
