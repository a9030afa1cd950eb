"""When one farmer visits the lists, and how it waits for their lock."""

from __future__ import annotations

import math
from collections.abc import Callable

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.errors import FarmError, ShortageError, UserError, is_shortage
from taskfarmer_mpi.visits.pace import Pace
from taskfarmer_mpi.visits.tasks_in_hand import TasksInHand
from taskfarmer_mpi.workdir.lock_files import LockPauses
from taskfarmer_mpi.workdir.locks import REPORT, WorkLock

log = Log(__name__)


class Situation(Value, is_frequent=True):
    """What decides when a farmer visits the lists."""

    free: int
    """Slots that run nothing."""
    busy: int
    """Slots that run a task."""
    takes_tasks: bool
    is_stopping: bool
    is_watching: bool
    """Whether it takes none, but looks whether the others come to the end of the list."""
    is_dry: bool
    """Whether the list was empty at the last visit."""


class VisitTimes:
    """The times of past visits and starts, and what follows from them for the next visit."""

    def __init__(self, pace: Pace, clock: Callable[[], float]) -> None:
        self._pace = pace
        self._clock = clock
        self._next = self._last = self._last_start = clock()
        self._blocked = 0.0

    def bring_forward(self) -> None:
        """Let a visit that has a reason be due at once."""
        self._next = self._clock()

    def postpone(self, pause: float) -> None:
        """Let no visit be due before a pause [s] is over."""
        self._next = self._clock() + pause

    def see_start(self) -> None:
        """Know that a task was started now."""
        self._last_start = self._clock()

    def see_visit(
        self, begin: float, *, has_taken: bool, blocked: float = 0.0, waited: float = 0.0, farmers: int = 1
    ) -> None:
        """Know that a visit ended now which began at some time, the wait for the lock included.

        Parameters
        ----------
        begin
            When that was [s].
        has_taken
            Whether it brought tasks.
        blocked
            If those on the list may not be taken as long as others run: the time until the next look [s]; else 0.
        waited
            For how long it was waited for the lock [s].
        farmers
            Farmers that share the list.
        """
        self._last, self._blocked = self._clock(), blocked
        if has_taken:
            self._last_start = self._last
        cost = self._last - begin
        self._pace.see_visit(cost, max(cost - waited, 0.0), farmers)
        self._next = self._last + self._pace.gap

    @property
    def is_queue_stale(self) -> bool:
        """Whether the tasks that wait are to be given to farmers that could be running them."""
        return self._clock() >= self._stale_time

    @property
    def _stale_time(self) -> float:
        return self._last_start + self._pace.patience

    def due(self, tasks: TasksInHand, now: Situation) -> float:
        """Return when to visit the lists next [s]; infinity if there is no reason to."""
        if tasks.back or tasks.cancelled or (tasks.outcomes and (now.is_stopping or not (tasks.queue or now.busy))):
            return self._next
        moment = math.inf
        if tasks.outcomes:
            moment = self._last + self._pace.interval
        if tasks.queue:
            moment = min(moment, self._stale_time)
        if now.is_watching:
            moment = min(moment, self._last + self._pace.relook)
        if now.free > len(tasks.queue) and now.takes_tasks:
            if not now.is_dry and (not self._blocked or tasks.outcomes):
                return self._next
            if self._blocked:
                moment = min(moment, self._last + self._blocked)
            elif now.busy:
                moment = min(moment, self._last + self._pace.relook)
        return max(moment, self._next)


class LockWait:
    """One farmer's wait for the lock of the work directory, in which it goes on running tasks."""

    def __init__(self, lock: WorkLock, clock: Callable[[], float], farmers: Callable[[], int] = lambda: 1) -> None:
        """Wait for nothing yet; `farmers` says how many farmers there are."""
        self._lock = lock
        self._clock = clock
        self._pauses = LockPauses(farmers)
        self._end()

    def _end(self) -> None:
        self._since: float | None = None
        self._pauses.begin()
        self._report = REPORT

    def attempt(self, patience: float, *, is_deep: bool = True) -> float | None:
        """Try to take the lock.

        Parameters
        ----------
        patience
            How long others may have held it since the first attempt [s].
        is_deep
            That of `WorkLock.try_acquire`.

        Returns
        -------
        For how long it was waited for [s]; None if others have it.

        Raises
        ------
        ShortageError
            If the lock cannot be opened at the moment.
        FarmError
            If the wait was too long, or there is no lock.
        """
        now = self._clock()
        waited = 0.0 if self._since is None else now - self._since
        try:
            if self._lock.try_acquire(is_deep=is_deep):
                self._end()
                return waited
        except UserError as error:
            kind = ShortageError if is_shortage(error.__cause__) else FarmError
            raise kind(str(error)) from error
        self._since = now - waited
        if waited > patience:
            raise FarmError(f"{self._lock.refused}: no lock within {waited:.0f} s; {self._lock.describe_holder()}")
        if waited > self._report:
            log.warning("%s: waiting for the lock for %.0f s; %s", self._lock.refused, waited, self._lock.describe_holder())
            self._report *= 2
        return None

    def next_pause(self) -> float:
        """Return how long to wait before the next attempt [s]."""
        return self._pauses.next(0.0 if self._since is None else self._clock() - self._since)
