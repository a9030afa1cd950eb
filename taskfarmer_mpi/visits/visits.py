"""One farmer's visits to the lists: whether one is due, the lock, what it brings, and what the trace hears of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.shortage import Shortage
from taskfarmer_mpi.errors import ShortageError, describe, is_shortage
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.visits.neighbours import Neighbours
from taskfarmer_mpi.visits.pace import Pace
from taskfarmer_mpi.visits.tasks_in_hand import TasksInHand
from taskfarmer_mpi.visits.visit import Visit, Visitor
from taskfarmer_mpi.visits.visit_times import LockWait, Situation, VisitTimes
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.journal import Journal
from taskfarmer_mpi.workdir.locks import STOP_PATIENCE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.logs.keeper import LogKeeper
    from taskfarmer_mpi.resources.room import Room

log = Log(__name__)

PAUSED_LOOK = 1.0
"""How often farmers that are paused look whether they may go on [s], all together no oftener than 50 times a second."""
BLOCKED_LOOK = 1.0
"""How often a farmer looks for tasks whose number at a time is limited, if it has free slots and may take none [s]."""
BLOCKED_SHARE = 0.2
"""For what part of the time the lock may be held for such looks, if all farmers make them."""
NOTED_WAIT = 0.1
"""How long a farmer must have waited for the lock [s] for a visit that brought nothing to be noted."""


def _none(_remaining: int) -> int:
    return 0


class Visits:
    """The way between the tasks in a farmer's hands and the lists."""

    def __init__(
        self,
        farm: Farm,
        journal: Journal,
        life: Sequence[LifeLock],
        pace: Pace,
        neighbours: Neighbours,
        lock_patience: float,
        clock: Callable[[], float],
        logs: LogKeeper | None = None,
        make_room: Callable[[], Room] | None = None,
    ) -> None:
        self._lock = farm.lock
        self._is_deep = not any(lock.can_be_proven for lock in life)  # else no name there says who is dead
        self._workdir = farm.workdir
        self._journal = journal
        self._pace = pace
        self._lock_patience = lock_patience
        self._clock = clock
        self._logs = logs
        self._visitor = Visitor(farm, journal, life, make_room)
        self._lock_wait = LockWait(farm.lock, clock, neighbours.count)
        self._neighbours = neighbours
        self._farmers = 1
        self._pause = self._waiting = self._unfit = ""
        self._shortage = Shortage("the lists are not visited", clock)
        self.times = VisitTimes(pace, clock)

    def visit(self, tasks: TasksInHand, situation: Situation) -> Visit | None:
        """Exchange outcomes and tasks with the shared lists; return None if that has to wait.

        Raises
        ------
        FencedError
            If others hold this farmer for dead; nothing was written.
        FarmError
            If something is short for long, the lock is not to be had, or a list or the journal cannot be read or written.
        """
        now, begin = self._clock(), time.time()
        patience = min(self._lock_patience, STOP_PATIENCE) if situation.is_stopping else self._lock_patience
        self._farmers = self._neighbours.count()
        try:
            waited = self._lock_wait.attempt(patience, is_deep=self._is_deep)
            if waited is None:
                self.times.postpone(self._lock_wait.next_pause())
                return None
            visit = self._exchange(tasks, situation)
        except ShortageError as error:
            self._wait_out(error, situation)
            return None
        except OSError as error:
            if not is_shortage(error):
                raise
            shortage = ShortageError(describe(error, self._workdir.path))
            shortage.__cause__ = error
            self._wait_out(shortage, situation)
            return None
        self._shortage.see_success()
        if self._logs is not None:  # the lock is free again
            self._logs.settle(tasks.outcomes)
        self._note(visit, begin, waited)
        blocked = self._blocked_pause(self._clock() - now) if visit.waiting else 0.0
        taken = bool(visit.taken)
        self.times.see_visit(now - waited, has_taken=taken, blocked=blocked, waited=waited, farmers=self._farmers)
        self._say_waiting(visit)
        if self._pause:
            self.times.postpone(max(PAUSED_LOOK, self._neighbours.count() / 50))
        return visit

    def _blocked_pause(self, cost: float) -> float:
        """Return when to look again for tasks that may not be taken now, after a look that held the lock for a time [s]."""
        return max(BLOCKED_LOOK, cost * self._neighbours.count() / BLOCKED_SHARE)

    def _say_waiting(self, visit: Visit) -> None:
        """Note that tasks on the list may not be taken now, and that some were taken again."""
        if bool(visit.waiting) != bool(self._waiting) and (visit.waiting or visit.taken or visit.is_empty):
            self._waiting = visit.waiting
            log.info("%s", visit.waiting or "going on")
            self._journal.note("waiting", reason=visit.waiting)
        if visit.unfit and visit.unfit != self._unfit:
            (log.info if self._journal.identity.rank else log.warning)("%s", visit.unfit)
            self._journal.note("waiting", reason=visit.unfit)
            self._journal.note("unfit")
        self._unfit = visit.unfit or ("" if visit.taken else self._unfit)

    def _wait_out(self, error: ShortageError, situation: Situation) -> None:
        self.times.postpone(self._shortage.see(error, is_busy=situation.busy > 0))

    def _exchange(self, tasks: TasksInHand, situation: Situation) -> Visit:
        try:
            is_paused = self._is_paused(may_care=situation.takes_tasks)
            if tasks.queue and (is_paused or self.times.is_queue_stale):
                tasks.give_back_queue()
            may_take = situation.takes_tasks and not (tasks.back or is_paused)  # not at once what it gave away
            count = partial(self._count, tasks, situation) if may_take else _none
            startable, has_neighbours = situation.free - len(tasks.queue), self._neighbours.count() > 1
            return self._visitor.visit(tasks, count, startable, has_neighbours=has_neighbours)
        finally:
            self._lock.release()

    def _is_paused(self, *, may_care: bool) -> bool:
        """Whether users want that no tasks are taken; say so when that changes."""
        reason = ""
        if may_care and os.path.exists(self._workdir.paused):
            from taskfarmer_mpi.changes.pause import read_pause

            reason = read_pause(self._workdir)
        if reason != self._pause:
            self._pause = reason
            what = (
                f"{reason}: no tasks are taken until: taskfarmer-ctl resume {self._workdir.path}" if reason else "going on"
            )
            (log.info if self._journal.identity.rank else log.warning)("%s", what)
        return bool(reason)

    def _count(self, tasks: TasksInHand, situation: Situation, remaining: int) -> int:
        """Return how many tasks to take of the `remaining` ones."""
        return self._pace.batch(free=situation.free, queued=len(tasks.queue), remaining=remaining, farmers=self._farmers)

    def _note(self, visit: Visit, begin: float, wait: float) -> None:
        """Note a visit for the trace; idle farmers make many that bring nothing, which are left out."""
        if visit.taken or visit.recorded or visit.back or wait >= NOTED_WAIT:
            times = {"begin": round(begin, 6), "wait": round(wait, 6)}
            counts = {"recorded": visit.recorded, "back": visit.back, "taken": len(visit.taken)}
            self._journal.note("visit", **times, **counts)
