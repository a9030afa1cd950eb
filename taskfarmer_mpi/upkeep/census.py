"""Where every task of a work directory is."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.growing_file import open_lines, read_list
from taskfarmer_mpi.workdir.journal_reading import OpenJournals
from taskfarmer_mpi.workdir.lists import give_back_tasks, ids_in, sync_file

PLAIN_PATIENCE = 2.0
"""How long the end of a job waits for tasks that only a plain farmer can have in its hands [s]."""

_TO_DO, _FINISHED, _FAILED, _HELD, _REMOVED = range(1, 6)


class Census(Value):
    """Counts of tasks by where they are, and the IDs that a user wants to see."""

    total: int
    finished: int
    failed: list[int]
    to_do: int
    held: int
    """Tasks in the hands of farmers of ours, by their journals."""
    lost: list[int] = []
    """Tasks in nobody's hands, as far as the files tell: a plain PyTaskFarmer has them, or had them when it died."""
    removed: int = 0
    """Tasks that users have taken off the list."""


def take_census(farm: Farm, patience: float) -> Census:
    """Count the tasks of a farm.

    The lists are opened under the lock, for a moment, and examined without it. Journals are read only if a task is on no
    list, and under the lock only if it is in no journal either: many farmers that end do not make each other wait.

    Raises
    ------
    LockBusyError
        If others held the lock for longer than `patience` [s].
    """
    with ExitStack() as opened:
        with farm.lock.held(patience):
            lists = _open_lists(farm, opened)
        where = bytearray(len(farm.catalog))
        _mark(where, lists)
    if 0 not in where:
        return _tally(where)
    journals = OpenJournals(farm.workdir.farmers)
    journals.advance()  # the long way, without the lock; what comes after is short
    if _TO_DO not in where:  # else some of these may be elsewhere by now
        _mark_held(where, journals.held())
        with ExitStack() as opened:
            _mark(where, _open_recorded(farm, opened))  # later than the journals: who is in none any more is here
        if 0 not in where:
            return _tally(where)
    with ExitStack() as opened:
        with farm.lock.held(patience):
            lists = _open_lists(farm, opened)
            journals.advance()
        return _count(farm, lists, journals.held())


def take_patient_census(
    farm: Farm, patience: float, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
) -> Census:
    """Count the tasks of a farm; give plain farmers some time to record the tasks that they are about to end.

    Raises
    ------
    LockBusyError
        If others held the lock for longer than `patience` [s].
    """
    deadline = clock() + PLAIN_PATIENCE
    pause = 0.05
    census = take_census(farm, patience)
    while census.lost and clock() < deadline and not farm.lock.is_hurried():
        sleep(pause)
        pause = min(2 * pause, 0.5)
        census = take_census(farm, patience)
    return census


_Lists = list[tuple[int, Iterator[bytes]]]
"""Where the tasks of a list are, and its whole lines in blocks; later ones outweigh earlier ones."""


def _open_lists(farm: Farm, opened: ExitStack) -> _Lists:
    """Return the lists as they are now, with the lock held; they are read without it, as long as they are open.

    What is recorded is only appended to, or replaced by another file; from tasks to do others cut some off.
    """
    farm.catalog.advance()
    stacks = (farm.workdir.toprocess, farm.workdir.added)
    return [(_TO_DO, iter(read_list(path) or ())) for path in stacks] + _open_recorded(farm, opened)


def _open_recorded(farm: Farm, opened: ExitStack) -> _Lists:
    workdir = farm.workdir
    recorded = ((_FINISHED, workdir.finished), (_FAILED, workdir.failed), (_REMOVED, workdir.removed))
    return [(place, open_lines(path, opened)) for place, path in recorded]


def _count(farm: Farm, lists: _Lists, held: set[int]) -> Census:
    where = bytearray(len(farm.catalog))
    _mark_held(where, held)
    _mark(where, lists)
    return _tally(where)


def _mark_held(where: bytearray, held: set[int]) -> None:
    for task_id in held:
        if task_id < len(where) and not where[task_id]:
            where[task_id] = _HELD


def _mark(where: bytearray, lists: _Lists) -> None:
    for place, blocks in lists:
        for task_id in (task_id for block in blocks for task_id in ids_in(block)):
            if task_id < len(where):
                where[task_id] = place


def _tally(where: bytearray) -> Census:
    return Census(
        total=len(where),
        finished=where.count(_FINISHED),
        failed=_positions(where, _FAILED),
        to_do=where.count(_TO_DO),
        held=where.count(_HELD),
        lost=_positions(where, 0),
        removed=where.count(_REMOVED),
    )


def _positions(where: bytearray, place: int) -> list[int]:
    return [match.start() for match in re.finditer(re.escape(bytes([place])), where)]


def reclaim(farm: Farm, patience: float) -> list[int]:
    """Put the tasks in nobody's hands back on the list; return them.

    Only a user can know that no plain PyTaskFarmer is at work on them any more.
    """
    journals = OpenJournals(farm.workdir.farmers)
    journals.advance()
    with farm.lock.held(patience), ExitStack() as opened:
        lists = _open_lists(farm, opened)
        journals.advance()
        lost = _count(farm, lists, journals.held()).lost
        if lost:
            sync_file(farm.workdir.tasks_added)  # an addition may have died right before it did so
        give_back_tasks(farm, [Task(task_id, farm.catalog[task_id]) for task_id in lost])
    return lost
