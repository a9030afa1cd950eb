"""The events that plain farmers wrote to `timeline.json`, read piece by piece: the file can have a million others.

A PyTaskFarmer reads the whole list, appends one event and writes everything anew on one line, in place. Ours has one event
per line and is renamed into its place. So the first two bytes tell who wrote it.
"""

from __future__ import annotations

import codecs
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from taskfarmer_mpi.history.event_marks import Event, is_marked, is_own
from taskfarmer_mpi.workdir.files import open_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

_BLOCK = 1024 * 1024
_LONGEST = 16 * _BLOCK
"""Longest event that is believed [characters]."""
_OVERLAP = 4096
"""How much of an old timeline is looked for in a longer one [bytes]."""
_OWN_BEGIN = b"[\n"
_BETWEEN = re.compile(r"[\s,]*")
_parser = json.JSONDecoder(parse_constant=lambda _: None)  # NaN is no JSON


class DamagedError(Exception):
    """A timeline is not a whole JSON list."""


def read_list(file: IO[bytes]) -> Iterator[object]:
    """Yield the elements of a JSON list, in the memory of one block and one element.

    Raises
    ------
    DamagedError
        After the last element that could be read.
    """
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    text, at, count = "", 0, 0
    is_begun = False
    while True:
        block = file.read(_BLOCK)
        text, at = text[at:] + decode(block, not block), 0
        while (at := _skip(text, at)) < len(text):
            if not is_begun:
                if text[at] != "[":
                    raise DamagedError("not a JSON list")
                is_begun, at = True, at + 1
            elif text[at] == "]":
                return
            else:
                try:
                    value, at = _parser.raw_decode(text, at)
                except (ValueError, RecursionError):
                    break
                yield value
                count += 1
        if not block or len(text) - at > _LONGEST:
            raise DamagedError(f"its JSON is damaged behind element {count}" if is_begun else "not a JSON list")


def _skip(text: str, at: int) -> int:
    match = _BETWEEN.match(text, at)
    return match.end() if match else at


def _read_lines(file: IO[bytes]) -> Iterator[object]:
    """Yield what is not ours in a timeline that was written here, one event per line; ours need not be decoded."""
    line = b""
    for line in file:
        if line.startswith(b"{") and not is_marked(line):
            try:
                yield json.loads(line.rstrip(b",\n"))
            except (ValueError, RecursionError):
                raise DamagedError(f"a line is no event: {line[:40]!r}") from None
    if line != b"]\n":
        raise DamagedError("its end is missing")


class Snapshot:
    """A timeline as it was at one moment."""

    def __init__(self, path: Path) -> None:
        """Take it, in little time; to be called with the lock of the work directory held."""
        self.trouble: str | None = None
        """What is wrong with it, once `events` came to its end."""
        self.is_plain = False
        """Whether a plain farmer wrote it last."""
        self._path = path
        self._file: IO[bytes] | None = None
        self.size = 0
        self._state: tuple[int, int, int] | None = None
        try:
            self._take(open(open_file(path, os.O_RDONLY), "rb"))  # noqa: SIM115
        except FileNotFoundError:
            pass
        except OSError as error:
            self.trouble = f"{path}: cannot read: {error.strerror}"

    def _take(self, file: IO[bytes]) -> None:
        status = os.fstat(file.fileno())
        self._state = (status.st_ino, status.st_size, status.st_mtime_ns)
        self.size = status.st_size
        head = file.read(len(_OWN_BEGIN))
        file.seek(0)
        if head == _OWN_BEGIN:
            self._file = file  # nobody appends to it; if a plain farmer writes it anew, `changes` tells
            return
        import shutil
        from tempfile import SpooledTemporaryFile

        self.is_plain = head[:1] == b"["
        with file:
            copy = SpooledTemporaryFile(max_size=_LONGEST)  # noqa: SIM115
            shutil.copyfileobj(file, copy, _BLOCK)
        self._file = copy

    def close(self) -> None:
        """Give up what it holds."""
        if self._file is not None:
            self._file.close()

    def events(self) -> Iterator[Event]:
        """Yield the events of plain farmers, as far as they can be read."""
        if self._file is None or not self.size:
            return
        self._file.seek(0)
        is_ours = self._file.read(len(_OWN_BEGIN)) == _OWN_BEGIN
        self._file.seek(0)
        try:
            yield from _foreign(_read_lines(self._file) if is_ours else read_list(self._file))
        except DamagedError as error:
            self.trouble = f"{self._path}: {error}; read up to there"
        except OSError as error:
            self.trouble = f"{self._path}: cannot read: {error.strerror}; read up to there"

    def changes(self) -> list[Event] | None:
        """Return what plain farmers have appended since, in little time; None if it has to be read as a whole.

        To be called with the lock held.
        """
        try:
            with open(open_file(self._path, os.O_RDONLY), "rb") as file:
                status = os.fstat(file.fileno())
                if (status.st_ino, status.st_size, status.st_mtime_ns) == self._state:
                    return []
                return self._appended(file, status.st_size)
        except FileNotFoundError:
            return [] if self._state is None else None
        except OSError:
            return [] if self.trouble else None

    def _appended(self, file: IO[bytes], size: int) -> list[Event] | None:
        """Return the new events of a longer list that begins as this one, without its bracket, does."""
        old = self._file
        if old is None or not self.is_plain or self.trouble or not 0 <= size - self.size <= _BLOCK:
            return None
        kept = self.size - 1
        for start, length in ((0, min(_OVERLAP, kept)), (max(0, kept - _OVERLAP), min(_OVERLAP, kept))):
            old.seek(start)
            file.seek(start)
            if old.read(length) != file.read(length):
                return None
        if old.read(1) != b"]":
            return None
        rest = file.read()
        try:
            values = json.loads(b"[" + rest.lstrip(b", "))
        except (ValueError, RecursionError):
            return None
        return list(_foreign(iter(values)))


def _foreign(values: Iterator[object]) -> Iterator[Event]:
    return (value for value in values if isinstance(value, dict) and not is_own(value))
