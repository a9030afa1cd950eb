"""A visit to the shared lists: outcomes go in, tasks come back or out, in an order that survives death at any point.

1. Outcomes are appended to `finished` and `failed`, and reach the disk.
2. Tasks that are given back are appended to `toprocess`, and reach the disk.
3. The journal says so, and which tasks are taken, and reaches the disk.
4. `toprocess` loses the taken tasks.

Died after 1 or 2: recovery finds the lines in the lists and does nothing. Died after 3: it finds the tasks still there.
What is done is out of the farmer's hands at once, so a visit that a shortage cut short before 4 can be made again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.errors import FencedError
from taskfarmer_mpi.history.attempts import encode_attempts
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.visits.tasks_in_hand import TasksInHand
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.journal import Journal
from taskfarmer_mpi.workdir.lists import (
    Recorded,
    append_lines,
    append_tasks,
    give_back_tasks,
    is_plain_farmer_about,
    locked_list,
)
from taskfarmer_mpi.workdir.stack import Place, Stack, Top, open_stack, top_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.resources.room import Room
    from taskfarmer_mpi.visits.halt_watch import HaltWatch
    from taskfarmer_mpi.visits.handover import Handover
    from taskfarmer_mpi.visits.permits import Permits


class Visit(Value):
    """What a visit brought."""

    taken: list[Task]
    is_empty: bool
    """Whether nothing is left to take."""
    recorded: int
    """How many outcomes were recorded."""
    back: int
    """How many tasks were given back."""
    halt: str = ""
    """Why all farmers are to stop, if so."""
    waiting: str = ""
    """Why tasks that are left could not be taken, if nothing else was."""
    shares_limits: bool = False
    """Whether only so many of some tasks may run at once, or they have sizes."""
    unfit: str = ""
    """Which tasks are left that this farmer can never run, if all that are left are such ones."""


def _none(_remaining: int) -> int:
    return 0


class Visitor:
    """One farmer's way to the shared lists; every call is made with the work directory's lock held."""

    def __init__(
        self, farm: Farm, journal: Journal, life: Sequence[LifeLock], make_room: Callable[[], Room] | None = None
    ) -> None:
        """Look at nothing yet; `make_room` returns what this farmer has for tasks of different sizes."""
        self._farm = farm
        self._make_room = make_room
        self._journal = journal
        self._life = life
        self._recorded: Recorded | None = None
        self._is_first = True
        self._known = -1
        """How many tasks there were when their settings were read."""
        self._permits: Permits | None = None
        self._halt: HaltWatch | None = None
        self._handover: Handover | None = None
        self._place: Place | None = None
        if farm.rules.order != "given":
            from taskfarmer_mpi.ordering.order_file import KeptOrder

            self._place = KeptOrder(farm.workdir).place
        if farm.rules.halt is not None:
            from taskfarmer_mpi.visits.halt_watch import HaltWatch

            self._halt = HaltWatch(farm)

    def visit(
        self, tasks: TasksInHand, count: Callable[[int], int], startable: int = 0, *, has_neighbours: bool = False
    ) -> Visit:
        """Record outcomes, give tasks back and take others.

        Parameters
        ----------
        tasks
            What is in this farmer's hands.
        count
            How many tasks to take, told about how many there are.
        startable
            How many of them could be started at once.
        has_neighbours
            Whether others share the lists: tasks that failed here are better tried there.

        Raises
        ------
        FencedError
            If others hold this farmer for dead; nothing was written.
        ShortageError
            If a list cannot be read or written at the moment; what was not done is in hand still.
        FarmError
            If a list or the journal cannot be read or written.
        """
        if not self._is_its_own():
            raise FencedError(self._journal.describe_loss())
        self._farm.catalog.advance()
        self._see_settings(tasks)
        self._see_attempts(tasks)
        recorded, back, removed = len(tasks.outcomes), len(tasks.back), len(tasks.cancelled)
        with ExitStack() as opened:
            ready = self._lock_early(opened) if recorded and not back else None
            if recorded:
                self._record(tasks)
            if back:
                self._give_back(tasks)
            if removed:
                self._remove(tasks)
            halt = self._halt.look() if self._halt is not None else ""
            self._begin_permits(startable, tasks)
            taken, is_empty = self._take(count if not halt else _none, ready, leaves_failed=has_neighbours)
        if self._permits is not None and self._permits.should_look_again():
            taken, is_empty = self._take(count if not halt else _none, None, leaves_failed=has_neighbours)
        tasks.queue += taken
        if (recorded or back or removed) and not taken:
            self._journal.sync()
        waiting, unfit = self._reasons(taken)
        return Visit(taken, is_empty, recorded, back, halt, waiting, self._permits is not None, unfit)

    def _begin_permits(self, startable: int, tasks: TasksInHand) -> None:
        if self._permits is not None:
            self._journal.flush()
            self._permits.begin(startable, tasks.queue)

    def _reasons(self, taken: list[Task]) -> tuple[str, str]:
        """Return why nothing was taken, and which tasks never can be, if so."""
        waiting, unfit = self._permits.end() if self._permits is not None else ("", "")
        return ("", "") if taken else (waiting, unfit)

    def _is_its_own(self) -> bool:
        """Whether what it has in hand is this farmer's own still: nobody has taken over, or is about to."""
        if any(lock.is_over for lock in self._life):
            return False
        if any(lock.is_proven() for lock in self._life):  # the locks of a node are lost together, or not at all
            return self._journal.is_own()
        if any(lock.can_be_proven for lock in self._life):
            self._farm.workdir.refresh()  # names there count now
        # Where a lease was lost and nobody has taken over, the locks are taken again: all of them, or the farmer is fenced.
        return self._journal.is_own() and all(lock.is_held() for lock in self._life)

    def _lock_early(self, opened: ExitStack) -> int | None:
        """Open and lock the list of tasks to do before outcomes are recorded: the work lock is confirmed once for both.

        Only where a list refuses what is written when its lock was lost meanwhile. Elsewhere the work lock alone protects
        it, and is confirmed right before it is written to.
        """
        if not any(lock.can_be_proven for lock in self._life):
            return None
        try:
            fd, is_locked = opened.enter_context(locked_list(self._farm.workdir.toprocess, os.O_RDWR))
        except OSError:
            return None  # said when it is wanted
        return fd if is_locked else None

    def _see_settings(self, tasks: TasksInHand) -> None:
        """Learn what single tasks have otherwise than the others: that comes with the tasks."""
        if self._known == len(self._farm.catalog):
            return
        if tasks.settings is None and self._farm.workdir.settings.exists():
            from taskfarmer_mpi.directives.book import SettingsBook

            tasks.settings = SettingsBook(self._farm.workdir.settings)
        if tasks.settings is not None:
            tasks.settings.advance()
            has_sizes = tasks.settings.has_sizes and self._make_room is not None
            if (tasks.settings.has_limits or has_sizes or tasks.settings.has_barriers) and self._permits is None:
                from taskfarmer_mpi.visits.permits import Permits

                self._permits = Permits(self._farm, tasks.settings)
            if has_sizes and self._make_room is not None and self._permits is not None:
                self._permits.see_sizes(self._make_room(), self._journal)
            if tasks.settings.has_barriers and self._permits is not None:
                self._permits.see_barriers()
        self._known = len(self._farm.catalog)

    def _see_attempts(self, tasks: TasksInHand) -> None:
        """Learn what others tried, and tell what was tried here: before the tasks are back on the list."""
        counts = self._farm.rules.counts_attempts or tasks.settings is not None
        if tasks.attempts is None or not (counts or self._is_first):
            return
        self._is_first = False
        tasks.attempts.advance()
        if tasks.tried:
            append_lines(self._farm.workdir.attempts, encode_attempts(tasks.tried), self._farm.lock.confirm)
            if self._handover is None:
                from taskfarmer_mpi.visits.handover import Handover

                self._handover = Handover()
            self._handover.see_failed(attempt.task for attempt in tasks.tried)
            tasks.tried = []

    def _record(self, tasks: TasksInHand) -> None:
        failed = [run for run in tasks.outcomes if not run.is_finished]
        if len(failed) < len(tasks.outcomes):
            finished = [run.task for run in tasks.outcomes if run.is_finished]
            append_tasks(self._farm.workdir.finished, finished, self._farm.lock.confirm)
            tasks.outcomes = failed
        if failed:
            append_tasks(self._farm.workdir.failed, [run.task for run in failed], self._farm.lock.confirm)
            tasks.outcomes = []
        self._journal.note("recorded")

    def _give_back(self, tasks: TasksInHand) -> None:
        listed = self._farm.catalog.listed
        late = [task for task in tasks.back if task.id >= listed]
        for part in (late, [task for task in tasks.back if task.id < listed]):  # one list each
            if part:
                ids = sorted(task.id for task in part)
                self._journal.note("giving", ids=ids)
                self._journal.sync()  # or after a loss of power `taken` could be the last record, and the list deny it
                give_back_tasks(self._farm, part)
                self._journal.note("given", ids=ids)
                if self._handover is not None:
                    self._handover.see_back(ids)
                tasks.back = [task for task in tasks.back if task.id < listed] if part is late else []

    def _remove(self, tasks: TasksInHand) -> None:
        """Write down which tasks a user cancelled before they were run."""
        from taskfarmer_mpi.changes.removal import record_removed

        record_removed(self._farm.workdir, tasks.cancelled, Cause.CANCELLED, self._farm.lock.confirm)
        self._journal.note("given", ids=sorted(task.id for task in tasks.cancelled))
        tasks.cancelled = []

    def _take(self, count: Callable[[int], int], ready: int | None, *, leaves_failed: bool) -> tuple[list[Task], bool]:
        """Take tasks; `ready` is the list of tasks to do, if it is locked and the work lock was confirmed since."""
        stacks = [self._farm.workdir.toprocess]
        if self._farm.catalog.listed < len(self._farm.catalog) and self._farm.workdir.added.exists():
            stacks.append(self._farm.workdir.added)
        if self._place is not None and len(stacks) > 1:
            place = self._place
            stacks.sort(key=lambda path: place(top_of(path)))
        is_empty = True
        for path in stacks:
            fd = ready if path == self._farm.workdir.toprocess else None
            with open_stack(path, self._is_known, self._farm.lock.confirm, self._place, fd) as stack:
                top = self._look(stack, count, leaves_failed=leaves_failed)
                taken = self._without_recorded(top.tasks)
                if top.tasks:
                    self._journal.note("taken", ids=[task.id for task in taken])
                    self._journal.sync()
                    stack.cut(top)
            is_empty = is_empty and top.is_last
            if top.tasks or not (is_empty or self._permits is not None):
                return taken, is_empty and path == stacks[-1]
        return [], is_empty

    def _look(self, stack: Stack, count: Callable[[int], int], *, leaves_failed: bool) -> Top:
        """Return what may be taken of a stack."""
        handover, permits = self._handover, self._permits
        count = count if permits is None else permits.counting(count)
        if leaves_failed and handover is not None and handover.is_needed():
            more = () if permits is None else (permits.may_take,)
            others = handover.find_others(stack, count, self._is_known, *more)
            if others is not None:
                return others
        if permits is not None:
            return stack.pick(count, self._is_known, permits.may_take, is_deep=permits.is_deep)
        return stack.peek(count, self._is_known)

    def _without_recorded(self, tasks: list[Task]) -> list[Task]:
        """Leave out tasks that are done: a PyTaskFarmer that is told to stop puts some of those back on the list."""
        if self._recorded is None and tasks and is_plain_farmer_about(self._farm):
            self._recorded = Recorded(self._farm)
        if self._recorded is None:
            return tasks
        self._recorded.advance()
        return [task for task in tasks if not self._recorded.flags[task.id]]

    def _is_known(self, task: Task) -> bool:
        return self._farm.catalog.has(task.id, task.text.encode("utf-8", "surrogateescape"))
