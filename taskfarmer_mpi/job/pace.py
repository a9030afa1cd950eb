"""How often a rank looks for messages and at other farmers: soon and often when something is about to happen."""

from __future__ import annotations

from collections.abc import Callable

SHORTEST, LONGEST = 0.05, 0.5
"""Times between two looks [s]: the longest while a rank works; else it grows from the shortest to the longest."""
LOOKS_PER_SECOND = 2000
"""So many looks the ranks of a job make together at most: the shortest time is longer where they are many."""
_GROWTH = 1.5
LOOK_INTERVAL = (0.02, 2.0)
"""Shortest and longest time between two looks at the other farmers [s]; it doubles while nothing changes."""
BUSY_LOOK_INTERVAL = 5.0
"""How often a leader that works looks for dead farmers while other ranks are idle [s]."""
LEADER_LOOK_INTERVAL = 10.0
"""How often a rank that works looks whether its leader lives [s]."""


class MessagePace:
    """When to look for messages next."""

    def __init__(self, ranks: int, clock: Callable[[], float]) -> None:
        """Look at once.

        Parameters
        ----------
        ranks
            How many there are.
        clock
            A clock that only goes forward [s].
        """
        self._shortest = min(max(SHORTEST, ranks / LOOKS_PER_SECOND), LONGEST)
        self._clock = clock
        self._pause = LONGEST
        self.next_look = 0.0
        """On the clock [s]."""

    @property
    def is_due(self) -> bool:
        """Whether it is time to look."""
        return self._clock() >= self.next_look

    def note_look(self, *, is_working: bool) -> None:
        """Plan the next look after this one."""
        self._pause = LONGEST if is_working else min(_GROWTH * self._pause, LONGEST)
        self.next_look = self._clock() + self._pause

    def hurry(self, *, is_leader: bool) -> None:
        """Look soon, and often; the leader, whom all wait for, the more so."""
        self._pause = SHORTEST if is_leader else self._shortest
        self.next_look = min(self.next_look, self._clock() + self._pause)


class LookPace:
    """When to look at other farmers next: whether they live, and what dead ones left."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._is_awaited = False
        self.soon()

    @property
    def is_due(self) -> bool:
        """Whether it is time to look."""
        return self._clock() >= self.next_look

    def await_next(self) -> None:
        """Let no pause be between this look and the next one, which says whether the job is over."""
        self._is_awaited = True

    def soon(self) -> None:
        """Look at once, and often."""
        self._pause = LOOK_INTERVAL[0]
        self.next_look = 0.0

    def slow_down(self) -> None:
        """Wait longer from now on, unless something happens."""
        self._pause = min(2 * self._pause, LOOK_INTERVAL[1])

    def note_look(self, pause: float | None = None) -> None:
        """Plan the next look, after a time [s] if one is given."""
        self.next_look = self._clock() + (0.0 if self._is_awaited else self._pause if pause is None else pause)
        self._is_awaited = False
