"""Farmers of both kinds and commands, without processes: real modules work on real files, and tasks are numbers."""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Iterable
from pathlib import Path

from fakes import Hand, run, stored_as

from properties.kernel import Kernel
from properties.truth import Truth, ids_of
from taskfarmer_mpi.changes.removal import choose, remove_tasks
from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.tasklists.lines import ListTaskList
from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.upkeep.added_tasks import add_tasks
from taskfarmer_mpi.upkeep.preparation import prepare
from taskfarmer_mpi.upkeep.recovery import note_recovery, recover
from taskfarmer_mpi.upkeep.reopening import hands
from taskfarmer_mpi.upkeep.retry import retry_tasks
from taskfarmer_mpi.visits.tasks_in_hand import TasksInHand
from taskfarmer_mpi.visits.visit import Visitor
from taskfarmer_mpi.workdir.catalog import Origin
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.journal import close_journal
from taskfarmer_mpi.workdir.locks import WorkLock

PATIENCE = 1.0


class World:
    """A tasklist, its work directory, and what is known of its tasks."""

    def __init__(self, folder: Path, tasks: int) -> None:
        self.tasklist = folder / "tasks"
        self.tasklist.write_text("".join(f"true {number}\n" for number in range(tasks)))
        self.listed = tasks
        self.workdir = Workdir(folder / "work")
        self.workdir.create()
        self.kernel = Kernel()
        self.truth = Truth(self.workdir.path)

    def farm(self, actor: str) -> Farm:
        """Return the farm as a process of its own sees it."""
        lock = WorkLock(self.workdir, [self.workdir.path / "lock"], actor)
        lock._can_be_lost = [True]
        return Farm.of(self.workdir, lock, ListTaskList(self.tasklist, self.workdir.path), self.listed)

    def prepared(self, actor: str) -> Farm:
        """Return the farm after it was checked and made whole, as at each start."""
        return prepare(self.farm(actor), stored_as(str(self.tasklist)), PATIENCE)


class Farmer:
    """A farmer of ours; whatever it is in the middle of, it can die or be cut off."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self._world = world
        self.farm = world.prepared(name)
        recovery = recover(self.farm, (), PATIENCE)
        self.hand = Hand(self.farm, name)
        self.hand.life.can_be_proven = True  # as on NFS, which this world is like
        self.farm.lock._locks[0].stays_open = True
        weakref.finalize(self, self.farm.lock.close)
        note_recovery(self.hand.journal, recovery)
        self.visitor = Visitor(self.farm, self.hand.journal, (self.hand.life, self.hand.task_lock))
        self.tasks = TasksInHand()
        self.may_start = True
        """Whether it has a proof that its locks are its own: one whose node was cut off starts nothing without."""

    def visit(self, count: int) -> None:
        """Exchange outcomes and tasks with the lists."""
        recorded = [outcome.task.id for outcome in self.tasks.outcomes]
        with self.farm.lock.held(PATIENCE):
            self.visitor.visit(self.tasks, lambda _: count)
        self._world.truth.safe.update(recorded)
        self.may_start = True

    def start(self, most: int = 99) -> None:
        """Run what is in the queue, some tasks at most."""
        while self.tasks.queue and self.may_start and most > 0:
            most -= 1
            task = self.tasks.queue.popleft()
            self._world.truth.start(task.id, self.name)
            self.hand.journal.note_begin(task.id, 0)
        self.hand.journal.flush()

    def running(self) -> list[int]:
        """Return the tasks that it runs."""
        return [task_id for task_id, owner in self._world.truth.running.items() if owner == self.name]

    def end(self, task_id: int, code: int) -> None:
        """Let a run end."""
        ended = run(self.farm, task_id, code)
        self._world.truth.end(task_id, is_finished=code == 0)
        self.hand.journal.note_run("end", ended)
        self.tasks.outcomes.append(ended)
        self.hand.journal.flush()
        self._world.truth.noted.add(task_id)

    def give_back_queue(self) -> None:
        """Give what waits back to the list, as behind tasks that last long."""
        self.tasks.give_back_queue()
        self.visit(0)

    def drop_all(self) -> None:
        """Kill what runs; all that is in hand is to go back to the list."""
        for task_id in self.running():
            self.hand.journal.note_run("killed", run(self.farm, task_id, -9))
            self.tasks.back.append(Task(task_id, self.farm.catalog[task_id]))
        self._world.truth.interrupt(self.name)
        self.tasks.give_back_queue()
        self.hand.journal.flush()

    def cancel(self, ids: Iterable[int]) -> None:
        """Start none of some tasks that wait: they are recorded as removed at the next visit."""
        self.tasks.cancel(set(ids))

    def recover(self) -> None:
        """Recover dead farmers."""
        note_recovery(self.hand.journal, recover(self.farm, {self.hand.journal.path}, PATIENCE))

    def leave(self) -> None:
        """Leave with nothing in hand."""
        self.hand.note("leave")
        self.hand.journal.close()
        close_journal(self.hand.journal.path)
        for life in (self.hand.life, self.hand.task_lock):
            life.path.unlink(missing_ok=True)
            life.release()

    def task(self, task_id: int) -> Task:
        """Return a task of this farm."""
        return Task(task_id, self.farm.catalog[task_id])

    def lose_life(self) -> None:
        """Die while tasks live on, which hold the other lock."""
        self.hand.journal.abandon()
        self.hand.life.release()


class PlainFarmer:
    """A worker of PyTaskFarmer 0.1.0: it rewrites the list, knows no journals, and the tasks that it has die with it."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self._world = world
        self._texts = world.tasklist.read_text().splitlines()
        self.task: int | None = None

    def pop(self) -> None:
        """Take the task with the lowest ID."""
        fd = self._lock()
        tasks = set(ids_of(self._world.workdir.toprocess))
        if tasks:
            self.task = min(tasks)
            self._rewrite(tasks - {self.task})
            self._world.truth.start(self.task, self.name)
        os.close(fd)

    def end(self, code: int) -> None:
        """Record how its task ended; the line is written as a whole."""
        assert self.task is not None
        task_id, self.task = self.task, None
        self._world.truth.end(task_id, is_finished=code == 0)
        fd = self._lock()
        path = self._world.workdir.finished if code == 0 else self._world.workdir.failed
        with path.open("a") as file:
            file.write(f"{task_id} {self._texts[task_id]}\n")
        self._world.truth.noted.add(task_id)
        os.close(fd)

    def put_back(self) -> None:
        """Put its task back on the list, as after SIGTERM."""
        assert self.task is not None
        task_id, self.task = self.task, None
        self._world.truth.interrupt(self.name)
        fd = self._lock()
        self._rewrite({*ids_of(self._world.workdir.toprocess), task_id})
        os.close(fd)

    def _lock(self) -> int:
        fd = os.open(self._world.workdir.path / "lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return fd

    def _rewrite(self, tasks: Iterable[int]) -> None:
        """Empty the list and write it anew in ascending order; a write that is cut short ends with a whole line.

        What it leaves to the kernel is taken for written: the loss of power is not made worse than our own farmers make it.
        """
        fd = os.open(self._world.workdir.toprocess, os.O_RDWR)
        try:
            os.ftruncate(fd, 0)
            for task_id in sorted(tasks):
                os.write(fd, f"{task_id} {self._texts[task_id]}\n".encode())
            os.fsync(fd)
        finally:
            os.close(fd)


def add(world: World, actor: str, count: int) -> None:
    """Add tasks, as `taskfarmer-ctl add` does."""
    farm = world.farm(actor)
    with farm.lock.held(PATIENCE):
        farm.catalog.advance()
        first = len(farm.catalog)
        add_tasks(farm, [b"true %d" % number for number in range(first, first + count)], Origin.USER)


def remove(world: World, actor: str, ids: Iterable[int]) -> None:
    """Take tasks off the list, as `taskfarmer-ctl remove` does."""
    farm = world.farm(actor)
    with hands(world.workdir, farm.lock) as journal:
        remove_tasks(world.workdir, farm.lock, journal, choose(set(ids), ""), Cause.REMOVED, PATIENCE)


def retry(world: World, actor: str, ids: Iterable[int] | None) -> None:
    """Have tasks done again, as `taskfarmer-ctl retry` does."""
    world.truth.before_retry = world.truth.recorded()
    world.truth.is_asked_for = lambda task_id, is_finished: not is_finished if ids is None else task_id in ids
    farm = world.farm(actor)
    try:
        with hands(world.workdir, farm.lock) as journal:
            retry_tasks(world.workdir, farm.lock, journal, world.listed, None if ids is None else set(ids), PATIENCE)
    finally:
        world.truth.see_retry()
        world.truth.before_retry.clear()
        world.truth.is_asked_for = lambda *_: False
