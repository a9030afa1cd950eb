"""One farmer: takes tasks, runs them in its slots, records how they ended, gives back what it cannot run."""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter

from taskfarmer_mpi.errors import FarmError, FencedError, UserError
from taskfarmer_mpi.farmer.pace import Pace
from taskfarmer_mpi.farmer.pool import Pool
from taskfarmer_mpi.farmer.visit import Visitor
from taskfarmer_mpi.runners.shell import Runner
from taskfarmer_mpi.tasklists.task import Run, Task
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.journal import Journal, close_journal
from taskfarmer_mpi.workdir.journal_reading import open_journals
from taskfarmer_mpi.workdir.locks import REPORT, STOP_PATIENCE, LifeLock

log = logging.getLogger(__name__)

VERDICT_DELAY = 1.0
"""How long a death by signal may turn out to be part of a shutdown [s]: Slurm can signal a task before its farmer."""
TASK_TIME_MARGIN = 1.5
"""How much longer than the mean so far a task may last and still be started before a deadline."""
KILL_PATIENCE = 1.0
"""How long a farmer that stops waits for its tasks' last processes to die [s]."""
LONGEST_PAUSE = 0.1
"""How long a farmer sleeps at most [s]."""
SIGN_INTERVAL = 60.0
"""How often a farmer whose tasks run notes that it lives [s]: so the trace knows about how long they ran if it dies."""
NOTED_WAIT = 0.1
"""How long a farmer must have waited for the lock [s] for a visit that brought nothing to be noted."""


@dataclass(slots=True)
class Tally:
    """What a farmer did."""

    slots: int
    finished: int = 0
    failed: int = 0
    busy: float = 0.0
    """Slot time in which a task ran [s]."""


class Farmer:
    """Works through a tasklist with its own pool; `step` is called again and again until it has settled."""

    def __init__(
        self,
        *,
        farm: Farm,
        runner: Runner,
        pool: Pool,
        slots: int,
        journal: Journal,
        life: LifeLock,
        task_lock: LifeLock,
        lock_patience: float,
        deadline: float = math.inf,
        task_time: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Wire a farmer; nothing is taken yet.

        Parameters
        ----------
        farm
            The tasks and where they are worked on.
        runner
            How tasks become processes.
        pool, slots
            Where they run, and how many at the same time.
        journal
            The farmer's own log.
        life, task_lock
            The locks that say whether this farmer and its tasks live.
        lock_patience
            How long to wait for the lock before giving up [s].
        deadline
            When this farmer will be stopped, on its clock [s].
        task_time
            What a task lasts [s]; None to judge by the runs seen so far.
        clock
            A clock that only goes forward [s].
        """
        self._farm = farm
        self._runner = runner
        self._pool = pool
        self.journal = journal
        self._life = life
        self._task_lock = task_lock
        self._lock_patience = lock_patience
        self._deadline = deadline
        self._task_time = task_time
        self._clock = clock
        self._visitor = Visitor(farm, journal, life)
        self._pace = Pace(slots)
        self._queue: deque[Task] = deque()
        self._outcomes: list[Run] = []
        self._verdicts: deque[tuple[float, Run]] = deque()
        self._back: list[Task] = []
        self._next_visit = self._last_visit = self._last_start = self._last_sign = self._due = clock()
        self._lock_wait: float | None = None
        self._lock_pause = 0.001
        self._lock_report = REPORT
        self._is_dry = False
        self.sees_more = False
        """Whether the last visit left tasks on the list."""
        self._farmers = 1
        self._farmers_seen = -1.0
        self.stop_reason: str | None = None
        """Why running tasks were killed, if they were."""
        self.drain_reason: str | None = None
        """Why no more tasks are started, although those that run may end, if so."""
        self.trouble: FarmError | None = None
        """Why this farmer gave up, if it did."""
        self.tally = Tally(slots)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in this farmer's hands, and it found nothing to take or takes nothing more."""
        if self.trouble is not None:
            return True
        in_hand = self._queue or self._outcomes or self._verdicts or self._back or self._pool.busy
        return not in_hand and (self._is_dry or not self.takes_tasks)

    @property
    def takes_tasks(self) -> bool:
        """Whether this farmer still starts tasks."""
        return self.stop_reason is None and self.drain_reason is None and self.trouble is None

    def look_again(self) -> None:
        """Expect tasks on the list although it was empty."""
        self._is_dry = False
        self._next_visit = self._due = self._clock()

    def stop(self, reason: str) -> None:
        """Kill running tasks at once; they and all others in hand go back to the list."""
        if self.stop_reason is not None:
            return
        self.stop_reason = reason
        if self.trouble is not None:
            return
        log.info("stopping: %s", reason)
        try:
            self._drop_all(reason)
        except FarmError as error:
            self.give_up(error)

    def _drop_all(self, reason: str) -> None:
        self.journal.note("stop", reason=reason)
        for run in self._pool.kill(KILL_PATIENCE):
            if run.is_finished:
                self._end(run)
            else:
                self._interrupt(run)
        while self._verdicts:
            self._interrupt(self._verdicts.popleft()[1])
        self._back += self._queue
        self._queue.clear()
        self.journal.flush()
        if self._pool.has_survivors:
            raise FarmError("processes of its tasks do not die: the tasks go back to the list when they are gone")
        self._next_visit = self._clock()

    def step(self) -> None:
        """Do what can be done now, without waiting for anything."""
        if self.trouble is not None:
            return
        try:
            self._collect()
            if self._verdicts:
                self._judge()
            if self._clock() + self._needed_time > self._deadline and self.takes_tasks:
                self.drain(f"a task may take {self._needed_time:.3g} s, which is more than the time left")
            self._fill()
            self._give_sign()
            self._due = self._visit_time()
            if self._clock() >= self._due:
                if self._visit():
                    self._fill()
                self._due = self._visit_time()
        except FarmError as error:
            self.give_up(error)
        except OSError as error:
            self.give_up(FarmError(f"{self._farm.workdir.path}: {error}"))

    def pause(self) -> float:
        """Return how long nothing will be to do after a step unless a signal comes [s]."""
        if self.trouble is not None:
            return LONGEST_PAUSE
        now = self._clock()
        moment = min(now + LONGEST_PAUSE, self._due)
        if self._verdicts:
            moment = min(moment, self._verdicts[0][0])
        return max(moment - now, 0.0)

    # -- the tasks --------------------------------------------------------------------------------

    def _collect(self) -> None:
        for run in self._pool.reap():
            self._pace.see_task(run.ended - run.started)
            if run.may_be_interrupted and self.stop_reason is None:
                self._verdicts.append((self._clock() + VERDICT_DELAY, run))
            elif run.is_finished or self.stop_reason is None:
                self._end(run)
            else:
                self._interrupt(run)

    def _judge(self) -> None:
        now = self._clock()
        while self._verdicts and self._verdicts[0][0] <= now:
            self._end(self._verdicts.popleft()[1])

    def _end(self, run: Run) -> None:
        self.journal.note_run("end", run)
        self._outcomes.append(run)
        self.tally.busy += run.ended - run.started
        if run.is_finished:
            self.tally.finished += 1
        else:
            self.tally.failed += 1
            log.info("task %d failed with %d; see %s", run.task.id, run.returncode, self._farm.workdir.log(run.task.id))

    @property
    def _needed_time(self) -> float:
        """What a task that starts now may last [s]."""
        return TASK_TIME_MARGIN * self._pace.task_time if self._task_time is None else self._task_time

    def drain(self, reason: str) -> None:
        """Start no more tasks, but let those end that run."""
        if self.drain_reason is not None:
            return
        self.drain_reason = reason
        log.info("no more tasks are started: %s", self.drain_reason)
        self.journal.note("drain", reason=self.drain_reason)
        self._back += self._queue
        self._queue.clear()

    def _interrupt(self, run: Run) -> None:
        """Note a run that a shutdown cut short: its task is still to do."""
        self.journal.note_run("killed", run)
        self.tally.busy += run.ended - run.started
        self._back.append(run.task)

    def _fill(self) -> None:
        while self._queue and self._pool.free:
            task = self._queue.popleft()
            self.journal.note_begin(task.id, self._pool.next_slot)
            self.journal.flush()
            run = self._start(task)
            self._last_start = self._clock()
            if run is not None:
                self._end(run)
        self.journal.flush()

    def _give_sign(self) -> None:
        now = self._clock()
        if now - self._last_sign >= SIGN_INTERVAL:
            self._last_sign = now
            if self._pool.busy:
                self.journal.note("alive")
                self.journal.flush()

    def _start(self, task: Task) -> Run | None:
        """Start a task; return its run if that is over already."""
        try:
            launch = self._runner.launch(self._farm.handler[task.id])
        except Exception as error:  # a user's handler or runner may fail with one task, and not with the next
            return self._pool.refuse(task, f"cannot make a command of {task.text[:200]!r}: {type(error).__name__}: {error}")
        return self._pool.start(task, launch)

    # -- the lists --------------------------------------------------------------------------------

    def _visit_time(self) -> float:
        """Return when to visit the lists next, on this farmer's clock [s]; infinity if there is no reason to."""
        if self._back or (self._outcomes and (self.stop_reason is not None or not (self._queue or self._pool.busy))):
            return self._next_visit
        moment = math.inf
        if self._outcomes:
            moment = self._last_visit + self._pace.interval
        if self._queue:
            moment = min(moment, self._stale_time)
        if self._pool.free > len(self._queue) and self.takes_tasks:
            if not self._is_dry:
                return self._next_visit
            if self._pool.busy:
                moment = min(moment, self._last_visit + self._pace.relook)
        return max(moment, self._next_visit)

    @property
    def _stale_time(self) -> float:
        """When the tasks that wait here are to be given to farmers that could be running them [s]."""
        return self._last_start + self._pace.patience

    def _visit(self) -> bool:
        """Exchange outcomes and tasks with the shared lists; return whether the lock could be had."""
        now = self._clock()
        begin = time.time()
        if not self._lock(now):
            return False
        try:
            if self._queue and now >= self._stale_time:
                self._back += self._queue
                self._queue.clear()
            visit = self._visitor.visit(self._outcomes, self._back, self._count)
        finally:
            self._farm.lock.release()
        self._note_visit(begin, 0.0 if self._lock_wait is None else now - self._lock_wait, len(visit.taken))
        self._outcomes, self._back = [], []
        self._queue += visit.taken
        self._is_dry = visit.is_empty and not visit.taken
        self.sees_more = not visit.is_empty
        self._last_visit = self._clock()
        if visit.taken:
            self._last_start = self._last_visit
        self._pace.see_visit(self._last_visit - (self._lock_wait or now))
        self._next_visit = self._last_visit + self._pace.gap
        self._lock_wait = None
        self._lock_pause = 0.001
        self._lock_report = REPORT
        self._pool.refresh()
        return True

    def _note_visit(self, begin: float, wait: float, taken: int) -> None:
        """Note a visit for the trace; idle farmers make many that bring nothing, which are left out."""
        if taken or self._outcomes or self._back or wait >= NOTED_WAIT:
            times = {"begin": round(begin, 6), "wait": round(wait, 6)}
            self.journal.note("visit", **times, recorded=len(self._outcomes), back=len(self._back), taken=taken)

    def _lock(self, now: float) -> bool:
        """Try to take the lock; if others have it, plan the next attempt."""
        try:
            if self._farm.lock.try_acquire():
                return True
        except UserError as error:
            raise FarmError(str(error)) from error
        if self._lock_wait is None:
            self._lock_wait = now
        waited = now - self._lock_wait
        if waited > (self._lock_patience if self.stop_reason is None else min(self._lock_patience, STOP_PATIENCE)):
            lock = self._farm.lock
            raise FarmError(f"{lock.paths[0]}: no lock within {waited:.0f} s; {lock.describe_holder()}")
        if waited > self._lock_report:
            log.warning("waiting for the lock for %.0f s; %s", waited, self._farm.lock.describe_holder())
            self._lock_report *= 2
        self._next_visit = now + self._lock_pause * (0.5 + secrets.randbelow(1000) / 1000)
        self._lock_pause = min(2 * self._lock_pause, 0.05)
        return False

    def _count(self, remaining: int) -> int:
        """Return how many tasks to take of the `remaining` ones."""
        if self._back or not self.takes_tasks:
            return 0
        now = self._clock()
        if now - self._farmers_seen > 2.0:
            self._farmers = len(open_journals(self._farm.workdir.farmers))
            self._farmers_seen = now
        return self._pace.batch(free=self._pool.free, queued=len(self._queue), remaining=remaining, farmers=self._farmers)

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
        for life in (self._task_lock, self._life):
            life.path.unlink(missing_ok=True)
            life.release()

    def give_up(self, error: FarmError) -> None:
        """Stop after trouble: what is known stays in the journal, and whoever gets the life lock takes over."""
        if self.trouble is not None:
            return
        log.error("%s", error)
        self.trouble = error
        runs = self._pool.kill(KILL_PATIENCE)
        if not isinstance(error, FencedError):
            with suppress(FarmError):
                for run in filter(attrgetter("is_finished"), runs):
                    self.journal.note_run("end", run)
                self.journal.flush()
        self._queue.clear()
        for life in (self._task_lock, self._life):
            life.release()
