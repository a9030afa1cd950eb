"""Reads a log as it grows, also while its file is renamed, cut, packed or started anew."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from taskfarmer_mpi.workdir.files import open_file

_BLOCK = 1 << 20


class FollowedLog:
    """A file that a task writes, or has written."""

    def __init__(self, path: Path, last: int | None = None) -> None:
        """Have read nothing.

        Parameters
        ----------
        path
            The file, which need not exist yet.
        last
            How much of what is there when it is opened is read, at most [bytes]; None for all.
        """
        self.path = path
        self._last = last
        self._fd: int | None = None
        self._offset = 0

    @property
    def is_there(self) -> bool:
        """Whether a file was found."""
        return self._fd is not None

    @property
    def is_replaced(self) -> bool:
        """Whether the file that is read is not at its place any more: it was renamed or removed, or has a successor."""
        if self._fd is None:
            return False
        opened = os.fstat(self._fd)
        try:
            named = self.path.lstat()
        except FileNotFoundError:
            return True
        return (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino)

    def renew(self) -> None:
        """Read what is at the place now from its begin on.

        Raises
        ------
        OSError
            If it cannot be read, or is something else than a file, as a directory or a pipe.
        """
        self.close()
        self._offset = 0
        try:
            self._fd = open_file(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(self.path))
        if self._last is not None:
            self._offset = max(0, os.fstat(self._fd).st_size - self._last)

    def news(self) -> Iterator[bytes]:
        """Yield what has come; what was given back to the disk is one line that says so."""
        if self._fd is None:
            self.renew()
        while self._fd is not None:
            size = os.fstat(self._fd).st_size
            if size < self._offset:  # a run that was cut short is made again
                self._offset = 0
            if size == self._offset:
                return
            data = _next_data(self._fd, self._offset, size)
            if data > self._offset:
                yield f"\n[taskfarmer_mpi: {data - self._offset} bytes are missing here: --log-limit]\n".encode()
                self._offset = data
            block = os.pread(self._fd, min(_BLOCK, _next_hole(self._fd, data, size) - data), data)
            self._offset += len(block)
            if block:
                yield block

    def close(self) -> None:
        """Read no more."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd = None


def _next_data(fd: int, offset: int, size: int) -> int:
    """Return where the first byte is that is on the disk, from `offset` on."""
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        return size if error.errno == errno.ENXIO else offset


def _next_hole(fd: int, offset: int, size: int) -> int:
    try:
        return os.lseek(fd, offset, os.SEEK_HOLE)
    except OSError:
        return size
