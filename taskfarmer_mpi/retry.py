"""Puts tasks that have ended back on the list, and keeps their logs under other names."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import count, islice

from taskfarmer_mpi.journal import Journal, held_tasks
from taskfarmer_mpi.lists import ids_in, parse_task, put_on_stacks, split_line
from taskfarmer_mpi.locks import WorkLock
from taskfarmer_mpi.task import Task
from taskfarmer_mpi.workdir import Workdir, read_file, replace_file

BATCH = 500
"""How many tasks are moved while the lock is held once: PyTaskFarmer waits for it for 10 s only."""


@dataclass(slots=True)
class Retried:
    """What came of it."""

    tasks: list[int] = field(default_factory=list)
    """Those that are on the list again."""
    not_ended: list[int] = field(default_factory=list)
    """Those that were asked for, but have not ended: nothing was changed."""


def retry_tasks(
    workdir: Workdir, lock: WorkLock, journal: Journal, listed: int, ids: Collection[int] | None, patience: float
) -> Retried:
    """Put tasks back on the list.

    Parameters
    ----------
    workdir, lock
        The work directory and its lock, not held.
    journal
        Where the tasks are while they are on no list.
    listed
        How many tasks plain farmers may know.
    ids
        The tasks; None for all that failed.
    patience
        How long to wait for the lock [s].

    Raises
    ------
    LockBusyError
        If others hold it all that time.
    FarmError
        If a list cannot be written.
    """
    if ids is None:
        with lock.held(patience):
            ids = set(ids_in(read_file(workdir.failed) or b""))
    result = Retried()
    waiting = iter(sorted(set(ids)))
    while batch := set(islice(waiting, BATCH)):
        with lock.held(patience):
            moved = _move(workdir, journal, listed, batch - held_tasks(workdir.farmers))
        result.tasks += moved
        result.not_ended += sorted(batch - set(moved))
    return result


def _move(workdir: Workdir, journal: Journal, listed: int, wanted: set[int]) -> list[int]:
    found: dict[int, Task] = {}
    lists = []
    for path in (workdir.finished, workdir.failed):
        kept, taken = _split(read_file(path) or b"", wanted)
        found |= {task.id: task for task in taken}
        if taken:
            lists.append((path, kept))
    if not found:
        return []
    ids = sorted(found)
    journal.note("taken", ids=ids)
    journal.sync()
    journal.note("giving", ids=ids)  # so that recovery does not ask whether `taken` was completed
    journal.flush()
    for task_id in ids:
        _keep_log(workdir, task_id)  # first: once they are on no list, recovery can have them run
    for path, kept in lists:
        replace_file(path, kept)
    put_on_stacks(workdir, listed, found.values())
    journal.note("given", ids=ids)
    journal.sync()
    return ids


def _split(data: bytes, wanted: set[int]) -> tuple[bytes, list[Task]]:
    """Return a list without some tasks, and those tasks; a torn last line is cut off."""
    lines = data.split(b"\n")[:-1]
    taken = [task for task in map(parse_task, lines) if task is not None and task.id in wanted]
    if not taken:
        return data, []
    return b"".join(line + b"\n" for line in lines if split_line(line)[0] not in wanted), taken


def _keep_log(workdir: Workdir, task_id: int) -> None:
    """Rename a task's log to ``log_<ID>.<N>``, with the first number that is free."""
    path = workdir.log(task_id)
    if path.is_symlink() or path.is_file():
        path.rename(next(_free_names(workdir, task_id)))


def _free_names(workdir: Workdir, task_id: int) -> Iterator[str]:
    for number in count(1):
        kept = workdir.log(task_id).with_name(f"log_{task_id}.{number}")
        if not kept.exists():
            yield str(kept)
