"""Stand-ins for time, messages and processes, and a farm to use them on."""

from __future__ import annotations

import copy
import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from taskfarmer_mpi.history.attempts import Attempts
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.rendezvous.communicator import Message
from taskfarmer_mpi.resources.room import Room
from taskfarmer_mpi.runners.registry import Definition
from taskfarmer_mpi.tasklists.lines import ListTaskList
from taskfarmer_mpi.tasklists.task import Run, Task
from taskfarmer_mpi.upkeep.preparation import prepare
from taskfarmer_mpi.visits.tasks_in_hand import TasksInHand
from taskfarmer_mpi.visits.visit import Visit, Visitor
from taskfarmer_mpi.workdir.configuration import Stored
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.journal import Journal
from taskfarmer_mpi.workdir.journal_records import Identity
from taskfarmer_mpi.workdir.locks import WorkLock
from taskfarmer_mpi.workdir.stack import open_stack


def make_farm(tmp_path: Path, commands: list[str], *, is_prepared: bool = True) -> Farm:
    """Return a farm on a tasklist of these commands."""
    path = tmp_path / "tasks"
    path.write_text("".join(f"{command}\n" for command in commands))
    workdir = Workdir(tmp_path / "work")
    workdir.create()
    lock = WorkLock(workdir, [workdir.path / "lock"], "a test")
    tasklist = ListTaskList(path, workdir.path)
    farm = Farm.of(workdir, lock, tasklist)
    return prepare(farm, stored_as(str(path)), 5.0) if is_prepared else farm


def stored_as(tasklist: str) -> Stored:
    """Return the configuration of a run with the default handler and runner."""
    handler = Definition("default", "taskfarmer_mpi.tasklists.ListTaskList")
    return Stored(tasklist, handler, Definition("default", "taskfarmer_mpi.runners.BasicRunner"), "/")


class Hand:
    """A farmer's journal and locks, without the farmer: what is left of it can be shaped at will."""

    def __init__(self, farm: Farm, name: str, *, host: str = "here", job: str = "", slots: int = 2) -> None:
        self.farm = farm
        self.life = LifeLock.create(farm.lock.life_path(name, "alive"), 0o600)
        self.task_lock = LifeLock.create(farm.lock.life_path(name, "tasks"), 0o600)
        self.identity = Identity(
            farmer=name,
            host=host,
            pid=os.getpid(),
            rank=0,
            ranks=1,
            job=job,
            slots=slots,
            alive_lock=str(self.life.path),
            task_lock=str(self.task_lock.path),
        )
        self.journal = Journal(farm.workdir.farmers, self.identity)

    def note(self, kind: str, **fields: object) -> None:
        """Write a record at once."""
        self.journal.note(kind, **fields)
        self.journal.flush()

    def end(self, task_id: int, code: int) -> None:
        """Write the end of a run."""
        self.journal.note_run("end", run(self.farm, task_id, code))
        self.journal.flush()

    def die(self) -> None:
        """Let go of all locks, as the kernel does at death."""
        self.journal.abandon()
        self.life.release()
        self.task_lock.release()


class Caller:
    """A farmer, of which only its visits to the lists are there."""

    def __init__(
        self, farm: Farm, name: str, *, attempts: Attempts | None = None, make_room: Callable[[], Room] | None = None
    ) -> None:
        self.farm, self.hand = farm, Hand(farm, name)
        self.tasks = TasksInHand(attempts, name) if attempts is not None else TasksInHand()
        self.visitor = Visitor(farm, self.hand.journal, [self.hand.life], make_room)

    def call(self, count: int, startable: int = 0, *, has_neighbours: bool = False) -> tuple[list[int], Visit]:
        """Visit the lists, under the lock, for so many tasks; return the IDs of those that were taken, and the visit."""
        with self.farm.lock.held(5):
            visit = self.visitor.visit(self.tasks, lambda _: count, startable, has_neighbours=has_neighbours)
        return [task.id for task in visit.taken], visit

    def end(self, *tasks: int, code: int = 0) -> None:
        """See runs end: they are in the journal, and not on the lists."""
        for task in tasks:
            self.hand.end(task, code)
            self.tasks.outcomes.append(run(self.farm, task, code))


def run(farm: Farm, task_id: int, code: int) -> Run:
    """Return a run of one second that ended with this code."""
    return Run(Task(task_id, farm.catalog[task_id]), 0, 1000.0, 1001.0, code, 0.5, 1024)


def ids_in(path: Path) -> list[int]:
    """Return the IDs in a list, in their order."""
    return [int(line.split(" ")[0]) for line in path.read_text().splitlines()] if path.exists() else []


class Clock:
    """A clock that goes forward when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Post:
    """Delivers messages between ranks of one process, in their order."""

    def __init__(self, size: int) -> None:
        self.boxes: list[deque[Message]] = [deque() for _ in range(size)]
        self.log: list[tuple[int, int, str]] = []

    def comm(self, rank: int) -> PostComm:
        """Return the way of one rank to the others."""
        return PostComm(self, rank)


class PostComm:
    """One rank's way to the others, through a `Post`."""

    def __init__(self, post: Post, rank: int) -> None:
        self._post = post
        self.rank = rank
        self.size = len(post.boxes)

    def send(self, dest: int | None, kind: str, content: object = None) -> None:
        """Put a message into a rank's box, or into all others."""
        content = copy.deepcopy(content)
        for rank in range(self.size) if dest is None else [dest]:
            if rank != self.rank:
                self._post.log.append((self.rank, rank, kind))
                self._post.boxes[rank].append((self.rank, kind, content))

    def receive(self) -> Iterator[Message]:
        """Yield what is in this rank's box."""
        box = self._post.boxes[self.rank]
        while box:
            yield box.popleft()

    def leave(self) -> None:
        """Nothing was started."""


def unasked() -> None:
    """Take a lock that nobody holds for held, as `WorkLock.confirm` does of one that is."""


def take_tasks(path: Path, count: int, is_valid: Callable[[Task], bool] = lambda _: True) -> list[Task]:
    """Take tasks off a stack."""
    with open_stack(path, is_valid, unasked) as stack:
        top = stack.peek(lambda _: count, is_valid)
        stack.cut(top)
    return top.tasks
