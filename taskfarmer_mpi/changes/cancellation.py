"""Requests to end tasks that farmers have in their hands, left in a file of the work directory.

A line is ``ID farmer time``: that farmer is to end the task, which it had at that time [s since the epoch]. A farmer heeds
each line once. The file is read without the lock and written, as a whole, with it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from taskfarmer_mpi.changes.removal import record_removed
from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import Workdir, read_file, replace_file
from taskfarmer_mpi.workdir.journal_reading import JournalState
from taskfarmer_mpi.workdir.locks import WorkLock


class CancelRequest(Value):
    """What a user wants of one farmer."""

    task: int
    farmer: str
    moment: float
    """When it was wanted [s since the epoch]."""


def encode_requests(requests: Iterable[CancelRequest]) -> bytes:
    """Encode the content of the file."""
    return b"".join(f"{one.task} {one.farmer} {one.moment:.6f}\n".encode() for one in requests)


def parse_requests(data: bytes) -> list[CancelRequest]:
    """Decode the content of the file; lines of another form do not count."""
    found = []
    for line in data.decode("utf-8", "replace").split("\n"):
        words = line.split(" ")
        if len(words) == 3 and words[0].isdecimal() and words[2].replace(".", "", 1).isdecimal():
            found.append(CancelRequest(int(words[0]), words[1], float(words[2])))
    return found


def read_requests(workdir: Workdir) -> list[CancelRequest]:
    """Return what is wanted.

    Raises
    ------
    OSError
        If the file is there and cannot be read.
    """
    return parse_requests(read_file(workdir.cancels) or b"")


def request_cancels(workdir: Workdir, lock: WorkLock, wanted: Collection[tuple[int, str]]) -> list[CancelRequest]:
    """Ask farmers to end tasks; the lock is held. Return what was written.

    Parameters
    ----------
    workdir, lock
        The work directory, and its lock.
    wanted
        Each task with the farmer that has it.
    """
    moment = round(time.time(), 6)
    requests = [CancelRequest(task, farmer, moment) for task, farmer in sorted(wanted)]
    replace_file(workdir.cancels, encode_requests([*read_requests(workdir), *requests]), lock.confirm)
    return requests


def withdraw_cancels(workdir: Workdir, lock: WorkLock, requests: Collection[CancelRequest]) -> None:
    """Ask for something no more; the lock is held."""
    left = [one for one in read_requests(workdir) if one not in requests]
    if left:
        replace_file(workdir.cancels, encode_requests(left), lock.confirm)
    else:
        lock.confirm()
        workdir.cancels.unlink(missing_ok=True)


def remove_cancelled(farm: Farm, states: Iterable[JournalState], back: Collection[int]) -> set[int]:
    """Record tasks as cancelled that dead farmers had and were told to end; the lock is held. Return them.

    Parameters
    ----------
    farm
        Whose lock is held.
    states
        What the journals of the dead say.
    back
        Those of their tasks that would go back to the list.
    """
    requests = read_requests(farm.workdir)
    found: set[int] = set()
    for state in states:
        for one in requests:
            _, begin = state.running.get(one.task, (0, one.moment))
            if one.farmer == state.identity.farmer and one.task in state.held and begin <= one.moment:
                found.add(one.task)
    found &= set(back)
    if found:
        tasks = [Task(task_id, farm.catalog[task_id]) for task_id in sorted(found)]
        record_removed(farm.workdir, tasks, Cause.CANCELLED, farm.lock.confirm)
    return found


class CancelRequests:
    """What is wanted of one farmer, each request once."""

    def __init__(self, workdir: Workdir, farmer: str) -> None:
        self._workdir = workdir
        self._farmer = farmer
        self._heeded: set[CancelRequest] = set()

    def news(self) -> set[int]:
        """Return the tasks that are to end by requests which were not there at the last look."""
        wanted = {one for one in read_requests(self._workdir) if one.farmer == self._farmer} - self._heeded
        self._heeded |= wanted
        return {one.task for one in wanted}
