"""One farmer's visits to the lists: whether one is due, the lock, what it brings, and what the trace hears of it."""

from __future__ import annotations

import time
from collections.abc import Callable

from taskfarmer_mpi.farmer.neighbours import Neighbours
from taskfarmer_mpi.farmer.pace import Pace
from taskfarmer_mpi.farmer.tasks_in_hand import TasksInHand
from taskfarmer_mpi.farmer.visit import Visit, Visitor
from taskfarmer_mpi.farmer.visit_times import LockWait, Situation, VisitTimes
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.journal import Journal
from taskfarmer_mpi.workdir.locks import STOP_PATIENCE, LifeLock

NOTED_WAIT = 0.1
"""How long a farmer must have waited for the lock [s] for a visit that brought nothing to be noted."""


class Visits:
    """The way between the tasks in a farmer's hands and the lists."""

    def __init__(
        self, farm: Farm, journal: Journal, life: LifeLock, pace: Pace, lock_patience: float, clock: Callable[[], float]
    ) -> None:
        self._lock = farm.lock
        self._journal = journal
        self._pace = pace
        self._lock_patience = lock_patience
        self._clock = clock
        self._visitor = Visitor(farm, journal, life)
        self._lock_wait = LockWait(farm.lock, clock)
        self._neighbours = Neighbours(farm.workdir.farmers, clock)
        self.times = VisitTimes(pace, clock)

    def visit(self, tasks: TasksInHand, situation: Situation) -> Visit | None:
        """Exchange outcomes and tasks with the shared lists; return None if others have the lock.

        Raises
        ------
        FencedError
            If others hold this farmer for dead; nothing was written.
        FarmError
            If the lock is not to be had, or a list or the journal cannot be read or written.
        """
        now, begin = self._clock(), time.time()
        patience = min(self._lock_patience, STOP_PATIENCE) if situation.is_stopping else self._lock_patience
        waited = self._lock_wait.attempt(patience)
        if waited is None:
            self.times.postpone(self._lock_wait.next_pause())
            return None
        try:
            if tasks.queue and self.times.is_queue_stale:
                tasks.give_back_queue()
            visit = self._visitor.visit(
                tasks.outcomes, tasks.back, lambda remaining: self._count(tasks, situation, remaining)
            )
        finally:
            self._lock.release()
        self._note(tasks, begin, waited, len(visit.taken))
        tasks.settle(visit.taken)
        self.times.see_visit(now - waited, has_taken=bool(visit.taken))
        return visit

    def _count(self, tasks: TasksInHand, situation: Situation, remaining: int) -> int:
        """Return how many tasks to take of the `remaining` ones."""
        if tasks.back or not situation.takes_tasks:
            return 0
        queued, farmers = len(tasks.queue), self._neighbours.count()
        return self._pace.batch(free=situation.free, queued=queued, remaining=remaining, farmers=farmers)

    def _note(self, tasks: TasksInHand, begin: float, wait: float, taken: int) -> None:
        """Note a visit for the trace; idle farmers make many that bring nothing, which are left out."""
        recorded, back = len(tasks.outcomes), len(tasks.back)
        if taken or recorded or back or wait >= NOTED_WAIT:
            times = {"begin": round(begin, 6), "wait": round(wait, 6)}
            self._journal.note("visit", **times, recorded=recorded, back=back, taken=taken)
