"""The lock on a work directory, held for moments.

It is that of one or two files (`lock_files`), with what a farmer does and asks while it waits for them or holds them.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from taskfarmer_mpi.common.filesystems import is_local, refuses_lost_locks, see_through
from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.errors import FarmError, FencedError, LockBusyError, UserError
from taskfarmer_mpi.workdir.agreement import read_agreement
from taskfarmer_mpi.workdir.files import NO_LOCKS, Workdir, read_file
from taskfarmer_mpi.workdir.lock_files import LockFile, LockPauses

log = Log(__name__)

_FULL = (errno.ENOSPC, errno.EDQUOT)
"""What a server says that knows the lock, and has no place for what was written."""

REPORT = 10.0
"""How long to wait for the lock before saying who holds it [s]; said again after twice the time, and so on."""
_NOTE = 256
"""Length of the note of who holds a lock [bytes]: always the same, so that each covers the one before."""
STOP_PATIENCE = 5.0
"""How long a farmer that was told to stop waits for the lock [s]; then its journal has to do."""


class WorkLock:
    """The exclusive lock on a work directory: one or two `flock` files, held for moments only."""

    def __init__(self, workdir: Workdir, paths: list[Path], holder: str, *, is_checked: bool = True) -> None:
        """Prepare the lock; nothing is opened yet.

        Parameters
        ----------
        workdir
            What the lock guards.
        paths
            The lock files, in the order in which they are taken.
        holder
            Who takes it, in one line; written into the lock file for others to read.
        is_checked
            Whether the first one must be what the farmers of `workdir` agreed on.
        """
        self._is_checked = is_checked
        self.workdir = workdir
        self.paths = paths
        self._holder = holder
        self.is_hurried: Callable[[], bool] = lambda: False
        """Whether there is no time to wait long, since the farmer was told to stop."""
        self.refused = paths[0]
        """The lock file that others held when the lock was last wanted."""
        self._can_be_lost: list[bool] | None = None
        """For each lock file, whether it is on a file system of several nodes; None as long as nobody asked."""
        self._is_seen_through = False
        mode = lock_mode(workdir.path)
        self._locks = [LockFile(path, mode) for path in paths]

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return self._locks[-1].fd is not None

    def life_path(self, farmer: str, what: str) -> Path:
        """Return the path of a lock of one farmer: beside the lock of all, where locks are known to work."""
        return self.paths[0].with_name(f"{self.paths[0].name}.{farmer}.{what}")

    def keep_open(self) -> None:
        """Keep lock files open between two holds, on NFS from version 4 on; see `LockFile.stays_open`."""
        for lock in self._locks:
            lock.stays_open = lock.path.parent == self.workdir.path and refuses_lost_locks(lock.path)

    def try_acquire(self, *, is_deep: bool = True) -> bool:
        """Take the lock if nobody has it; return whether it is held now.

        Parameters
        ----------
        is_deep
            Whether the folders of the work directory are opened anew as well.

        Raises
        ------
        UserError
            If the file system or the lock file does not allow locks, or farmers agreed on another file.
        """
        if not self._take():
            return False
        was_kept = any(lock.was_kept for lock in self._locks)
        try:
            if not self._is_seen_through:
                see_through(self.workdir.path)
                self._is_seen_through = True
            self.workdir.refresh(is_deep=is_deep)
            if all(lock.is_in_place() for lock in self._locks):
                self._check_agreement()
                return True
        except (OSError, UserError):
            if not was_kept:
                self.release()
                raise
        self.close()  # the file, or its directory, is another one by now
        return self.try_acquire(is_deep=is_deep)

    def _take(self) -> bool:
        for lock in tuple(self._locks):
            try:
                is_taken = lock.try_acquire()
            except OSError as error:
                if isinstance(error, FileNotFoundError) and lock is not self._locks[0]:
                    self._leave_out(lock)
                    continue
                self.release()
                raise UserError(_lock_advice(lock.path, error)) from error
            if not is_taken:
                self.refused = lock.path
                self.release()
                return False
            self._sign(lock)
        return True

    def _leave_out(self, lock: LockFile) -> None:
        """Do without the second lock file, whose directory was removed, as at the end of the job that it was made for."""
        log.warning(
            "%s: the directory is gone: from now on without this lock, which only PyTaskFarmers there take", lock.path
        )
        self._locks.remove(lock)
        self.paths.remove(lock.path)
        self._can_be_lost = None

    def _check_agreement(self) -> None:
        """Compare each time: others can agree on another lock file where they see no farmer, as before a farmer's birth."""
        agreed = read_agreement(self.workdir) if self._is_checked else None
        if agreed is not None and not agreed.is_kept_by(self.paths[0]):
            raise UserError(agreed.describe_difference(self.workdir, self.paths[0]))

    def confirm(self) -> None:
        """Make sure that the lock is still held: asked when what is to be written is open and locked, before it is written.

        On a file system of this node alone a lock is never lost, and nothing is asked.

        Raises
        ------
        FencedError
            If a node that was cut off, or frozen, has lost it.
        """
        if self._can_be_lost is None:
            self._can_be_lost = [not is_local(path) for path in self.paths]
        for lock, can_be_lost in zip(self._locks, self._can_be_lost, strict=True):
            try:
                if can_be_lost and lock.fd is not None:
                    os.pwrite(lock.fd, b"\n", _NOTE - 1)
                    os.fsync(lock.fd)
            except OSError as error:
                if error.errno in _FULL:
                    continue
                lock.stays_open = False
                raise FencedError(f"{lock.path}: the lock was lost while it was held: {error.strerror}") from error

    def release(self) -> None:
        """Give the lock back."""
        for lock in reversed(self._locks):
            lock.release()

    def close(self) -> None:
        """Give the lock back, and close what stayed open between two holds."""
        for lock in reversed(self._locks):
            lock.close()

    @contextmanager
    def held(self, patience: float) -> Iterator[None]:
        """Hold the lock for the length of a `with` block.

        Parameters
        ----------
        patience
            How long to wait for it [s].

        Raises
        ------
        LockBusyError
            If others held it all that time; the message names the holder if it is known.
        """
        start = time.monotonic()
        pauses = LockPauses(self._count_farmers)
        report = REPORT
        while not self.try_acquire():
            waited = time.monotonic() - start
            if waited > report:
                log.warning("%s: waiting for the lock for %.0f s; %s", self.refused, waited, self.describe_holder())
                report *= 2
            left = (min(patience, STOP_PATIENCE) if self.is_hurried() else patience) - waited
            if left <= 0:
                raise LockBusyError(f"{self.refused}: no lock within {waited:.0f} s; {self.describe_holder()}")
            self._rest(min(pauses.next(waited), left))
        try:
            yield
        finally:
            self.release()

    def _rest(self, pause: float) -> None:
        """Sleep for a time [s], but not long once the farmer was told to stop."""
        end = time.monotonic() + pause
        while pause > 0:
            time.sleep(min(pause, 0.05 if self.is_hurried() else 0.25))
            pause = 0.0 if self.is_hurried() else end - time.monotonic()

    def _count_farmers(self) -> int:
        from taskfarmer_mpi.workdir.journal_reading import open_journals

        with suppress(FarmError):  # how often to ask is not worth trouble
            return len(open_journals(self.workdir.farmers))
        return 1

    def describe_holder(self) -> str:
        """Say who holds the lock, as far as this node can know."""
        with suppress(OSError):
            pid = _local_holder(self.refused)
            note = (
                (read_file(self.refused, 0, _NOTE) or b"").strip(b"\0 \n").decode("utf-8", "replace")
            )  # NUL: one was cut off
            is_own = note.startswith(f"{self._holder} ")  # from when this lock was had
            if note and (f"pid {pid} " in note or (pid is None and not is_own)):
                return f"it is held by {note}{_describe_state(pid)}"
            if pid is not None:
                return f"it is held by process {pid} on this node{_describe_state(pid)}"
        return "who holds it is not known: a farmer on another node, or a node that died and whose lease runs out"

    def _sign(self, lock: LockFile) -> None:
        if lock.fd is None:
            return
        with suppress(OSError):  # a full disk must not stop anybody from taking the lock
            note = f"{self._holder} since {time.strftime('%Y-%m-%d %H:%M:%S')}".encode()
            os.pwrite(lock.fd, note[: _NOTE - 1].ljust(_NOTE - 1) + b"\n", 0)


def lock_mode(directory: Path) -> int:
    """Return the mode of new lock files: the owner's, and the group's where the work directory is the group's.

    Whoever can open a lock file can hold it and so stop the farm.
    """
    return 0o660 if directory.stat().st_mode & stat.S_IWGRP else 0o600


def _lock_advice(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOENT and not path.parent.is_dir():
        return f"{path.parent}: the directory is gone: it was removed, or moved away"
    if error.errno == errno.ENOSPC:
        return f"{path}: cannot lock: {error.strerror}"
    if error.errno in NO_LOCKS:
        return (
            f"{path}: this file system has no working flock ({error.strerror}); set SCRATCH to a directory on a shared"
            " file system that has it"
        )
    return f"{path}: cannot lock: {error.strerror}"


def _local_holder(path: Path) -> int | None:
    """Return the process of this node that holds a flock on `path`, from /proc/locks."""
    status = os.stat(path)
    inode = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and inode in fields:
            return int(fields[4])
    return None


def _describe_state(pid: int | None) -> str:
    """Say that a process of this node is stopped, if it is: it keeps what it holds until somebody ends that."""
    with suppress(OSError):
        state = b"" if pid is None else Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
        if state in (b"T", b"t"):
            return f"; that process is stopped: kill -CONT {pid} has it go on, kill -KILL {pid} ends it"
    return ""
