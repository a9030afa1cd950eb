"""Hands a program what it reads from a descriptor, without a file on a disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from taskfarmer_mpi.runners.shell import SCRIPT_FD
from taskfarmer_mpi.workdir.files import write_all

Action = tuple[int, int, int]
"""A file action of `os.posix_spawn`."""


@contextmanager
def script_file(script: bytes) -> Iterator[Action]:
    """Yield the file action by which a new process finds the script in descriptor `SCRIPT_FD`.

    Raises
    ------
    OSError
        If there is no memory or no descriptor for it.
    """
    fd = os.memfd_create("taskfarmer-script", os.MFD_CLOEXEC)
    try:
        write_all(fd, script)
        os.lseek(fd, 0, os.SEEK_SET)
        yield os.POSIX_SPAWN_DUP2, fd, SCRIPT_FD
    finally:
        os.close(fd)
