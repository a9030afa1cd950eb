"""Ends tasks in the gentle way: a signal first, SIGKILL to all of their processes after a while."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from operator import itemgetter

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.wording import say_duration
from taskfarmer_mpi.farmer.pool import Pool
from taskfarmer_mpi.policies.rules import Rules
from taskfarmer_mpi.policies.time_limit import TimeLimit
from taskfarmer_mpi.tasklists.task import Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.logs.keeper import LogKeeper
    from taskfarmer_mpi.machine.memory_guard import MemoryGuard
    from taskfarmer_mpi.visits.tasks_in_hand import TasksInHand

log = Log(__name__)


class Overseer:
    """Watches over the running tasks of one farmer."""

    def __init__(
        self,
        pool: Pool,
        rules: Rules,
        clock: Callable[[], float],
        logs: LogKeeper | None = None,
        memory: MemoryGuard | None = None,
        tasks: TasksInHand | None = None,
    ) -> None:
        """Watch nothing unless the rules say so.

        Parameters
        ----------
        pool
            Where the tasks run.
        rules
            How long tasks may last, and how they are asked to end.
        clock
            A clock that only goes forward [s]: that of the pool.
        logs
            What sees to it that their logs do not grow too much, if anything does.
        memory
            What says whether memory is short, if that matters.
        tasks
            What knows how long single tasks may last, if any do not as the others.
        """
        self._pool = pool
        self._rules = rules
        self._clock = clock
        self._logs = logs
        self._memory = memory
        self._tasks = tasks
        self._relieving: tuple[int, float] | None = None
        """Process and start of a task that is ended as memory is short, until it has ended."""
        self._limit = TimeLimit(rules.task_time) if rules.task_time is not None else None
        self._deadlines: dict[tuple[int, float], float] = {}
        """When those are killed that were asked to end [s], by process and start."""

    def see(self, run: Run) -> None:
        """Take the end of a run into account."""
        if self._limit is not None and run.is_finished:
            self._limit.see_finished(run.ended - run.started)
        if self._memory is not None:  # what was given back is not started again, only to be given back again
            self._memory.make_room(run.max_rss << 10 if run.known_cause is Cause.MEMORY_SHORT else 0)

    def step(self) -> None:
        """Ask what lasts too long to end, and kill what did not heed that."""
        if self._logs is not None:
            self._logs.look(task_id for _, task_id, _ in self._pool.running())
        if self._memory is not None:
            self._heed_memory(self._memory)
        settings = self._tasks.settings if self._tasks is not None else None
        if self._limit is None and settings is None and not self._deadlines:
            return
        now, usual = self._clock(), self._limit.seconds if self._limit is not None else math.inf
        running = self._pool.running()
        keys = {(pid, since) for pid, _, since in running}
        self._deadlines = {key: deadline for key, deadline in self._deadlines.items() if key in keys}
        for pid, task_id, since in running:
            key = (pid, since)
            own = settings.of(task_id).timeout if settings is not None else None
            allowed = usual if own is None else own
            if key not in self._deadlines and now - since >= allowed:
                log.info("task %d lasts longer than %s: it is asked to end", task_id, say_duration(allowed))
                self._pool.condemn(pid, Cause.TIME_LIMIT)
                self._pool.ask([pid], self._rules.at_timeout.signal)
                self._deadlines[key] = now + self._rules.at_timeout.grace
            elif now >= self._deadlines.get(key, math.inf):
                self._pool.kill_one(pid)
                self._deadlines[key] = math.inf

    def _heed_memory(self, memory: MemoryGuard) -> None:
        """Ask the youngest task to end if memory is very short, one after the other, but never the last one."""
        running = {(pid, since): task_id for pid, task_id, since in self._pool.running()}
        if self._relieving in running:
            return
        memory.look(is_needed=self._relieving is not None)  # what that one had is there again
        self._relieving = None
        others = [key for key in running if key not in self._deadlines]
        if not memory.is_critical or len(others) < 2:
            return
        pid, since = self._relieving = max(others, key=itemgetter(1))
        log.warning("task %d is given back, as memory is short: it is asked to end", running[pid, since])
        asking = self._rules.at_stop or self._rules.at_timeout
        self._pool.condemn(pid, Cause.MEMORY_SHORT)
        self._pool.ask([pid], asking.signal)
        self._deadlines[pid, since] = self._clock() + asking.grace

    def cancel(self, tasks: Collection[int]) -> None:
        """Ask some tasks to end, if they run, as a user wants it."""
        asking = self._rules.at_stop or self._rules.at_timeout
        for pid, task_id, since in self._pool.running():
            if task_id in tasks:
                log.info("task %d is cancelled: it is asked to end", task_id)
                self._pool.condemn(pid, Cause.CANCELLED)
                if (pid, since) not in self._deadlines:
                    self._pool.ask([pid], asking.signal)
                    self._deadlines[pid, since] = self._clock() + asking.grace

    def ask_all(self, latest: float) -> float | None:
        """Ask all tasks to end, as the farmer stops; return until when they have time [s], None if they have none.

        Parameters
        ----------
        latest
            When the farmer must be gone, on its clock [s].
        """
        asking = self._rules.at_stop
        now = self._clock()
        if asking is None or not self._pool.busy or now >= latest:
            return None
        self._pool.ask([pid for pid, _, _ in self._pool.running()], asking.signal)
        return min(now + asking.grace, latest)
