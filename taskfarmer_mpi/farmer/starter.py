"""How one farmer starts its tasks: each in a free slot, noted in the journal; none while something is short."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from taskfarmer_mpi.common.shortage import Shortage
from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.errors import FarmError, ShortageError, is_shortage
from taskfarmer_mpi.farmer.node_doubt import NodeDoubt
from taskfarmer_mpi.farmer.outfit import Outfit
from taskfarmer_mpi.runners.shell import Launch
from taskfarmer_mpi.tasklists.task import Run, Task
from taskfarmer_mpi.visits.tasks_in_hand import TasksInHand
from taskfarmer_mpi.workdir.files import read_file
from taskfarmer_mpi.workdir.lists import ids_in


class Starter:
    """Fills the slots of a pool."""

    def __init__(
        self, outfit: Outfit, doubt: NodeDoubt, clock: Callable[[], float], deadline: Callable[[], float] = lambda: math.inf
    ) -> None:
        """Start nothing yet; `deadline` says when the farmer will be stopped, on its clock [s]."""
        self._farm = outfit.farm
        self._runner = outfit.runner
        self._pool = outfit.pool
        self._journal = outfit.journal
        self._tempdirs = outfit.tempdirs
        self._memory = outfit.memory
        self._clock = clock
        self._deadline = deadline
        self._doubt = doubt
        self.shortage = Shortage("no task is started", clock)

    @property
    def may_start(self) -> bool:
        """Whether nothing is known for which starts have to wait."""
        is_memory_short = self._memory is not None and self._memory.is_short
        return self.shortage.is_time_to_try and self._doubt.may_start and not is_memory_short

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
            task, slot, room = tasks.queue[0], self._pool.next_slot, self._pool.room
            if room is not None and tasks.settings is not None and not room.may_start(tasks.settings.of(task.id)):
                return
            try:
                run = self._start(task, tasks)
            except ShortageError as error:
                self.shortage.see(error, is_busy=self._pool.busy > 0)
                return
            tasks.queue.popleft()
            self._journal.note_begin(task.id, slot)
            self.shortage.see_success()
            self._doubt.see_start()
            yield run

    def _start(self, task: Task, tasks: TasksInHand) -> Run | None:
        try:
            launch = self._runner.launch(self._farm.command_of(task.id))
        except Exception as error:  # a user's handler or runner may fail with one task, and not with the next
            if is_shortage(error):
                raise ShortageError(f"cannot make a command of a task: {error}") from error
            return self._pool.refuse(task, f"cannot make a command of {task.text[:200]!r}: {type(error).__name__}: {error}")
        more: dict[str, str] = {}
        if (number := tasks.number_of(task.id)) > 1:
            more["TASKFARMER_ATTEMPT"] = str(number)
        if tasks.settings is not None and (name := tasks.settings.of(task.id).name):
            more["TASKFARMER_NAME"] = name
        if task.id == self._farm.catalog.then:
            more["TASKFARMER_FAILED"] = str(len(set(ids_in(read_file(self._farm.workdir.failed) or b""))))
        if (end := self._deadline()) < math.inf:
            more["TASKFARMER_TIME_LEFT"] = str(max(0, int(end - self._clock())))
        if self._tempdirs is not None:
            more["TMPDIR"] = more["TASKFARMER_TEMPDIR"] = self._tempdirs.make(task.id)
        try:
            return self._start_sized(task, tasks, _with_environ(launch, more) if more else launch)
        except FarmError:
            if self._tempdirs is not None:
                self._tempdirs.end(task.id, is_kept=False)
            raise

    def _start_sized(self, task: Task, tasks: TasksInHand, launch: Launch) -> Run | None:
        """Start a task with as many slots and so on as it takes, where tasks are of different sizes."""
        room = self._pool.room
        if room is None or tasks.settings is None:
            return self._pool.start(task, launch)
        width, variables = room.give(task.id, tasks.settings.of(task.id))
        run, is_started = None, False
        try:
            run = self._pool.start(task, _with_environ(launch, variables), width)
            is_started = run is None
        finally:
            if not is_started:
                room.end(task.id)
        return run


def _with_environ(launch: Launch, more: dict[str, str]) -> Launch:
    """Return a launch whose task finds more in its environment."""
    return replace(launch, environ={**launch.environ, **more})
