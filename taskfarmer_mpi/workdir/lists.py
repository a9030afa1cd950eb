"""The shared lists: what is to do, what is finished, what failed, what was removed.

`toprocess` is a stack of lines ``ID task`` with its top at the end, in descending order of ID: `stack` takes the next tasks
off its end, giving tasks back appends them, whatever the length of the list. PyTaskFarmer writes the
same lines in ascending order; order is only a matter of which task comes first. A line of `removed` is ``ID cause task``, of
a task that is not to be run; a PyTaskFarmer does not look at it.

Every function here is called with the work directory's lock held, and opens its file anew. What is written to is locked
itself, and the work lock is confirmed after that: so a node that was cut off, and has lost its locks, writes nothing when it
is back.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.errors import FarmError, farm_error
from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import (
    Workdir,
    close_lost,
    lock_for_writing,
    open_file,
    read_file,
    replace_file,
    share,
    write_all,
)
from taskfarmer_mpi.workdir.growing_file import GrowingFile

Confirm = Callable[[], None]
"""Makes sure that the work lock is still held; see `WorkLock.confirm`."""

_BLOCK = 64 * 1024
_LINE_IDS = re.compile(rb"^(\d{1,18}) [^\n]*\n", re.MULTILINE)
_LINE = re.compile(rb"(\d{1,18}) (.*)", re.DOTALL)
_CAUSES = tuple(f"{cause} ".encode() for cause in (Cause.REMOVED, Cause.CANCELLED))


def encode_task(task: Task) -> bytes:
    """Encode one line of a list."""
    return f"{task.id} {task.text}\n".encode("utf-8", "surrogateescape")


def split_line(line: bytes) -> tuple[int | None, bytes]:
    """Return the ID and the text of one line of a list, given without its newline; no ID if it has another form."""
    match = _LINE.fullmatch(line)
    return (int(match[1]), match[2]) if match else (None, line)


def parse_task(line: bytes) -> Task | None:
    """Decode one line of a list, given without its newline; None if it has another form."""
    task_id, text = split_line(line)
    return None if task_id is None else Task(task_id, text.decode("utf-8", "surrogateescape"))


def encode_removed(task: Task, cause: Cause) -> bytes:
    """Encode one line of `removed`."""
    return f"{task.id} {cause} {task.text}\n".encode("utf-8", "surrogateescape")


def split_removed(line: bytes) -> tuple[int | None, bytes]:
    """Return the ID and the text of one line of `removed`, given without its newline; no ID if it has another form."""
    task_id, text = split_line(line)
    return (task_id, text.partition(b" ")[2]) if text.startswith(_CAUSES) else (None, line)


@contextmanager
def locked_list(path: Path, flags: int) -> Iterator[tuple[int, bool]]:
    """Open a list and lock it, and say whether it is locked; the work lock is to be confirmed before it is written to."""
    fd = open_file(path, flags)
    try:
        yield fd, lock_for_writing(fd)
    finally:
        close_lost(fd)  # what was written is on the disk by then, or its error is known


@contextmanager
def opened_list(path: Path, flags: int, confirm: Confirm) -> Iterator[int]:
    """Open a list for writing: locked itself, and with the work lock still held once that is so."""
    with locked_list(path, flags | os.O_RDWR) as (fd, _):
        confirm()
        if flags & os.O_CREAT and os.fstat(fd).st_size == 0:
            share(fd, path.parent)
        yield fd


def append_tasks(path: Path, tasks: Iterable[Task], confirm: Confirm) -> None:
    """Append tasks to a list and bring them to the disk.

    Parameters
    ----------
    path
        The list.
    tasks
        What to append.
    confirm
        `WorkLock.confirm` of the lock that is held.

    Raises
    ------
    FarmError
        If the disk refuses; the list is then as it was.
    FencedError
        If the lock was lost; nothing was written.
    """
    append_lines(path, b"".join(map(encode_task, tasks)), confirm)


def append_lines(path: Path, data: bytes, confirm: Confirm) -> None:
    """Append lines to a file and bring them to the disk; a torn line that a dead writer left is cut off first.

    Parameters and errors are those of `append_tasks`.
    """
    try:
        with opened_list(path, os.O_CREAT, confirm) as fd:
            end = repair_end(fd)
            try:
                os.lseek(fd, end, os.SEEK_SET)
                write_all(fd, data)
                os.fdatasync(fd)
            except OSError as error:
                _undo(fd, end, path, error)
                raise
    except OSError as error:
        raise farm_error(f"{path}: cannot write", error) from error


def _undo(fd: int, end: int, path: Path, reason: OSError) -> None:
    """Cut off what a failed append has written; where that cannot be done, only recovery can tell what is there."""
    try:
        os.ftruncate(fd, end)  # the descriptor is locked, so it cannot cut what others have written since
    except OSError:
        raise FarmError(f"{path}: cannot write: {reason.strerror}; whether lines are there is not known") from reason


def repair_end(fd: int) -> int:
    """Cut off a last line without its newline; return the size of the list."""
    size = os.fstat(fd).st_size
    if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
        return size
    end = size
    while end > 0:
        start = max(0, end - _BLOCK)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    os.ftruncate(fd, end)
    return end


def give_back_tasks(farm: Farm, tasks: Iterable[Task]) -> None:
    """Put tasks back on the stacks of a farm, the one with the lowest ID on top."""
    put_on_stacks(farm.workdir, farm.catalog.listed, tasks, farm.lock.confirm)


def put_on_stacks(workdir: Workdir, listed: int, tasks: Iterable[Task], confirm: Confirm) -> None:
    """Put tasks back on the stacks of a work directory of whose tasks plain farmers know the first `listed` ones."""
    ordered = sorted(tasks, key=lambda task: task.id, reverse=True)
    added = [task for task in ordered if task.id >= listed]
    if added:
        append_tasks(workdir.added, added, confirm)
    if len(added) < len(ordered):
        append_tasks(workdir.toprocess, ordered[len(added) :], confirm)


def ids_in(data: bytes) -> Iterator[int]:
    """Return the IDs of the whole lines in the content of a list, of which few are in memory at a time."""
    start = 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + _BLOCK) + 1 or data.find(b"\n", start) + 1 or len(data)
        yield from map(int, _LINE_IDS.findall(data, start, end))
        start = end


def listed_in(farm: Farm, path: Path, wanted: set[int]) -> Iterator[int]:
    """Yield which of the `wanted` tasks a list has."""
    for lines, _ in GrowingFile(path).news():
        if wanted.isdisjoint(ids_in(lines)):
            continue
        for line in lines.split(b"\n")[:-1]:
            task_id, text = split_line(line)
            if task_id in wanted and farm.catalog.has(task_id, text):
                yield task_id


def strike_out(farm: Farm, ended: set[int]) -> None:
    """Take tasks that have ended off the stacks: after a loss of power the cut of `toprocess` may be missing."""
    for path in (farm.workdir.toprocess, farm.workdir.added):
        if ended and any(True for _ in listed_in(farm, path, ended)):
            kept = b"".join(_without(lines, ended) for lines, _ in GrowingFile(path).news())
            replace_file(path, kept, farm.lock.confirm)


def _without(lines: bytes, tasks: set[int]) -> bytes:
    return b"".join([line + b"\n" for line in lines.split(b"\n")[:-1] if split_line(line)[0] not in tasks])


class Recorded:
    """Which tasks are in `finished`, `failed` or `removed`; each `advance` reads only what came since the last one.

    A list can also be replaced by a shorter one: when failed tasks are to be done again. Then all is read anew.
    """

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._begin()

    def _begin(self) -> None:
        workdir = self._farm.workdir
        self._lists = [GrowingFile(path) for path in (workdir.finished, workdir.failed, workdir.removed)]
        self.flags = bytearray(len(self._farm.catalog))
        """1 for each task whose outcome is recorded, or that was removed."""

    def advance(self) -> None:
        """Take in what was appended."""
        self.flags.extend(bytes(len(self._farm.catalog) - len(self.flags)))
        if not self._flag_news():
            self._begin()
            self._flag_news()

    def _flag_news(self) -> bool:
        """Take in what came; return False if a list is another one than before."""
        for followed in self._lists:
            for lines, is_anew in followed.news():
                if is_anew:
                    return False
                for task_id in ids_in(lines):
                    if task_id < len(self.flags):
                        self.flags[task_id] = 1
        return True


def is_plain_farmer_about(farm: Farm) -> bool:
    """Whether a PyTaskFarmer wrote to the timeline since one of ours did: it puts the whole list on one line."""
    return (read_file(farm.workdir.timeline, 0, 2) or b"") == b"[{"


def sync_file(path: Path) -> None:
    """Bring a file to the disk that another process may have written and died before it did so; it need not exist.

    Who makes something of what it says, and has that on disk first, would contradict the file after a loss of power.

    Raises
    ------
    FarmError
        If the disk refuses.
    """
    try:
        fd = open_file(path, os.O_RDWR)
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise farm_error(f"{path}: cannot write", error) from error
