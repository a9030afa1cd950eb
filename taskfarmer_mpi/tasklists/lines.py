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
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from pathlib import Path

from taskfarmer_mpi.common.packed import PackedTexts
from taskfarmer_mpi.tasklists.reading import is_plain, read_chunks, task_spans
from taskfarmer_mpi.tasklists.text_sequence import TextSequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object

PART = 10_000
"""How many texts of a long list are looked at together."""
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

    def raws(self, start: int, stop: int) -> list[bytes]:
        """Return the texts from one index up to another as bytes; fewer where there are no more."""
        return [self.raw(index) for index in range(start, min(stop, len(self)))]

    def digest(self, count: int) -> str:
        """Return the SHA-256 of the header, if there is one, and the first `count` texts, each ended by a newline."""
        sha = hashlib.sha256()
        if self.header:
            sha.update(self.header.encode("utf-8", "surrogateescape") + b"\n")
        for first in range(0, count, PART):
            sha.update(b"\n".join(self.raws(first, min(first + PART, count))) + b"\n")
        return sha.hexdigest()

    def begins_with(self, count: int, digest: str) -> bool:
        """Whether its first `count` texts are there and have this digest."""
        return count <= len(self) and self.digest(count) == digest


class TaskLines(Lines):
    """The task lines of a tasklist as they were when it was read: who edits it meanwhile does not change them.

    A million tasks cost a few MB: their text is kept compressed.
    """

    def __init__(self, data: bytes | Iterable[bytes], path: Path | None = None, *, are_tasks: bool = True) -> None:
        """Take the content of a file, or chunks of it, each of whole lines that end with a newline.

        Parameters
        ----------
        data
            The content.
        path
            The file for whose directives it is looked; None if there can be none.
        are_tasks
            Whether its lines are tasks.
        """
        self._texts = PackedTexts()
        self._skipped = 0
        self._numbers = _LineNumbers()
        finder = None
        for chunk in (data,) if isinstance(data, bytes) else data:
            starts = self._take(chunk)
            if path is not None and starts is not None and b"#" in chunk:
                if finder is None:
                    from taskfarmer_mpi.tasklists.directives import DirectiveFinder

                    finder = DirectiveFinder(path, are_allowed=are_tasks)
                finder.look(chunk, starts, first=len(self) - len(starts), lines=self._numbers.before(chunk))
        if finder is not None:
            self.directives = finder.found

    def _take(self, chunk: bytes) -> list[int] | None:
        """Take in the tasks of a chunk; return where they start in it, or None if each line is one."""
        first = len(self)
        if is_plain(chunk):
            self._texts.append(chunk if chunk.endswith(b"\n") else chunk + b"\n")
            self._numbers.add(first, chunk, None)
            return None
        spans = list(task_spans(chunk))
        self._texts.append(b"".join([chunk[start:end] + b"\n" for start, end in spans]))
        starts = [start for start, _ in spans]
        self._numbers.add(first, chunk, starts)
        return starts

    def __len__(self) -> int:
        return len(self._texts) - self._skipped

    def text(self, index: int) -> str:
        """Return the stripped line of one task."""
        return self.raw(index).decode("utf-8", "surrogateescape")

    def raw(self, index: int) -> bytes:
        """Return the stripped line of one task as the bytes of the file."""
        return self._texts[index + self._skipped if index >= 0 else index]

    def raws(self, start: int, stop: int) -> list[bytes]:
        """Return the stripped lines of some tasks as the bytes of the file."""
        return self._texts.some(start + self._skipped, stop + self._skipped)

    def line_number(self, index: int) -> int:
        """Return where a task stands in the file, as editors count lines."""
        return self._numbers.of(index + self._skipped)

    def pop_first(self) -> str:
        """Take away the first line, which is no task but the header of a table; return it."""
        self.header = self.text(0)
        self._skipped = 1
        self.directives = tuple((max(index - 1, 0), text) for index, text in self.directives)
        return self.header


class _LineNumbers:
    """On which line of its file each task is."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._befores: list[int] = []
        self._within: list[array[int] | None] = []
        self._lines = 0

    def add(self, first: int, chunk: bytes, starts: Sequence[int] | None) -> None:
        """Take in a chunk: the index of its first task, and where its tasks start, if not each line is one."""
        within = None
        if starts is not None:
            within, line, place = array("I"), 0, 0
            for start in starts:
                line += chunk.count(b"\n", place, start)
                within.append(line)
                place = start
        self._firsts.append(first)
        self._befores.append(self._lines)
        self._within.append(within)
        self._lines += chunk.count(b"\n")

    def before(self, chunk: bytes) -> int:
        """Return how many lines are before the last chunk."""
        return self._lines - chunk.count(b"\n")

    def of(self, index: int) -> int:
        """Return the line of a task, from 1 on."""
        number = bisect_right(self._firsts, index) - 1
        place, within = index - self._firsts[number], self._within[number]
        return self._befores[number] + (place if within is None else within[place]) + 1


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
    return TaskLines(read_chunks(path), path, are_tasks=are_tasks)


def read_some_lines(path: Path, ids: Collection[int]) -> dict[int, str]:
    """Return those task lines of a tasklist, by ID; it is read no further than the last one needs.

    Raises
    ------
    UserError
        As `read_task_lines`.
    """
    if not ids:
        return {}
    texts = (chunk[start:end] for chunk in read_chunks(path) for start, end in task_spans(chunk))
    found = islice(enumerate(texts), max(ids) + 1)
    return {i: text.decode("utf-8", "surrogateescape") for i, text in found if i in ids}
