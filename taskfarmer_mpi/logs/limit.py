"""The head and the tail of a log that is too long, and the line between them."""

from __future__ import annotations

import os
import stat

_PAGE = 4096
_WORTH = 1 << 20
"""Less than this is not freed [bytes]."""


def read_within(fd: int, limit: int) -> bytes:
    """Return a log, of which no more than `limit` bytes are kept; 0: all of it."""
    size = os.fstat(fd).st_size
    if not limit or size <= limit:
        return _read(fd, 0, size)
    head = (limit + 1) // 2
    middle = f"\n[taskfarmer_mpi: {size - limit} bytes are missing here: --log-limit]\n".encode()
    return _read(fd, 0, head) + middle + _read(fd, size - (limit - head), limit - head)


def _read(fd: int, offset: int, size: int) -> bytes:
    parts = []
    while size > 0 and (part := os.pread(fd, size, offset)):
        parts.append(part)
        offset += len(part)
        size -= len(part)
    return b"".join(parts)


def dispensable(size: int, limit: int) -> tuple[int, int]:
    """Return offset and length of what will be kept in no case of a log that has this size and may grow [bytes]."""
    start = -(-((limit + 1) // 2) // _PAGE) * _PAGE
    end = (size - limit) // _PAGE * _PAGE
    return (start, end - start) if end - start >= _WORTH else (0, 0)


class HolePuncher:
    """Gives the disk back what logs that are still written to have between head and tail."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._freed: dict[str, int] = {}
        self.is_able = True
        """Whether the file system can do that, as far as is known."""

    def look(self, paths: list[str]) -> None:
        """Look at the logs of the running tasks."""
        self._freed = {path: self._freed.get(path, 0) for path in paths}
        for path in paths if self.is_able else ():
            try:
                status = os.lstat(path)
                start, length = dispensable(status.st_size, self._limit)
                if length - self._freed[path] >= _WORTH and stat.S_ISREG(status.st_mode):
                    self._punch(path, start, length)
            except FileNotFoundError:
                pass

    def _punch(self, path: str, start: int, length: int) -> None:
        from taskfarmer_mpi.common.c_library import punch_hole
        from taskfarmer_mpi.workdir.files import open_file

        fd = open_file(path, os.O_WRONLY)
        try:
            self.is_able = punch_hole(fd, start, length)
            self._freed[path] = length
        finally:
            os.close(fd)
