"""The file with the settings of tasks: ``FIRST LAST word=value ...``, for the tasks with these IDs and those between.

A line counts from its first ID on, whatever lines before it said of that: an addition that was cut short is made again.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from pathlib import Path

from taskfarmer_mpi.policies.settings import Settings, has_barriers, read_settings, sizes_in
from taskfarmer_mpi.workdir.files import Workdir, reading
from taskfarmer_mpi.workdir.growing_file import GrowingFile

Part = tuple[int, int, str]
"""First and last task, and what they have, in the form of `policies.settings.change_settings`."""

_LINE = re.compile(rb"(\d{1,18}) (\d{1,18}) ([^\n]*)")
_NOTHING = Settings()


def encode_parts(parts: Iterable[Part]) -> bytes:
    """Encode lines of the file."""
    return b"".join(f"{first} {last} {text}\n".encode() for first, last, text in parts)


def parse_part(line: bytes) -> Part | None:
    """Decode a line, given without its newline; None if it has another form."""
    match = _LINE.fullmatch(line)
    return (int(match[1]), int(match[2]), match[3].decode("utf-8", "replace")) if match else None


def read_book(workdir: Workdir) -> SettingsBook:
    """Return what is written now, without the lock.

    Raises
    ------
    FarmError
        If the file is there and cannot be read.
    """
    book = SettingsBook(workdir.settings)
    with reading(workdir.settings):
        book.advance()
    return book


def read_names(workdir: Workdir) -> Callable[[int], str]:
    """Return what tells how a task is called by `#TF` lines: nothing for most tasks; errors are those of `read_book`."""
    book = read_book(workdir)
    return lambda task: book.of(task).name


class SettingsBook:
    """Follows the file: each `advance` takes in what has come since."""

    def __init__(self, path: Path) -> None:
        self._file = GrowingFile(path)
        self._firsts: list[int] = []
        self._parts: list[Part] = []
        self._meanings: dict[str, Settings] = {}
        self.has_limits = False
        """Whether only so many of some tasks may run at once."""
        self.has_sizes = False
        """Whether tasks take more or less than others."""
        self.has_barriers = False
        """Whether tasks wait for all that are before them."""

    def advance(self) -> None:
        """Take in what was written.

        Raises
        ------
        OSError
            If the file is there and cannot be read.
        """
        for lines, is_anew in self._file.news():
            if is_anew:
                self._firsts.clear()
                self._parts.clear()
                self.has_limits = self.has_sizes = self.has_barriers = False
            for line in lines.split(b"\n")[:-1]:
                part = parse_part(line)
                if part is not None:
                    self._add(part)

    def _add(self, part: Part) -> None:
        self.has_limits = self.has_limits or "limit=" in part[2]
        self.has_sizes = self.has_sizes or bool(sizes_in(part[2]))
        self.has_barriers = self.has_barriers or has_barriers(part[2])
        while self._parts and self._parts[-1][1] >= part[0]:
            first, _, text = self._parts.pop()
            self._firsts.pop()
            if first < part[0]:
                self._parts.append((first, part[0] - 1, text))
                self._firsts.append(first)
        self._parts.append(part)
        self._firsts.append(part[0])

    @property
    def parts(self) -> list[Part]:
        """All lines that count, in the order of the tasks."""
        return self._parts

    def text_of(self, task: int) -> str:
        """Return what a task has, as a text."""
        number = bisect_right(self._firsts, task) - 1
        return self._parts[number][2] if number >= 0 and task <= self._parts[number][1] else ""

    def of(self, task: int) -> Settings:
        """Return what a task has."""
        text = self.text_of(task)
        if not text:
            return _NOTHING
        if text not in self._meanings:
            self._meanings[text] = read_settings(text)
        return self._meanings[text]
