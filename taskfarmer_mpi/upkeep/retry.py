"""Puts tasks that have ended back on the list, and keeps their logs under other names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from itertools import islice
from pathlib import Path

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.history.attempts import RESET, Attempt, Attempts, encode_attempts
from taskfarmer_mpi.logs.earlier import keep_log, keep_packed
from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.workdir.files import Workdir, read_file, replace_file
from taskfarmer_mpi.workdir.journal import Journal
from taskfarmer_mpi.workdir.journal_reading import OpenJournals
from taskfarmer_mpi.workdir.lists import append_lines, ids_in, parse_task, put_on_stacks, split_removed
from taskfarmer_mpi.workdir.locks import WorkLock

BATCH = 500
"""How many tasks are moved while the lock is held once: PyTaskFarmer waits for it for 10 s only."""
_ID = re.compile(rb"^(\d{1,18}) [^\n]*\n", re.MULTILINE)


class Retried(Value):
    """What came of it."""

    tasks: list[int] = []
    """Those that are on the list again."""
    not_ended: list[int] = []
    """Those that were asked for, but neither have ended nor were removed: nothing was changed."""


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
    journals = OpenJournals(workdir.farmers)
    waiting = iter(sorted(set(ids)))
    lists = [workdir.finished, workdir.failed, *([workdir.removed] if workdir.removed.exists() else [])]
    while batch := set(islice(waiting, BATCH)):
        journals.advance()  # the long way, without the lock; what comes after is short
        scans = [_scan(path, batch) for path in lists]
        with lock.held(patience):
            journals.advance()
            moved = _move(workdir, lock, journal, listed, batch - journals.held(), scans)
        result.tasks.extend(moved)
        result.not_ended.extend(sorted(batch - set(moved)))
    return result


class _Scan(Value):
    """Where some tasks are in a list."""

    path: Path
    data: bytes
    """Its whole lines."""
    places: list[tuple[int, int]]
    """Start and end of these tasks' lines."""

    def tasks(self, wanted: Collection[int]) -> dict[tuple[int, int], Task]:
        """Return those tasks that are wanted, by place."""
        parse = _parse_removed if self.path.name == "removed" else parse_task
        tasks = {(start, end): parse(self.data[start : end - 1]) for start, end in self.places}
        return {place: task for place, task in tasks.items() if task is not None and task.id in wanted}

    def without(self, places: Iterable[tuple[int, int]]) -> bytes:
        """Return the list without the lines in some places, which are in order."""
        kept = []
        position = 0
        for start, end in places:
            kept.append(self.data[position:start])
            position = end
        return b"".join([*kept, self.data[position:]])


def _parse_removed(line: bytes) -> Task | None:
    task_id, text = split_removed(line)
    return None if task_id is None else Task(task_id, text.decode("utf-8", "surrogateescape"))


def _scan(path: Path, wanted: Collection[int], before: _Scan | None = None) -> _Scan:
    """Find tasks in a list; what was scanned before and is the same still is not looked at again."""
    data = read_file(path) or b""
    data = data[: data.rfind(b"\n") + 1]
    if before is None or not data.startswith(before.data):
        before = _Scan(path, b"", [])
    places = [match.span() for match in _ID.finditer(data, len(before.data)) if int(match[1]) in wanted]
    return _Scan(path, data, before.places + places)


def _move(
    workdir: Workdir, lock: WorkLock, journal: Journal, listed: int, wanted: set[int], scans: list[_Scan]
) -> list[int]:
    found: dict[int, Task] = {}
    lists = []
    for before in scans:
        scan = _scan(before.path, wanted, before)
        taken = scan.tasks(wanted)
        found |= {task.id: task for task in taken.values()}
        if taken:
            lists.append((scan.path, scan.without(taken)))
    if not found:
        return []
    ids = sorted(found)
    journal.note("taken", ids=ids)
    journal.note("giving", ids=ids)  # so that recovery does not ask whether `taken` was completed
    journal.sync()
    for task_id in ids:
        keep_log(workdir, task_id)  # first: once they are on no list, recovery can have them run
    keep_packed(workdir, ids, lock.confirm)
    for path, kept in lists:
        replace_file(path, kept, lock.confirm)
    _begin_anew(workdir, lock, ids)
    put_on_stacks(workdir, listed, found.values(), lock.confirm)
    journal.note("given", ids=ids)
    journal.sync()
    return ids


def _begin_anew(workdir: Workdir, lock: WorkLock, ids: list[int]) -> None:
    """Give tasks their budgets of attempts again."""
    attempts = Attempts(workdir.attempts)
    attempts.advance()
    resets = [Attempt(task, attempts.count(task) + 1, RESET, "taskfarmer-ctl") for task in ids]
    append_lines(workdir.attempts, encode_attempts(resets), lock.confirm)
