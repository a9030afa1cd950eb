"""How one farmer starts its tasks: each in a free slot, noted in the journal; none while something is short."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from taskfarmer_mpi.common.shortage import Shortage
from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.errors import ShortageError, is_shortage
from taskfarmer_mpi.farmer.node_doubt import NodeDoubt
from taskfarmer_mpi.farmer.pool import Pool
from taskfarmer_mpi.history.attempts import Attempts
from taskfarmer_mpi.runners.shell import Launch, Runner
from taskfarmer_mpi.tasklists.task import Run, Task
from taskfarmer_mpi.visits.tasks_in_hand import TasksInHand
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.journal import Journal


class Starter:
    """Fills the slots of a pool."""

    def __init__(
        self, farm: Farm, runner: Runner, pool: Pool, journal: Journal, doubt: NodeDoubt, clock: Callable[[], float]
    ) -> None:
        self._farm = farm
        self._runner = runner
        self._pool = pool
        self._journal = journal
        self._doubt = doubt
        self.shortage = Shortage("no task is started", clock)

    @property
    def may_start(self) -> bool:
        """Whether nothing is known for which starts have to wait."""
        return self.shortage.is_time_to_try and self._doubt.may_start

    def fill(self, tasks: TasksInHand) -> Iterator[Run | None]:
        """Start tasks as long as slots are free; yield after each start, with its run if that is over already.

        A task that is not started because something is short goes on waiting, as the first one.

        Raises
        ------
        FarmError
            If it would be the same with the next task, or something is short for long.
        """
        while tasks.queue and self._pool.free and self.may_start:
            self._journal.flush()  # the end of the run before in this slot
            task, slot = tasks.queue[0], self._pool.next_slot
            try:
                run = self._start(task, tasks.attempts)
            except ShortageError as error:
                self.shortage.see(error, is_busy=self._pool.busy > 0)
                return
            tasks.queue.popleft()
            self._journal.note_begin(task.id, slot)
            self.shortage.see_success()
            self._doubt.see_start()
            yield run

    def _start(self, task: Task, attempts: Attempts | None) -> Run | None:
        try:
            launch = self._runner.launch(self._farm.handler[task.id])
        except Exception as error:  # a user's handler or runner may fail with one task, and not with the next
            if is_shortage(error):
                raise ShortageError(f"cannot make a command of a task: {error}") from error
            return self._pool.refuse(task, f"cannot make a command of {task.text[:200]!r}: {type(error).__name__}: {error}")
        if attempts is not None and (before := attempts.count(task.id)):
            launch = _with_attempt(launch, before + 1)
        return self._pool.start(task, launch)


def _with_attempt(launch: Launch, number: int) -> Launch:
    """Return a launch whose task finds the number of its attempt in its environment."""
    fallback = launch.fallback and _with_attempt(launch.fallback, number)
    return replace(launch, environ={**launch.environ, "TASKFARMER_ATTEMPT": str(number)}, fallback=fallback)
