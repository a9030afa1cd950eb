"""All tasks of a work directory, by ID: those that the tasklist had at first, and those that came later.

What came later is in a file of its own, `tasks.added`, one task a line::

    200 line python fit.py 7      a line that was appended to the tasklist
    201 added python fit.py 8     a task that a user added to the work directory
    202 then python merge.py      what is run once when the list is done (`--then`)

Once the tasklist was edited and the user accepted that, it has all tasks, from ID 0 on: `kept` is a line that the tasklist
had then, `gone` a task whose line was there no more.

Their IDs go on where the tasklist ended when the work directory was made. PyTaskFarmer empties `toprocess` if it finds an ID
there that its tasklist does not have, so these tasks have their own stack, too, and it never sees them.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from enum import Enum
from pathlib import Path

from taskfarmer_mpi.common.packed import PackedTexts
from taskfarmer_mpi.errors import FarmError, farm_error
from taskfarmer_mpi.tasklists.lines import Lines
from taskfarmer_mpi.workdir.files import read_file

_PART = 256 * 1024
"""How much is read at once [bytes]."""
_LINE = re.compile(rb"(\d{1,18}) (line|added|kept|gone|then) ([^\n]+)")


class Origin(Enum):
    """Where a task that came later is from."""

    LINE = "line"
    USER = "added"
    KEPT = "kept"
    GONE = "gone"
    THEN = "then"


Added = tuple[Origin, bytes]
"""Where a task is from, and its text."""


def encode_added(first_id: int, texts: Iterable[bytes], origin: Origin) -> bytes:
    """Encode lines of `tasks.added`, with IDs from `first_id` on."""
    return b"".join(encode_one(first_id + i, origin, text) for i, text in enumerate(texts))


def encode_one(task: int, origin: Origin, text: bytes) -> bytes:
    """Encode one line of `tasks.added`."""
    return b"%d %s %s\n" % (task, origin.value.encode(), text)


def parse_added(line: bytes) -> tuple[int, Origin, bytes] | None:
    """Decode a line of `tasks.added`, given without its newline; None if it has another form."""
    match = _LINE.fullmatch(line)
    return (int(match[1]), Origin(match[2].decode()), match[3]) if match else None


class Catalog(Lines):
    """The texts of all tasks; it grows with its file, and what it has never changes."""

    def __init__(self, lines: Lines, listed: int, path: Path, accepted: int | None = None) -> None:
        """Begin with the tasks of the tasklist.

        Parameters
        ----------
        lines
            The tasks of the tasklist, `listed` of them at least.
        listed
            How many it had when the work directory was made: those that plain farmers may know.
        path
            The file of the others; it need not exist.
        accepted
            How many lines the tasklist had when changes were accepted last; None if none ever were.
        """
        self.lines = lines
        self.listed = listed
        self.begun = listed if accepted is None else accepted
        """Lines of the tasklist from this one on were appended."""
        self._path = path
        self._begin()

    def _begin(self) -> None:
        self._offset = 0
        self._added = PackedTexts()
        self.appended = array("Q")
        """The IDs of those of the others that were lines of the tasklist."""
        self.then: int | None = None
        """The task that is run once when all others have ended, if there is one: its text is a command."""

    def __len__(self) -> int:
        return self.listed + len(self._added)

    def text(self, index: int) -> str:
        """Return the text of one task; undecodable bytes are surrogate escapes."""
        if index < self.listed:
            return self.lines.text(index)
        return self._added[index - self.listed].decode("utf-8", "surrogateescape")

    def raw(self, index: int) -> bytes:
        """Return the text of one task as bytes."""
        return self.lines.raw(index) if index < self.listed else self._added[index - self.listed]

    def raws(self, start: int, stop: int) -> list[bytes]:
        """Return the texts of some tasks as bytes."""
        if stop <= self.listed:
            return self.lines.raws(start, stop)
        later = self._added.some(max(start - self.listed, 0), stop - self.listed)
        return self.lines.raws(start, self.listed) + later if start < self.listed else later

    def has(self, task_id: int, text: bytes) -> bool:
        """Whether a line of a list, by its ID and text, is one of these tasks."""
        if task_id >= len(self):
            return False
        return (task_id < self.listed and self.lines.is_computed) or self.raw(task_id) == text

    def _is_whole(self) -> bool:
        """Whether the file has all tasks by now."""
        return (read_file(self._path, 0, 2) or b"") == b"0 "

    def advance(self) -> None:
        """Take in what was added to the file since the last call; the lock of the work directory is held.

        Raises
        ------
        FarmError
            If the file cannot be read, or a line of it is no task.
        """
        size = _PART
        while True:
            data = self._read(size)
            if data and self.listed and self._is_whole():
                self.listed = 0
                self._begin()
                continue
            lines, newline, _ = data.rpartition(b"\n")  # a torn last line is cut off by who writes next
            self._take(lines + newline)
            if len(data) < size:
                return
            size *= 1 if newline else 2

    def _read(self, size: int) -> bytes:
        try:
            return read_file(self._path, self._offset, size) or b""
        except OSError as error:
            raise farm_error(f"{self._path}: cannot read", error) from error

    def _take(self, lines: bytes) -> None:
        texts = []
        for task, line in enumerate(lines.split(b"\n")[:-1], len(self)):
            parsed = parse_added(line)
            if parsed is None or parsed[0] != task:
                shown = line[:60].decode("utf-8", "replace")
                raise FarmError(f"{self._path}: {shown!r} is not the line of task {task}")
            texts.append(parsed[2] + b"\n")
            if parsed[1] is Origin.LINE:
                self.appended.append(task)
            elif parsed[1] is Origin.THEN:
                self.then = task
        self._added.append(b"".join(texts))
        self._offset += len(lines)
