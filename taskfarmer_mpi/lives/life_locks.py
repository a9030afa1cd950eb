"""The locks that say whether a farmer lives, and whether a process of its tasks does.

Both are exclusive `flock` locks, which the kernel gives back when their last holder dies.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from functools import cached_property
from pathlib import Path

from taskfarmer_mpi.common.filesystems import refuses_lost_locks
from taskfarmer_mpi.errors import FarmError
from taskfarmer_mpi.workdir.files import close_lost, open_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.lives.lease import Sheet

TASK_LOCK_FD = 3
"""Descriptor by which tasks hold their farmer's task lock."""


class LifeLock:
    """An exclusive lock that its holder keeps as long as it lives; whoever gets it knows that the holder is dead."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        self.lease: Sheet | None = None
        """What is known of its lease, if there is one."""

    @cached_property
    def can_be_proven(self) -> bool:
        """Whether writing to its file shows that it was never lost: an error is told once to all who share a descriptor."""
        return self.path.suffix == ".alive" and refuses_lost_locks(self.path)

    @classmethod
    def create(cls, path: Path, mode: int) -> LifeLock:
        """Make a new lock file, which must not exist, and hold it."""
        fd = open_file(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        if fd == TASK_LOCK_FD:  # older C libraries do not pass a descriptor on to a program under the same number
            fd = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, TASK_LOCK_FD + 1)
            os.close(TASK_LOCK_FD)
        os.fchmod(fd, mode)  # whatever the umask: the group must be able to find out that this farmer is dead
        if not _try_lock(fd):
            raise FarmError(f"{path}: another process holds a lock file that was made this moment")
        return cls(path, fd)

    @classmethod
    def seize(cls, path: Path) -> LifeLock | None:
        """Take an existing lock whose holder is dead; None if it lives.

        What is in the file does not matter: a task can write to it by accident, as it has it as a descriptor.

        Raises
        ------
        FileNotFoundError
            If the lock file is missing: then nothing is known of its holder.
        OSError
            If it is no regular file, or cannot be opened.
        """
        fd = open_file(path, os.O_RDWR)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "not the lock file of a farmer", str(path))
        if _try_lock(fd):
            return cls(path, fd)
        os.close(fd)
        return None

    def is_in_place(self) -> bool:
        """Whether the file that is locked is the one of that name; another one is, where the directory was replaced."""
        try:
            return os.path.samestat(os.fstat(self.fd), os.stat(self.path))
        except OSError:
            return False

    @staticmethod
    def is_taken(path: Path) -> bool:
        """Whether somebody holds a life lock; many can ask at the same time without seeing each other.

        Raises
        ------
        OSError
            If the lock file is missing or cannot be opened.
        """
        fd = open_file(path, os.O_RDWR)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    @property
    def is_over(self) -> bool:
        """Whether it does not count any more, as its lease is over."""
        return self.lease is not None and self.lease.end() is not None

    def is_proven(self) -> bool:
        """Whether it is known that the lock was never lost: one call to the server. If not, it may be ours nevertheless."""
        if not self.can_be_proven:
            return False
        try:
            os.pwrite(self.fd, b"\n", 0)
            os.fsync(self.fd)
        except OSError:
            return False
        return True

    def is_held(self) -> bool:
        """Whether the lock is still ours: a lease may have run out while this node was frozen or cut off.

        One that was lost is taken again, if nobody else has it.
        """
        if self.is_over:
            return False
        try:
            return _try_lock(self.fd)
        except OSError:
            return False

    def release(self) -> None:
        """Give the lock up."""
        close_lost(self.fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
