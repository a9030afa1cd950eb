"""Whether tasks fail here because of this node: they fail in a row, and do not elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable

from taskfarmer_mpi.common.causes import describe_cause
from taskfarmer_mpi.tasklists.task import Run
from taskfarmer_mpi.visits.neighbours import Neighbours

ENOUGH = 5
"""So many failures of one kind in a row are a reason to look at the other nodes."""
_LOOKS = (0.5, 10.0)
"""Shortest and longest time between two such looks [s]; it doubles."""
_PAUSES = (1.0, 30.0)
"""Shortest and longest time between two starts while it is not known whether others fare better [s]; it doubles."""


class NodeDoubt:
    """Sees the ends of runs. After enough failures of one kind in a row it looks at other nodes.

    If tasks fail there in the same way, or nobody is there, nothing follows. If tasks finish there, it is this node. As long
    as neither is known, tasks are started one by one with pauses, so that a bad node does not eat the list meanwhile.
    """

    def __init__(self, neighbours: Neighbours, host: str, clock: Callable[[], float]) -> None:
        self._neighbours = neighbours
        self._host = host
        self._clock = clock
        self.reason = ""
        """Why this node is to take no more tasks, if it is."""
        self.is_alone = False
        """Whether nobody was at work on other nodes at the last look."""
        self._forget()

    def _forget(self) -> None:
        self._failures = 0
        self._code = 0
        self._since = 0.0
        self._next_look = -math.inf
        self._look_pause = _LOOKS[0]
        self._is_slow = False
        self._next_start = -math.inf
        self._start_pause = _PAUSES[0]

    def see(self, run: Run) -> None:
        """Take the end of a run into account."""
        if self.reason:
            return
        if self._failures and (run.is_finished or run.returncode != self._code):
            self._forget()
        if not run.is_finished:
            if not self._failures:
                self._code, self._since = run.returncode, run.started
            self._failures += 1

    @property
    def is_serious(self) -> bool:
        """Whether enough tasks in a row have failed for a look at the others."""
        return self._failures >= ENOUGH

    @property
    def may_start(self) -> bool:
        """Whether a task may be started now."""
        if self._failures >= ENOUGH and self._next_look == -math.inf:
            return False  # look first
        return not self._is_slow or self._clock() >= self._next_start

    def see_start(self) -> None:
        """Know that a task was started."""
        if self._is_slow:
            self._next_start = self._clock() + self._start_pause
            self._start_pause = min(2 * self._start_pause, _PAUSES[1])

    def look(self) -> None:
        """Look at the others if there is a reason and it is time to."""
        if self._failures < ENOUGH or self._clock() < self._next_look:
            return
        others = self._neighbours.compare(self._code, self._since)
        self._next_look = self._clock() + self._look_pause
        self._look_pause = min(2 * self._look_pause, _LOOKS[1])
        self.is_alone = not others.is_anyone_there
        is_open = others.is_anyone_there and not others.has_same_failures
        if is_open and others.success_on is not None and not self.reason:
            what = f"{self._failures} tasks in a row failed on {self._host} ({describe_cause(self._code)})"
            self.reason = f"{what}, while {others.success_on} finished others"
        if is_open and not self._is_slow:
            self._next_start = self._clock() + self._start_pause
        self._is_slow = is_open
