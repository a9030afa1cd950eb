"""A list of tasks to do as a stack: the next tasks are read from its end and cut off, whatever its length.

Every function here is called with the work directory's lock held; see `lists`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.errors import FarmError, farm_error
from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.workdir.files import read_file, replace_file
from taskfarmer_mpi.workdir.lists import Confirm, encode_task, opened_list, parse_task, repair_end

Place = Callable[[int], int]
"""Returns when a task comes, by its ID: the lower, the earlier."""
_ID = re.compile(rb"(\d{1,18}) ")
_BLOCK = 64 * 1024
_DEPTH = 100_000
"""How many lines `pick` looks at: 0.1 s."""
_SORTABLE = 1024 * 1024
"""A list up to this size [bytes] is put back in order where a plain farmer rewrote it: a matter of milliseconds."""


class Top(Value):
    """The tasks on top of a stack, and where the list ends without them."""

    tasks: list[Task]
    """The top of the stack first."""
    end: int
    """Size of the list without them [bytes]."""
    remaining: int
    """About how many tasks are below."""
    kept: bytes = b""
    """Lines between them, which stay."""

    @property
    def is_last(self) -> bool:
        """Whether nothing is left without them."""
        return self.end == 0 and not self.kept


class Stack:
    """A stack of tasks, open and locked for the length of a visit."""

    def __init__(self, path: Path, fd: int, size: int, confirm: Confirm) -> None:
        self._path = path
        self._fd = fd
        self._size = size
        self._confirm = confirm

    @property
    def size(self) -> int:
        """How long the list is [bytes]."""
        return self._size

    def peek(self, count: Callable[[int], int], is_valid: Callable[[Task], bool]) -> Top:
        """Return the tasks on top of the stack, which stays as it is.

        Parameters
        ----------
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
            return self._peek(count, is_valid)
        except OSError as error:
            raise farm_error(f"{self._path}: cannot read", error) from error

    def _peek(self, count: Callable[[int], int], is_valid: Callable[[Task], bool]) -> Top:
        size = self._size
        start = max(0, size - _BLOCK)
        block = os.pread(self._fd, size - start, start)
        lines = max(1, block.count(b"\n"))
        estimate = round(size * lines / len(block)) if block else 0
        wanted = min(count(estimate), estimate)
        while lines <= wanted and start > 0:  # one line more than wanted, as the first may be cut
            length = min(start, max(_BLOCK, len(block)))
            start -= length
            block = os.pread(self._fd, length, start) + block
            lines = block.count(b"\n")
        tasks: list[Task] = []
        end = len(block)
        while end > 0 and len(tasks) < wanted:
            begin = block.rfind(b"\n", 0, end - 1) + 1
            tasks.append(_parse_known(self._path, block[begin : end - 1], is_valid))
            end = begin
        return Top(tasks, start + end, estimate - len(tasks))

    def pick(
        self,
        count: Callable[[int], int],
        is_valid: Callable[[Task], bool],
        may_take: Callable[[int], bool | None],
        *,
        is_deep: bool = False,
    ) -> Top:
        """Return some of the tasks near the top of the stack, which stays as it is.

        Parameters and errors are those of `peek`, and

        Parameters
        ----------
        may_take
            Returns whether a task may be taken, by its ID; None to look no further.
        is_deep
            Whether to look at the whole list.
        """
        try:
            return self._pick(count, is_valid, may_take, self._size if is_deep else _DEPTH)
        except OSError as error:
            raise farm_error(f"{self._path}: cannot read", error) from error

    def _pick(
        self,
        count: Callable[[int], int],
        is_valid: Callable[[Task], bool],
        may_take: Callable[[int], bool | None],
        depth: int,
    ) -> Top:
        size = self._size
        start = max(0, size - _BLOCK)
        block = os.pread(self._fd, size - start, start)
        estimate = round(size * max(1, block.count(b"\n")) / len(block)) if block else 0
        wanted = min(count(estimate), estimate)
        tasks: list[Task] = []
        kept: list[bytes] = []
        end, passed = len(block), 0
        taken_end = (start + end, 0)
        while end > 0 and len(tasks) < wanted and passed < depth:
            begin = block.rfind(b"\n", 0, end - 1) + 1
            if begin == 0 and start > 0:  # this line may go on before the block
                length = min(start, max(_BLOCK, len(block)))
                start -= length
                block = os.pread(self._fd, length, start) + block
                end += length
                continue
            verdict = may_take(_leading_id(block[begin : begin + 32]))
            if verdict is None:
                break
            if verdict:
                tasks.append(_parse_known(self._path, block[begin : end - 1], is_valid))
                taken_end = (start + begin, len(kept))
            else:
                kept.append(block[begin:end])
            end = begin
            passed += 1
        return Top(tasks, taken_end[0], estimate - len(tasks), b"".join(reversed(kept[: taken_end[1]])))

    def cut(self, top: Top) -> None:
        """Take the tasks off the stack that `peek` or `pick` returned.

        Raises
        ------
        FarmError
            If that cannot be done.
        """
        try:
            if top.kept:
                replace_file(self._path, os.pread(self._fd, top.end, 0) + top.kept, self._confirm)
            else:
                os.ftruncate(self._fd, top.end)
        except OSError as error:
            raise FarmError(f"{self._path}: cannot write: {error.strerror}") from error


@contextmanager
def open_stack(
    path: Path,
    is_valid: Callable[[Task], bool],
    confirm: Confirm,
    place: Place | None = None,
    ready: int | None = None,
) -> Iterator[Stack]:
    """Open a stack for a visit; one that a plain farmer has rewritten is put back in order first, if it is short.

    Parameters
    ----------
    path
        The list.
    is_valid
        Whether a task belongs to this work directory.
    confirm
        `WorkLock.confirm` of the lock that is held.
    place
        Returns when a task comes, by its ID, where tasks are in another order than that of their IDs.
    ready
        Its descriptor, if it is open and locked, and the work lock was confirmed since.

    Raises
    ------
    FarmError
        If it cannot be opened or read.
    FencedError
        If the lock was lost.
    """
    with ExitStack() as opened:
        try:
            fd = opened.enter_context(opened_list(path, 0, confirm)) if ready is None else ready
            size = repair_end(fd)
            is_suspect = _is_rewritten(fd, size) if place is None else _is_ascending(fd, size)
            if is_suspect and restore_order(path, is_valid, confirm, place or int):
                fd = opened.enter_context(opened_list(path, 0, confirm))
                size = repair_end(fd)
        except FileNotFoundError as error:
            raise FarmError(f"{path}: the list of tasks to do is gone") from error
        except OSError as error:
            raise farm_error(f"{path}: cannot read", error) from error
        yield Stack(path, fd, size, confirm)


def _parse_known(path: Path, line: bytes, is_valid: Callable[[Task], bool]) -> Task:
    task = parse_task(line)
    if task is None or not is_valid(task):
        raise FarmError(f"{path}: no task of this work directory: {line[:60].decode('utf-8', 'replace')!r}")
    return task


def _is_rewritten(fd: int, size: int) -> bool:
    """Whether a plain farmer left a short list of this size [bytes] in ascending order."""
    if not 0 < size <= _SORTABLE:
        return False
    first = _leading_id(os.pread(fd, 32, 0))
    tail = os.pread(fd, _BLOCK, max(0, size - _BLOCK))
    return first < _leading_id(tail[tail.rfind(b"\n", 0, -1) + 1 :])


def _is_ascending(fd: int, size: int) -> bool:
    """Whether the IDs at the end of a list of this size [bytes] ascend: as a plain farmer leaves them, or by chance."""
    if not 0 < size <= _SORTABLE:
        return False
    after = 10**18
    lines = os.pread(fd, _BLOCK, max(0, size - _BLOCK)).split(b"\n")[:-1]
    for line in reversed(lines if size <= _BLOCK else lines[1:]):  # the first one may be cut
        before, after = after, _leading_id(line)
        if after >= before:
            return False
    return True


def restore_order(path: Path, is_valid: Callable[[Task], bool], confirm: Confirm, place: Place) -> bool:
    """Put a list in order; return whether it is another file now."""
    data = read_file(path) or b""
    tasks = [_parse_known(path, line, is_valid) for line in data.split(b"\n")[:-1]]  # or garbage on the top would sink
    tasks.sort(key=lambda task: place(task.id), reverse=True)
    restored = b"".join(map(encode_task, tasks))
    if restored == data:
        return False
    replace_file(path, restored, confirm)
    return True


def top_of(path: Path) -> int:
    """Return the task on top of a stack by its ID; -1 if there is none."""
    size = path.stat().st_size if path.exists() else 0
    tail = (read_file(path, max(0, size - _BLOCK)) or b"") if size else b""
    return _leading_id(tail[tail.rfind(b"\n", 0, -1) + 1 :])


def _leading_id(line: bytes) -> int:
    """Return the ID at the start of a line; -1 if there is none."""
    match = _ID.match(line)
    return int(match[1]) if match else -1
