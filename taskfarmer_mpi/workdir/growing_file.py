"""Reads files of lines a part at a time, and follows those that others append to, or replace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from taskfarmer_mpi.common.packed import PackedBlocks
from taskfarmer_mpi.workdir.files import open_file

_BLOCK = 1024 * 1024
_PART = 64 * 1024
_TAIL = 64
"""By so many bytes before the end of what was read it is seen whether a file was rewritten in place."""


News = tuple[bytes, bool]
"""Whole lines that came, and whether what was read before does not count, as this is the beginning of another file."""


class GrowingFile:
    """A file, and how much of it was read: each look reads only what has come since the last one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._forget()

    def _forget(self) -> None:
        self._offset = 0
        self._identity: tuple[int, int] | None = None
        self._tail = b""

    def news(self) -> Iterator[News]:
        """Yield the whole lines that came since the last call, in blocks; a last line without its end comes later.

        Raises
        ------
        OSError
            If the file is there and cannot be read.
        """
        try:
            fd = open_file(self.path, os.O_RDONLY)
        except FileNotFoundError:
            if self._identity is not None:
                self._forget()
                yield b"", True
            return
        try:
            if self._is_another(fd):
                self._offset, self._tail = 0, b""
                yield b"", True
            yield from self._blocks(fd)
        finally:
            os.close(fd)

    def _is_another(self, fd: int) -> bool:
        status = os.fstat(fd)
        before, self._identity = self._identity, (status.st_dev, status.st_ino)
        if before is None:
            return False
        start = self._offset - len(self._tail)
        return before != self._identity or os.pread(fd, len(self._tail), start) != self._tail

    def _blocks(self, fd: int) -> Iterator[News]:
        torn = b""
        while block := os.pread(fd, _BLOCK, self._offset + len(torn)):
            lines, newline, torn = (torn + block).rpartition(b"\n")
            if newline:
                lines += newline
                self._offset += len(lines)
                self._tail = (self._tail + lines)[-_TAIL:] if len(lines) < _TAIL else lines[-_TAIL:]
                yield lines, False


def read_lines(fd: int, size: int) -> Iterator[bytes]:
    """Yield the whole lines in the first `size` bytes of an open file, in blocks."""
    offset, torn = 0, b""
    while block := os.pread(fd, min(_PART, size - offset), offset):
        offset += len(block)
        lines, newline, torn = (torn + block).rpartition(b"\n")
        if newline:
            yield lines + newline


def read_list(path: Path) -> PackedBlocks | None:
    """Return the whole lines that a list has now, in blocks; None if there is no such file.

    They are kept compressed, so that they can be looked at when others may change the list again.
    """
    try:
        fd = open_file(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        blocks = PackedBlocks()
        for lines in read_lines(fd, os.fstat(fd).st_size):
            blocks.append(lines)
        return blocks
    finally:
        os.close(fd)


def open_lines(path: Path, opened: ExitStack) -> Iterator[bytes]:
    """Return what yields the whole lines that a list has now, in blocks, as long as `opened` is.

    It must only be appended to meanwhile, or replaced by another file.
    """
    try:
        fd = open_file(path, os.O_RDONLY)
    except FileNotFoundError:
        return iter(())
    opened.callback(os.close, fd)
    return read_lines(fd, os.fstat(fd).st_size)
