"""Takes tasks off the list of a work directory that are not to be run.

A task goes from its stack into the journal of who removes it, and from there to `removed`: who dies on the way has it in its
hands, so recovery puts it back on the stack.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.workdir.files import Workdir, read_file, replace_file
from taskfarmer_mpi.workdir.growing_file import GrowingFile
from taskfarmer_mpi.workdir.journal import Journal
from taskfarmer_mpi.workdir.journal_reading import OpenJournals
from taskfarmer_mpi.workdir.lists import append_lines, encode_removed, ids_in, parse_task
from taskfarmer_mpi.workdir.locks import WorkLock

Choice = Callable[[Task], bool]
"""Whether a task that is on the list is meant."""


class _Cut(Value):
    """A stack, and what it is without some tasks."""

    path: Path
    taken: list[Task]
    kept: bytes


def choose(ids: Collection[int] | None, text: str) -> Choice:
    """Return which tasks are meant: those of some IDs, or all, whose line has a text."""
    return lambda task: (ids is None or task.id in ids) and text in task.text


def remove_tasks(
    workdir: Workdir, lock: WorkLock, journal: Journal, is_meant: Choice, cause: Cause, patience: float
) -> list[int]:
    """Take tasks off the list; return them, in order.

    Parameters
    ----------
    workdir, lock
        The work directory and its lock, not held.
    journal
        Where the tasks are while they are on no list.
    is_meant
        Which of the tasks on the list.
    cause
        Why.
    patience
        How long to wait for the lock [s].

    Raises
    ------
    LockBusyError
        If others hold it all that time.
    FarmError
        If a list cannot be written.
    """
    removed: list[int] = []
    settled = _Settled(workdir)
    settled.advance()  # the long way, without the lock; what comes after is short
    with lock.held(patience):
        settled.advance()
        for path in (workdir.toprocess, workdir.added):  # one after the other: recovery asks whether all of a cut was done
            cut = _find(path, lambda task: is_meant(task) and not settled.has(task.id))
            if cut.taken:
                ids = sorted(task.id for task in cut.taken)
                journal.note("taken", ids=ids)
                journal.sync()
                replace_file(path, cut.kept, lock.confirm)
                record_removed(workdir, cut.taken, cause, lock.confirm)
                journal.note("given", ids=ids)
                journal.flush()
                removed += ids
    return sorted(removed)


def record_removed(workdir: Workdir, tasks: Collection[Task], cause: Cause, confirm: Callable[[], None]) -> None:
    """Write down that tasks are not to be run, on disk; the lock is held, and a journal has them."""
    ordered = sorted(tasks, key=lambda task: task.id)
    append_lines(workdir.removed, b"".join(encode_removed(task, cause) for task in ordered), confirm)


class _Settled:
    """Tasks that are on the list although they ended, or a farmer has them: after a loss of power, or of that farmer."""

    def __init__(self, workdir: Workdir) -> None:
        self._lists = [GrowingFile(workdir.finished), GrowingFile(workdir.failed)]
        self._ended: list[set[int]] = [set(), set()]
        self._journals = OpenJournals(workdir.farmers)
        self._held: set[int] = set()

    def advance(self) -> None:
        """Take in what came since the last call."""
        self._journals.advance()
        self._held = self._journals.held()
        for followed, ended in zip(self._lists, self._ended, strict=True):
            for lines, is_anew in followed.news():
                if is_anew:
                    ended.clear()
                ended.update(ids_in(lines))

    def has(self, task: int) -> bool:
        """Whether a task is left on the list, for the next start or for recovery to see to it."""
        return task in self._held or any(task in ended for ended in self._ended)


def _find(path: Path, is_meant: Choice) -> _Cut:
    taken, kept = [], []
    data = read_file(path) or b""
    for line in data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]:
        task = parse_task(line)
        if task is not None and is_meant(task):
            taken.append(task)
        else:
            kept.append(line + b"\n")
    return _Cut(path, taken, b"".join(kept))
