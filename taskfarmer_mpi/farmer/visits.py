"""One farmer's visits to the lists: whether one is due, the lock, what it brings, and what the trace hears of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from taskfarmer_mpi.errors import farm_error
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


def _none(_remaining: int) -> int:
    return 0


class Visits:
    """The way between the tasks in a farmer's hands and the lists."""

    def __init__(
        self, farm: Farm, journal: Journal, life: LifeLock, pace: Pace, lock_patience: float, clock: Callable[[], float]
    ) -> None:
        self._lock = farm.lock
        self._workdir = farm.workdir.path
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
        ShortageError
            If the lock or a list cannot be opened at the moment; what was not done is in hand still.
        FarmError
            If the lock is not to be had, or a list or the journal cannot be read or written.
        """
        now, begin = self._clock(), time.time()
        patience = min(self._lock_patience, STOP_PATIENCE) if situation.is_stopping else self._lock_patience
        try:
            waited = self._lock_wait.attempt(patience)
            if waited is None:
                self.times.postpone(self._lock_wait.next_pause())
                return None
            visit = self._exchange(tasks, situation)
        except OSError as error:
            raise farm_error(str(error.filename or self._workdir), error) from error
        self._note(visit, begin, waited)
        self.times.see_visit(now - waited, has_taken=bool(visit.taken))
        return visit

    def _exchange(self, tasks: TasksInHand, situation: Situation) -> Visit:
        try:
            if tasks.queue and self.times.is_queue_stale:
                tasks.give_back_queue()
            may_take = situation.takes_tasks and not tasks.back  # not at once what it gave away
            return self._visitor.visit(tasks, partial(self._count, tasks, situation) if may_take else _none)
        finally:
            self._lock.release()

    def _count(self, tasks: TasksInHand, situation: Situation, remaining: int) -> int:
        """Return how many tasks to take of the `remaining` ones."""
        queued, farmers = len(tasks.queue), self._neighbours.count()
        return self._pace.batch(free=situation.free, queued=queued, remaining=remaining, farmers=farmers)

    def _note(self, visit: Visit, begin: float, wait: float) -> None:
        """Note a visit for the trace; idle farmers make many that bring nothing, which are left out."""
        if visit.taken or visit.recorded or visit.back or wait >= NOTED_WAIT:
            times = {"begin": round(begin, 6), "wait": round(wait, 6)}
            counts = {"recorded": visit.recorded, "back": visit.back, "taken": len(visit.taken)}
            self._journal.note("visit", **times, **counts)
