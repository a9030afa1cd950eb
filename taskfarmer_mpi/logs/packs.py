"""Many logs in one file: the lines of its index, encoded and parsed, and the writing end.

A line of ``packs/<farmer>.index`` is ``ID NUMBER OFFSET LENGTH STATE``: where the log of an attempt is in
``packs/<farmer>.pack``. `NUMBER` is from 1 on, and `STATE` is ``last``, or ``earlier`` if another attempt follows. With
``gzip SIZE`` at the end of a line it is a gzip file by itself (RFC 1952), and `SIZE` is how long it is without compression.
A line of ``packs/earlier`` is ``ID NUMBER``: that log is not the last one's any more, as a user had the task tried again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.workdir.files import Workdir, lock_for_writing, make_folder, open_file, share, write_all

_LINE = re.compile(rb"^(\d{1,18}) (\d{1,9}) (\d{1,18}) (\d{1,18}) (last|earlier)(?: gzip (\d{1,18}))?\n", re.MULTILINE)
_GZIP = 31
"""What zlib calls the form of gzip."""
_EARLIER = re.compile(rb"^(\d{1,18}) (\d{1,9})\n", re.MULTILINE)


class Place(Value):
    """Where a log is in a pack."""

    task: int
    number: int
    """Of the attempt, from 1 on."""
    offset: int
    """[bytes]"""
    length: int
    """[bytes]"""
    is_last: bool
    """Whether it is the last attempt's."""
    size: int | None = None
    """How long it is without compression [bytes]; None if it is not compressed."""


def encode_place(place: Place) -> bytes:
    """Encode a line of an index."""
    state = b"last" if place.is_last else b"earlier"
    form = b"" if place.size is None else b" gzip %d" % place.size
    return b"%d %d %d %d %s%s\n" % (place.task, place.number, place.offset, place.length, state, form)


def parse_places(data: bytes, tasks: Container[int]) -> Iterator[Place]:
    """Decode what an index has of some tasks; a torn last line is left out."""
    for match in _LINE.finditer(data):
        task, number, offset, length = map(int, match.groups()[:4])
        if task in tasks:
            yield Place(task, number, offset, length, match[5] == b"last", int(match[6]) if match[6] else None)


def encode_earlier(attempts: Iterable[tuple[int, int]]) -> bytes:
    """Encode lines of the file `earlier`: tasks with the numbers of attempts."""
    return b"".join(b"%d %d\n" % attempt for attempt in attempts)


def parse_earlier(data: bytes) -> set[tuple[int, int]]:
    """Decode the content of the file `earlier`."""
    return {(int(match[1]), int(match[2])) for match in _EARLIER.finditer(data)}


def pack_of(index: Path) -> Path:
    """Return the pack of an index."""
    return index.with_suffix(".pack")


class PackWriter:
    """The writing end of one farmer's pack."""

    def __init__(self, workdir: Workdir, farmer: str, *, is_compressed: bool = False) -> None:
        """Make both files.

        Parameters
        ----------
        workdir, farmer
            Whose they are.
        is_compressed
            Whether each log is compressed by itself.

        Raises
        ------
        OSError, UserError
            If they cannot be made.
        """
        make_folder(workdir.packs)
        index = workdir.packs / f"{farmer}.index"
        self._fds = [_make(path) for path in (pack_of(index), index)]
        self._size = 0
        self._is_compressed = is_compressed

    def add(self, logs: Iterable[tuple[int, int, bytes, bool]]) -> None:
        """Append logs; when this returns they are on disk.

        Parameters
        ----------
        logs
            Task, number of the attempt, content, and whether it is the last attempt's.

        Raises
        ------
        OSError
            If that cannot be done: what is in no index is not there.
        """
        pack, index = self._fds
        lines, contents, offset = [], [], self._size
        for task, number, content, is_last in logs:
            packed = self._compress(content)
            size = len(content) if self._is_compressed else None
            lines.append(encode_place(Place(task, number, offset, len(packed), is_last, size)))
            contents.append(packed)
            offset += len(packed)
        os.lseek(pack, self._size, os.SEEK_SET)  # where a write failed before, it is made again
        write_all(pack, b"".join(contents))
        os.fdatasync(pack)
        end = os.fstat(index).st_size
        try:
            write_all(index, b"".join(lines))
            os.fdatasync(index)
        except OSError:
            os.ftruncate(index, end)
            raise
        self._size = offset

    def _compress(self, content: bytes) -> bytes:
        if not self._is_compressed:
            return content
        from zlib import compress

        return compress(content, level=1, wbits=_GZIP)


def _make(path: Path) -> int:
    fd = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | (os.O_APPEND if path.suffix == ".index" else 0))
    share(fd, path.parent)
    lock_for_writing(fd)
    return fd
