"""One farmer of the model: its slots, and when it visits, by the product's own rules."""

from __future__ import annotations

import math
from collections import deque
from types import SimpleNamespace
from typing import cast

from taskfarmer_mpi.visits.pace import Pace
from taskfarmer_mpi.visits.tasks_in_hand import TasksInHand
from taskfarmer_mpi.visits.visit_times import Situation, VisitTimes


class ModelFarmer:
    """A farmer whose tasks last all the same time; those that began together are one group."""

    def __init__(self, slots: int, duration: float, born: float) -> None:
        """Begin with nothing to do.

        Parameters
        ----------
        slots
            How many tasks it runs at a time.
        duration
            How long a task lasts [s].
        born
            When it comes to the lists for the first time [s].
        """
        self._slots, self._duration = slots, duration
        self._now = born
        self._groups: deque[tuple[float, int]] = deque()
        self._queue = 0
        self.free = slots
        self.outcomes = 0
        self.is_dry = False
        self.last_end = 0.0
        self.pace = Pace(slots)
        self.times = VisitTimes(self.pace, lambda: self._now)

    @property
    def is_done(self) -> bool:
        """Whether it has nothing in hand, and found nothing on the list."""
        return self.is_dry and not (self._groups or self._queue or self.outcomes)

    def advance(self, now: float) -> None:
        """Let tasks run until a time [s]."""
        self._skip_rounds(now)
        while self._groups and self._groups[0][0] <= now:
            self._now, ended = self._groups.popleft()
            self._end(self._now, ended)
            self.free += ended
            self._start()
        self._now = now

    def _end(self, moment: float, count: int) -> None:
        if not self.pace.task_time:
            self.pace.see_task(self._duration)
        self.outcomes += count
        self.last_end = max(self.last_end, moment)

    def _skip_rounds(self, now: float) -> None:
        """Run as many tasks in each slot as surely end: all groups move on together."""
        if self.free or not self._groups:
            return
        rounds = min(self._queue // self._slots, math.floor((now - self._groups[0][0]) / self._duration))
        if rounds > 0:
            self._end(self._groups[-1][0] + (rounds - 1) * self._duration, rounds * self._slots)
            self._queue -= rounds * self._slots
            self._groups = deque((end + rounds * self._duration, count) for end, count in self._groups)
            self._now = self._groups[-1][0] - self._duration
            self.times.see_start()

    def _start(self) -> None:
        started = min(self._queue, self.free)
        if started:
            self._queue -= started
            self.free -= started
            self._groups.append((self._now + self._duration, started))
            self.times.see_start()

    def due(self) -> float:
        """Return when it visits next if nothing happens before [s]."""
        situation = Situation(self.free, self._slots - self.free, True, False, False, self.is_dry)
        hand = SimpleNamespace(back=(), cancelled=(), outcomes=range(self.outcomes), queue=range(self._queue))
        return self.times.due(cast(TasksInHand, hand), situation)

    def next_event(self) -> float:
        """Return when to look at it again: a visit is due, or what happens to its tasks can make one due [s]."""
        return min(self.due(), self._next_change())

    def _next_change(self) -> float:
        if not self._groups:
            return math.inf
        return self._groups[0][0] if self.free or not self.outcomes else self._queue_end()

    def _queue_end(self) -> float:
        """Return when a slot finds nothing that waits [s]."""
        rounds, left = divmod(self._queue, self._slots)
        for end, count in self._groups:
            left -= count
            if left < 0:
                return end + rounds * self._duration
        return math.inf

    def exchange(self, remaining: int, farmers: int) -> tuple[int, int]:
        """Visit the lists; return how many tasks are recorded, and how many the list loses (gains, if negative)."""
        recorded, self.outcomes = self.outcomes, 0
        if self._queue and self.times.is_queue_stale:
            back, self._queue = self._queue, 0
            return recorded, -back
        count = self.pace.batch(free=self.free, queued=self._queue, remaining=remaining, farmers=farmers)
        taken = min(count, remaining)
        self.is_dry = taken == remaining
        self._arriving = taken
        return recorded, taken

    _arriving = 0

    def end_visit(self, now: float, begin: float, waited: float, farmers: int) -> None:
        """Go on after a visit that began at some time and ends now [s]."""
        self.advance(now)
        taken, self._arriving = self._arriving, 0
        self._queue += taken
        self.times.see_visit(begin, has_taken=taken > 0, waited=waited, farmers=farmers)
        self._start()
