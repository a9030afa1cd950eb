"""What all farmers of one work directory have in common."""

from __future__ import annotations

from dataclasses import dataclass

from taskfarmer_mpi.book import TaskBook
from taskfarmer_mpi.locks import WorkLock
from taskfarmer_mpi.tasklist import Handler
from taskfarmer_mpi.workdir import Workdir


@dataclass(frozen=True, slots=True)
class Farm:
    """A tasklist and the work directory where it is worked on."""

    workdir: Workdir
    lock: WorkLock
    handler: Handler
    """What makes commands of tasks."""
    book: TaskBook
    """The tasks."""

    @classmethod
    def of(cls, workdir: Workdir, lock: WorkLock, handler: Handler, listed: int | None = None) -> Farm:
        """Put a farm together.

        Parameters
        ----------
        workdir, lock
            The work directory and its lock.
        handler
            The handler of the tasklist; its tasks become those of the work directory.
        listed
            How many tasks of the tasklist plain farmers may know; None for all.
        """
        lines = handler.tasks.lines if isinstance(handler.tasks, TaskBook) else handler.tasks
        book = TaskBook(lines, len(lines) if listed is None else listed, workdir.tasks_added)
        handler.tasks = book
        return cls(workdir, lock, handler, book)
