r"""Tasklist handlers: turn a tasklist file into tasks.

The task ID is the index, from 0, among the lines that PyTaskFarmer counts, so that farmers of both kinds agree: lines
end at ``\n``, ``\r`` or ``\r\n``; a line is skipped if it starts with ``#`` in column 0 or is blank after
``str.strip()``.
"""

from __future__ import annotations

import hashlib
import os
from abc import abstractmethod
from array import array
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from pathlib import Path

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.tasklists.text_sequence import TextSequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object

_FOREIGN_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_UTF8_MARK = "\ufeff"


class Lines(TextSequence):
    """The texts of the tasks of a list, by ID, as the files of the work directory have them; each is one line."""

    header = ""
    """What else gives the texts their meaning: the header of a table."""
    directives: tuple[tuple[int, str], ...] = ()
    """What tasks have otherwise than the others: index of the first one, and what; in their order."""
    is_computed = False
    """Whether a handler makes the texts: that of a PyTaskFarmer writes them a little differently, under the same IDs."""

    @abstractmethod
    def text(self, index: int) -> str:
        """Return the text of one task; undecodable bytes are surrogate escapes."""

    def raw(self, index: int) -> bytes:
        """Return the text of one task as bytes."""
        return self.text(index).encode("utf-8", "surrogateescape")

    def digest(self, count: int) -> str:
        """Return the SHA-256 of the header, if there is one, and the first `count` texts, each ended by a newline."""
        sha = hashlib.sha256()
        if self.header:
            sha.update(self.header.encode("utf-8", "surrogateescape") + b"\n")
        for first in range(0, count, 10_000):
            lines = [self.raw(i) for i in range(first, min(first + 10_000, count))]
            sha.update(b"\n".join(lines) + b"\n")
        return sha.hexdigest()

    def begins_with(self, count: int, digest: str) -> bool:
        """Whether its first `count` texts are there and have this digest."""
        return count <= len(self) and self.digest(count) == digest


class TaskLines(Lines):
    """The task lines of a tasklist, kept as one block of bytes and two arrays of offsets.

    A million tasks cost their text and 8 MB, not a million Python objects.
    """

    def __init__(self, data: bytes, path: Path | None = None, *, are_tasks: bool = True) -> None:
        """Take the content of a file, for whose directives it is named, and whether its lines are tasks."""
        self._data = data
        offset = "I" if len(data) < 1 << 32 else "Q"
        self._starts = array(offset)
        self._ends = array(offset)
        for start, end in _task_spans(data):
            self._starts.append(start)
            self._ends.append(end)
        if path is not None and b"#" in data:
            from taskfarmer_mpi.tasklists.directives import find_directives

            self.directives = find_directives(path, data, self._starts, are_allowed=are_tasks)

    def __len__(self) -> int:
        return len(self._starts)

    def text(self, index: int) -> str:
        """Return the stripped line of one task."""
        return self.raw(index).decode("utf-8", "surrogateescape")

    def raw(self, index: int) -> bytes:
        """Return the stripped line of one task as the bytes of the file."""
        return self._data[self._starts[index] : self._ends[index]]

    def line_number(self, index: int) -> int:
        """Return where a task stands in the file, as editors count lines."""
        return self._data.count(b"\n", 0, self._starts[index]) + 1

    def pop_first(self) -> str:
        """Take away the first line, which is no task but the header of a table; return it."""
        self.header = self.text(0)
        del self._starts[0], self._ends[0]
        self.directives = tuple((max(index - 1, 0), text) for index, text in self.directives)
        return self.header


class ComputedLines(Lines):
    """Texts that are made each time they are asked for: they cost nothing to keep."""

    is_computed = True

    def __init__(self, count: int, make: Callable[[int], str]) -> None:
        """Take how many texts there are, and what makes the text of an index from 0 on."""
        self._indices = range(count)
        self._make = make

    def __len__(self) -> int:
        return len(self._indices)

    def text(self, index: int) -> str:
        """Return the text of one task."""
        return self._make(self._indices[index])


def _task_spans(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield start and end of each task's stripped text in `data`, whose lines all end at a newline."""
    start = 0
    size = len(data)
    while start < size:
        end = data.find(b"\n", start)
        if end < 0:
            end = size
        if end > start:
            first, last = data[start], data[end - 1]
            if 0x20 < first < 0x7F and 0x20 < last < 0x7F:
                if first != 0x23:  # "#"
                    yield start, end
            elif first != 0x23:
                yield from _stripped_span(data, start, end)
        start = end + 1


def _stripped_span(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the span of a line without the white space around it, as `str.strip` sees it; nothing if it is blank."""
    text = data[start:end].decode("utf-8", "surrogateescape")
    stripped = text.strip()
    if stripped:
        lead = text[: len(text) - len(text.lstrip())]
        start += len(lead.encode("utf-8", "surrogateescape"))
        yield start, start + len(stripped.encode("utf-8", "surrogateescape"))


class Handler(Protocol):
    """What makes tasks of a tasklist, and commands of tasks.

    A class of this kind is called with the paths of the tasklist and of the work directory, and with the options of its
    definition as keywords, all of them strings. It does not touch the work directory.
    """

    path: str
    """The tasklist."""
    tasks: Lines
    """The texts of the tasks, by ID. It is replaced by a longer one that begins with the same texts."""
    takes_lines: bool
    """Whether a text that is added to `tasks` is a task: if each line of the tasklist is one."""

    def __getitem__(self, taskid: int) -> str:
        """Return the command of a task, made of its text in `tasks`."""


class ListTaskList:
    """A tasklist with one task per line.

    Subclasses may implement ``__getitem__`` to turn a line into another command; the lines themselves are in `tasks`.
    """

    takes_lines = True

    def __init__(self, path: str | os.PathLike[str], workdir: str | os.PathLike[str]) -> None:
        """Read the tasklist.

        Parameters
        ----------
        path
            The tasklist file.
        workdir
            The work directory; not touched.

        Raises
        ------
        UserError
            If the file cannot be read, is UTF-16 or UTF-32, has a NUL byte, or a `#TF` line in error.
        """
        self.path = str(path)
        self.workdir = str(workdir)
        self.tasks: Lines = read_task_lines(Path(path))

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, taskid: int) -> str:
        return self.tasks[taskid].removeprefix(_UTF8_MARK)  # part of the line for plain farmers, but of no command


def read_task_lines(path: Path, *, are_tasks: bool = True) -> TaskLines:
    """Return the task lines of a tasklist.

    Parameters
    ----------
    path
        The tasklist.
    are_tasks
        Whether each line is a task, so that `#TF` lines can say what tasks have.

    Raises
    ------
    UserError
        If the file cannot be read, is UTF-16 or UTF-32, has a NUL byte, or a `#TF` line in error.
    """
    return TaskLines(_read_text(path), path, are_tasks=are_tasks)


def _read_text(path: Path) -> bytes:
    """Return the file's bytes with every line end as a newline."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot read the tasklist: {error.strerror}") from error
    for mark, encoding in _FOREIGN_MARKS.items():
        if data.startswith(mark):
            raise UserError(f"{path}: the tasklist is {encoding}, not UTF-8: convert it, for example with iconv")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    nul = data.find(b"\0")
    if nul >= 0:
        line = data.count(b"\n", 0, nul) + 1
        raise UserError(f"{path}:{line}: a NUL byte; a tasklist is text with one command per line")
    return data


def read_some_lines(path: Path, ids: Collection[int]) -> dict[int, str]:
    """Return those task lines of a tasklist, by ID; it is read no further than the last one needs.

    Raises
    ------
    UserError
        As `read_task_lines`.
    """
    if not ids:
        return {}
    data = _read_text(path)
    spans = islice(enumerate(_task_spans(data)), max(ids) + 1)
    return {i: data[start:end].decode("utf-8", "surrogateescape") for i, (start, end) in spans if i in ids}
