"""How long a task may last."""

from __future__ import annotations

import math
from bisect import insort
from collections import deque

from taskfarmer_mpi.common.values import Value

ENOUGH = 10
"""How many runs must have finished before their median counts."""
_KEPT = 1000
"""Of how many of the last finished runs the median is taken."""


class TaskTime(Value):
    """How long a task may last, as a user says it: one of the two."""

    seconds: float = math.inf
    """[s]"""
    share: float = math.inf
    """Of the median of the runs that finished so far."""


class TimeLimit:
    """The limit at this moment, for one farmer."""

    def __init__(self, wanted: TaskTime) -> None:
        """Have seen nothing finish yet."""
        self._wanted = wanted
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []

    def see_finished(self, duration: float) -> None:
        """Take into account how long a run took that finished [s]."""
        if self._wanted.share == math.inf:
            return
        self._recent.append(duration)
        insort(self._sorted, duration)
        if len(self._recent) > _KEPT:
            self._sorted.remove(self._recent.popleft())

    @property
    def seconds(self) -> float:
        """How long a task may last [s]; infinity as long as too few have finished."""
        if self._wanted.share == math.inf:
            return self._wanted.seconds
        if len(self._sorted) < ENOUGH:
            return math.inf
        return max(1.0, self._wanted.share * self._sorted[len(self._sorted) // 2])
