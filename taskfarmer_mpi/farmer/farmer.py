"""One farmer: takes tasks, runs them in its slots, records how they ended, gives back what it cannot run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from contextlib import suppress

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.errors import FarmError, FencedError, describe
from taskfarmer_mpi.farmer.judge import Judge
from taskfarmer_mpi.farmer.node_doubt import NodeDoubt
from taskfarmer_mpi.farmer.outfit import Limits, Outfit
from taskfarmer_mpi.farmer.overseer import Overseer
from taskfarmer_mpi.farmer.starter import Starter
from taskfarmer_mpi.farmer.tally import Tally
from taskfarmer_mpi.history.attempts import Attempts
from taskfarmer_mpi.visits.neighbours import Neighbours
from taskfarmer_mpi.visits.pace import Pace
from taskfarmer_mpi.visits.tasks_in_hand import TasksInHand
from taskfarmer_mpi.visits.visit_times import Situation
from taskfarmer_mpi.visits.visits import Visits
from taskfarmer_mpi.workdir.journal import close_journal

log = Log(__name__)

TASK_TIME_MARGIN = 1.5
"""How much longer than the mean so far a task may last and still be started before a deadline."""
KILL_PATIENCE = 1.0
"""How long a farmer that stops waits for its tasks' last processes to die [s]."""
LONGEST_PAUSE = 0.1
"""How long a farmer sleeps at most [s]."""
SIGN_INTERVAL = 20.0
"""How often a farmer whose tasks run notes that it lives [s]: so the trace knows about how long they ran if it dies."""


class Farmer:
    """Works through a tasklist with its own pool; `step` is called again and again until it has settled."""

    def __init__(self, outfit: Outfit, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        """Wire a farmer; nothing is taken yet. Its clock only goes forward [s]."""
        self._farm, self._pool, self.journal = outfit.farm, outfit.pool, outfit.journal
        self._locks, self._limits, self._clock = (outfit.task_lock, outfit.life), limits, clock
        self._pace = Pace(outfit.slots)
        who, patience = outfit.journal.identity, limits.lock_patience
        neighbours = Neighbours(outfit.journal.path, who, clock)
        own = (outfit.farm, outfit.journal, self._locks, self._pace, neighbours)
        self._visits = Visits(*own, patience, clock, outfit.logs, self._pool.make_room)
        self._doubt = NodeDoubt(neighbours, who.host, clock)
        self._tasks = TasksInHand(Attempts(outfit.farm.workdir.attempts), who.farmer)
        self._starter = Starter(outfit, self._doubt, clock, limits.deadline)
        self._last_sign = self._due = clock()
        self._is_dry, self.unfit = False, ""
        """Whether nothing was left to take; which tasks are left, if only such that this farmer can never run."""
        self.sees_more = self.shares_limits = False
        """Whether the last visit left tasks to take on the list; whether only so many of some may run at once."""
        self.stop_reason: str | None = None
        """Why running tasks were killed, if they were."""
        self.drain_reason: str | None = None
        """Why no more tasks are started, although those that run may end, if so."""
        self.halt_reason = ""
        """Why all farmers are to stop, by what has ended, if so."""
        self.trouble: FarmError | None = None
        """Why this farmer gave up, if it did."""
        self._kill_at: float | None = None
        """Until when running tasks have time to end after a stop, on its clock [s]; None if they have none."""
        self.tally = Tally(outfit.slots)
        self._judge = Judge(outfit, self._tasks, self.tally, self._doubt)
        self._overseer = Overseer(outfit.pool, outfit.farm.rules, clock, outfit.logs, outfit.memory, self._tasks)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in this farmer's hands, and it found nothing to take or takes nothing more."""
        if self.trouble is not None:
            return True
        if self._tasks or self._pool.busy or self._kill_at is not None:
            return False
        return self._is_dry or not (self.takes_tasks or self._is_watching)

    @property
    def halts_now(self) -> bool:
        """Whether a halt ends running tasks, too."""
        halt = self._farm.rules.halt
        return halt is not None and halt.is_now

    @property
    def takes_tasks(self) -> bool:
        """Whether this farmer still starts tasks."""
        return self._goes_on and not self.tally.aside

    @property
    def _is_watching(self) -> bool:
        """Whether this farmer only waits for others to end the list, as tasks fail on its node."""
        return self._goes_on and bool(self.tally.aside) and not self._doubt.is_alone

    @property
    def _goes_on(self) -> bool:
        return self.stop_reason is None and self.drain_reason is None and self.trouble is None

    @property
    def task_time(self) -> float:
        """How long a task may last [s]."""
        return TASK_TIME_MARGIN * self._pace.task_time if self._limits.task_time is None else self._limits.task_time

    def look_again(self) -> None:
        """Expect tasks on the list although it was empty."""
        self._is_dry = False
        self._visits.times.bring_forward()
        self._due = self._clock()

    def stop(self, reason: str) -> None:
        """Kill running tasks at once, or once they had time to end; they and all others in hand go back to the list."""
        if self.stop_reason is not None:
            return
        self.stop_reason = reason
        if self.trouble is not None:
            return
        log.info("stopping: %s", reason)
        try:
            self._begin_stop(reason)
        except FarmError as error:
            self.give_up(error)

    def _begin_stop(self, reason: str) -> None:
        self.journal.note("stop", reason=reason)
        for run in self._tasks.doubted():
            self._judge.interrupt(run)
        self._tasks.give_back_all()
        self._kill_at = self._overseer.ask_all(self._limits.last_moment())
        if self._kill_at is None:
            self._drop_all()
        self._visits.times.bring_forward()

    def _drop_all(self) -> None:
        self._kill_at = None
        for run in self._pool.kill(KILL_PATIENCE):
            self._judge.see(run, self._clock(), is_stopping=True)
        self.journal.flush()
        if self._pool.has_survivors:
            raise FarmError("processes of its tasks do not die: the tasks go back to the list when they are gone")

    def drain(self, reason: str) -> None:
        """Start no more tasks, but let those end that run."""
        if self.drain_reason is not None:
            return
        self.drain_reason = reason
        log.info("no more tasks are started: %s", self.drain_reason)
        self.journal.note("drain", reason=self.drain_reason)
        self._tasks.give_back_all()

    def cancel(self, tasks: Collection[int]) -> None:
        """End some tasks if they run, and start none of them; those that are not in hand are left alone."""
        self._tasks.cancel(tasks)
        self._overseer.cancel(tasks)

    def step(self) -> None:
        """Do what can be done now, without waiting for anything."""
        if self.trouble is not None:
            return
        try:
            self._judge.look()
            self._collect()
            self._overseer.step()
            if self._kill_at is not None and (not self._pool.busy or self._clock() >= self._kill_at):
                self._drop_all()
            for run in self._tasks.judged(now := self._clock()):
                self._judge.end(run, now)
            self._tasks.bring_back(now)
            self._heed_node()
            self._heed_deadline()
            self._fill()
            self._give_sign()
            self._plan_visit()
            if self._clock() >= self._due:
                self._visit()
                self._plan_visit()
        except FencedError as error:
            self.give_up(self._pool.lease_end() or error)
        except FarmError as error:
            self.give_up(error)
        except OSError as error:
            self.give_up(FarmError(describe(error, self._farm.workdir.path)))

    def pause(self) -> float:
        """Return how long nothing will be to do after a step unless a signal comes [s]."""
        if self.trouble is not None:
            return LONGEST_PAUSE
        now = self._clock()
        moment = min(now + LONGEST_PAUSE, self._due, self._tasks.next_verdict or math.inf)
        return max(moment - now, 0.0)

    # -- the tasks --------------------------------------------------------------------------------

    def _collect(self) -> None:
        runs = self._pool.reap()
        if (end := self._pool.lease_end()) is not None:  # asked now: these runs may have ended by that
            raise end
        for run in runs:
            self._starter.shortage.try_now()
            self._pace.see_task(run.ended - run.started)
            self._overseer.see(run)
            self._judge.see(run, self._clock(), is_stopping=self.stop_reason is not None)

    def _heed_node(self) -> None:
        """Take no more tasks if they fail on this node only; those that run may end."""
        if not self._doubt.is_serious:
            return
        self._doubt.look()
        if self._doubt.reason and not self.tally.aside:
            self.tally.aside = self._doubt.reason
            log.error("%s: this farmer takes no more tasks; start another one there to try again", self.tally.aside)
            self.journal.note("aside", reason=self.tally.aside)
            self._tasks.give_back_all()

    def _heed_deadline(self) -> None:
        """Start no more tasks once one may last longer than the time left."""
        if (end := self._limits.deadline()) < math.inf and self._clock() + self.task_time > end and self.takes_tasks:
            self.drain(f"a task may take {self.task_time:.3g} s, which is more than the time left")

    def _fill(self) -> None:
        if self._tasks.queue:
            for run in self._starter.fill(self._tasks):
                self._visits.times.see_start()
                if run is not None:
                    self._judge.end(run, self._clock())
        self.journal.flush()

    def _give_sign(self) -> None:
        now = self._clock()
        if now - self._last_sign >= SIGN_INTERVAL:
            self._last_sign = now
            if self._pool.busy:
                self.journal.note("alive")
                self.journal.flush()

    # -- the lists --------------------------------------------------------------------------------

    def _situation(self) -> Situation:
        return Situation(
            self._pool.free,
            self._pool.busy,
            self.takes_tasks and self._starter.may_start,
            self.stop_reason is not None,
            self._is_watching,
            self._is_dry,
        )

    def _plan_visit(self) -> None:
        self._due = self._visits.times.due(self._tasks, self._situation())

    def _visit(self) -> None:
        visit = self._visits.visit(self._tasks, self._situation())
        if visit is not None:
            self._is_dry = (visit.is_empty or bool(visit.unfit)) and not visit.taken
            self.sees_more, self.unfit = not (visit.is_empty or visit.waiting or visit.unfit), visit.unfit
            self.shares_limits, self.halt_reason = visit.shares_limits, visit.halt
            if visit.halt:
                self._tasks.give_back_all()
            self._pool.refresh()
            self._fill()

    # -- the end ----------------------------------------------------------------------------------

    def leave(self) -> None:
        """Settle this farmer's own affairs: after this its journal is closed and its locks are gone.

        Raises
        ------
        FarmError
            If the journal cannot be written; others then find it as that of a dead farmer.
        """
        if not self.is_idle:
            self.give_up(FarmError("told to leave with tasks in hand"))
        if self.trouble is not None:
            return
        self.journal.note("leave")
        self.journal.close()
        self._pool.close()
        close_journal(self.journal.path)
        for life in self._locks:
            life.path.unlink(missing_ok=True)
            life.release()

    def give_up(self, error: FarmError) -> None:
        """Stop after trouble: what is known stays in the journal, and whoever gets the life lock takes over."""
        if self.trouble is not None:
            return
        self.trouble = error
        runs = self._pool.kill(KILL_PATIENCE)
        log.error("%s", error)
        if not isinstance(error, FencedError):
            with suppress(FarmError):
                for run in (run for run in runs if run.is_finished):
                    self.journal.note_run("end", run)
                self.journal.flush()
        self._tasks.queue.clear()
        self.journal.abandon()
        for life in self._locks:
            life.release()
