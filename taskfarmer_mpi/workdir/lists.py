"""The shared lists: what is to do, what is finished, what failed.

`toprocess` is a stack of lines ``ID task`` with its top at the end, in descending order of ID: taking the next tasks reads
the last block and cuts it off, giving tasks back appends them, whatever the length of the list. PyTaskFarmer writes the
same lines in ascending order; order is only a matter of which task comes first.

Every function here is called with the work directory's lock held, and opens its file anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from taskfarmer_mpi.errors import FarmError, farm_error
from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import Workdir, open_file, read_file, replace_file, share, write_all
from taskfarmer_mpi.workdir.growing_file import GrowingFile

_BLOCK = 64 * 1024
_SORTABLE = 1024 * 1024
"""A list up to this size [bytes] is put back in order where a plain farmer rewrote it: a matter of milliseconds."""
_LINE = re.compile(rb"(\d{1,18}) (.*)", re.DOTALL)


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


@dataclass(frozen=True, slots=True)
class Top:
    """The tasks on top of a stack, and where the list ends without them."""

    tasks: list[Task]
    """The top of the stack first."""
    end: int
    """Size of the list without them [bytes]."""
    remaining: int
    """About how many tasks are below."""


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    fd = open_file(path, flags | os.O_RDWR)
    try:
        if flags & os.O_CREAT and os.fstat(fd).st_size == 0:
            share(fd, path.parent)
        yield fd
    finally:
        os.close(fd)


def append_tasks(path: Path, tasks: Iterable[Task]) -> None:
    """Append tasks to a list and bring them to the disk.

    Raises
    ------
    FarmError
        If the disk refuses; the list is then as it was.
    """
    append_lines(path, b"".join(map(encode_task, tasks)))


def append_lines(path: Path, data: bytes) -> None:
    """Append lines to a file and bring them to the disk; a torn line that a dead writer left is cut off first.

    Raises
    ------
    FarmError
        If the disk refuses; the list is then as it was.
    """
    try:
        with _opened(path, os.O_CREAT) as fd:
            end = _repair_end(fd)
            try:
                os.lseek(fd, end, os.SEEK_SET)
                write_all(fd, data)
                os.fdatasync(fd)
            except OSError:
                os.ftruncate(fd, end)
                raise
    except OSError as error:
        raise farm_error(f"{path}: cannot write", error) from error


def _repair_end(fd: int) -> int:
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


def peek_tasks(path: Path, count: Callable[[int], int], is_valid: Callable[[Task], bool]) -> Top:
    """Return the tasks on top of a stack, which stays as it is.

    Parameters
    ----------
    path
        The list.
    count
        How many tasks to return, told about how many there are.
    is_valid
        Whether a task belongs to this work directory.

    Raises
    ------
    FarmError
        If the list cannot be read, or has a line on its top that is no task.
    """
    try:
        if _is_rewritten(path):
            _restore_order(path, is_valid)
        with _opened(path, 0) as fd:
            return _peek(fd, path, count, is_valid)
    except FileNotFoundError as error:
        raise FarmError(f"{path}: the list of tasks to do is gone") from error
    except OSError as error:
        raise farm_error(f"{path}: cannot read", error) from error


def _peek(fd: int, path: Path, count: Callable[[int], int], is_valid: Callable[[Task], bool]) -> Top:
    size = _repair_end(fd)
    start = max(0, size - _BLOCK)
    block = os.pread(fd, size - start, start)
    lines = max(1, block.count(b"\n"))
    estimate = round(size * lines / len(block)) if block else 0
    wanted = min(count(estimate), estimate)
    while lines <= wanted and start > 0:  # one line more than wanted, as the first may be cut
        length = min(start, max(_BLOCK, len(block)))
        start -= length
        block = os.pread(fd, length, start) + block
        lines = block.count(b"\n")
    tasks: list[Task] = []
    end = len(block)
    while end > 0 and len(tasks) < wanted:
        begin = block.rfind(b"\n", 0, end - 1) + 1
        tasks.append(_parse_known(path, block[begin : end - 1], is_valid))
        end = begin
    return Top(tasks, start + end, estimate - len(tasks))


def _parse_known(path: Path, line: bytes, is_valid: Callable[[Task], bool]) -> Task:
    task = parse_task(line)
    if task is None or not is_valid(task):
        raise FarmError(f"{path}: no task of this work directory: {line[:60].decode('utf-8', 'replace')!r}")
    return task


def cut_tasks(path: Path, top: Top) -> None:
    """Take the tasks off the stack that `peek_tasks` returned."""
    try:
        with _opened(path, 0) as fd:
            os.ftruncate(fd, top.end)
    except OSError as error:
        raise FarmError(f"{path}: cannot write: {error.strerror}") from error


def _is_rewritten(path: Path) -> bool:
    """Whether a plain farmer left a short list in ascending order."""
    with _opened(path, 0) as fd:
        size = _repair_end(fd)
        if not 0 < size <= _SORTABLE:
            return False
        first = _leading_id(os.pread(fd, 32, 0))
        tail = os.pread(fd, _BLOCK, max(0, size - _BLOCK))
        return first < _leading_id(tail[tail.rfind(b"\n", 0, -1) + 1 :])


def _restore_order(path: Path, is_valid: Callable[[Task], bool]) -> None:
    lines = (read_file(path) or b"").split(b"\n")[:-1]
    tasks = [_parse_known(path, line, is_valid) for line in lines]  # or garbage on the top would sink out of sight
    tasks.sort(key=lambda task: task.id, reverse=True)
    replace_file(path, b"".join(map(encode_task, tasks)))


def _leading_id(line: bytes) -> int:
    """Return the ID at the start of a line; -1 if there is none."""
    match = _LINE.match(line)
    return int(match[1]) if match else -1


def give_back_tasks(farm: Farm, tasks: Iterable[Task]) -> None:
    """Put tasks back on the stacks of a farm, the one with the lowest ID on top."""
    put_on_stacks(farm.workdir, farm.catalog.listed, tasks)


def put_on_stacks(workdir: Workdir, listed: int, tasks: Iterable[Task]) -> None:
    """Put tasks back on the stacks of a work directory of whose tasks plain farmers know the first `listed` ones."""
    ordered = sorted(tasks, key=lambda task: task.id, reverse=True)
    added = [task for task in ordered if task.id >= listed]
    if added:
        append_tasks(workdir.added, added)
    if len(added) < len(ordered):
        append_tasks(workdir.toprocess, ordered[len(added) :])


def ids_in(data: bytes) -> Iterator[int]:
    """Return the IDs of the whole lines in the content of a list."""
    return map(int, re.findall(rb"^(\d{1,18}) [^\n]*\n", data, re.MULTILINE))


class Recorded:
    """Which tasks are in `finished` or `failed`; each `advance` reads only what was appended since the last one.

    A list can also be replaced by a shorter one: when failed tasks are to be done again. Then all is read anew.
    """

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._begin()

    def _begin(self) -> None:
        self._lists = [GrowingFile(path) for path in (self._farm.workdir.finished, self._farm.workdir.failed)]
        self.flags = bytearray(len(self._farm.catalog))
        """1 for each task whose outcome is recorded."""

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
