"""The lock files of a work directory: where they are, as PyTaskFarmer has it, how one is held, and how it is waited for."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from taskfarmer_mpi.common.filesystems import inode_of, is_at
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.workdir.files import Workdir, close_lost, open_file

LOCK_VARIABLES = ("SCRATCH", "TMP", "TMPDIR")
"""Where PyTaskFarmer 0.1.0 looks for a directory for its lock, in this order; its documentation names the first only."""

_FIRST_PAUSE = 0.001
"""The shortest pause between two attempts at a lock [s]; it doubles."""
_LONG_PAUSES = (0.05, 2.0)
"""The least and the most that the longest pause can be [s]."""
_PER_FARMER = 0.01
"""The longest pause for each farmer [s]: if all wait, they try 100 times a second together."""
_LEAST_PER_FARMER = 0.0007
"""For those that have waited for long: the same."""
_STUCK = 0.75
"""After so long a wait for each farmer [s] nobody seems to get the lock, and it is asked for seldom again."""


def lock_paths(workdir: Workdir, environ: Mapping[str, str]) -> list[Path]:
    """Return the lock files that guard `workdir`, in the order in which they are taken.

    The documented one comes first: in ``$SCRATCH``, else in the work directory. Where ``SCRATCH`` is not set but ``TMP`` or
    ``TMPDIR`` is, PyTaskFarmer 0.1.0 locks a file there instead, which is the second one if that directory exists.

    Raises
    ------
    UserError
        If ``SCRATCH`` is set and is no directory.
    """
    _check_scratch(environ)
    variable = next((variable for variable in LOCK_VARIABLES if variable in environ), None)
    if variable is None:
        return [workdir.path / "lock"]
    import hashlib

    name = hashlib.md5(os.fsencode(workdir.path), usedforsecurity=False).hexdigest() + "_lock"
    if variable == "SCRATCH":
        return [Path(os.path.abspath(environ[variable])) / name]
    folder = Path(os.path.abspath(environ[variable] or "/"))
    return [workdir.path / "lock", *([folder / name] if folder.is_dir() else [])]


def _check_scratch(environ: Mapping[str, str]) -> None:
    """Check that ``SCRATCH``, if it is set, names a directory for lock files.

    Raises
    ------
    UserError
        If not.
    """
    folder = environ.get("SCRATCH")
    if folder is not None and not os.path.isdir(folder):
        reason = "it is empty" if not folder else "not a directory" if os.path.exists(folder) else "no such directory"
        raise UserError(f"SCRATCH={folder}: {reason}: the lock file belongs there; set SCRATCH to a directory, or unset it")


class LockPauses:
    """The pauses of one farmer between its attempts at a lock that others hold.

    They grow, the more so the more farmers may be waiting: so a lock server has about as much to do whatever their number.
    Nobody queues for the lock; the next one who asks gets it. So those that have waited for long ask oftener than newcomers.
    """

    def __init__(self, farmers: Callable[[], int]) -> None:
        """Begin a wait; `farmers` says how many farmers there are, and is asked once in each wait."""
        self._farmers = farmers
        self._usual = self._least = self._stuck = 0.0
        self._next = 0.0

    def begin(self) -> None:
        """Begin a new wait."""
        self._usual = 0.0

    def next(self, waited: float) -> float:
        """Return how long to pause after an attempt in vain, if it was waited for a time before [s]."""
        if not self._usual:
            farmers = self._farmers()
            self._usual = min(max(_LONG_PAUSES[0], _PER_FARMER * farmers), _LONG_PAUSES[1])
            self._least = min(max(_LONG_PAUSES[0], _LEAST_PER_FARMER * farmers), self._usual)
            self._stuck = _STUCK * farmers
            self._next = max(_FIRST_PAUSE, self._usual / 50)
        is_stuck = waited > self._stuck
        longest = self._usual if is_stuck else max(self._least, self._usual / (1 + (waited / self._usual) ** 3))
        pause = min(self._next, longest)
        self._next = min(2 * self._next, self._usual)
        return pause * (0.5 + os.urandom(1)[0] / 255)


class LockFile:
    """A file that one process holds at a time, by an exclusive `flock`, which the kernel gives back when its holder dies.

    PyTaskFarmer does the same, and so does filelock. The file stays where it is: if it was removed, two processes could
    hold locks on two files of the same name.
    """

    def __init__(self, path: Path, mode: int) -> None:
        """Prepare a lock; nothing is opened yet.

        Parameters
        ----------
        path
            The file; it is made if it is missing.
        mode
            Its mode if it is made.
        """
        self.path = path
        self._mode = mode
        self.fd: int | None = None
        """Its descriptor while it is held."""
        self.stays_open = False
        """Whether it is open between two holds as well, which saves calls where its directory is opened anew each time."""
        self._idle: int | None = None
        """Its descriptor between two holds, if it is open then."""
        self._inode = 0
        self.was_kept = False
        """Whether it was open when it was taken last."""
        self._folder: os.stat_result | None = None
        """What its directory was when it was first looked at; only its owner can change what counts here."""

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it; return whether it is held now.

        Raises
        ------
        OSError
            If the file or its file system does not allow it, or others could put another file in its place.
        """
        if self._idle is not None and (is_had := self._take_again(self._idle)) is not None:
            return is_had
        self._inode = 0
        fd = self._open()
        if fd is None:
            return False
        try:
            if _try_flock(fd) and self._is_safe(fd):
                self.fd = fd
                self._inode = inode_of(fd) if self.stays_open else 0
                self.was_kept = False
        finally:
            if self.fd is None:
                os.close(fd)
        return self.fd is not None

    def _take_again(self, fd: int) -> bool | None:
        """Take the lock of the file that is open; return whether that is done, None if it has to be opened anew."""
        self._idle = None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_had = True
        except BlockingIOError:
            is_had = False
        except OSError:  # as of a file that is gone, or of a user whose rights are over: opening it says what it is
            close_lost(fd)
            return None
        self.fd, self._idle = (fd, None) if is_had else (None, fd)
        self.was_kept = is_had
        return is_had

    def is_in_place(self) -> bool:
        """Whether what is held is the file of this name; asked after its directory was opened anew."""
        return not self.was_kept or is_at(self.path, self._inode)

    def _open(self) -> int | None:
        """Open the file, or make it; None if others make, remove or lease it this moment."""
        try:
            return open_file(self.path, os.O_WRONLY | os.O_NONBLOCK)  # no server delegates what it has to ask back
        except FileNotFoundError:
            pass
        except BlockingIOError:
            return None
        try:
            fd = open_file(self.path, os.O_WRONLY | os.O_NONBLOCK | os.O_CREAT | os.O_EXCL, self._mode)
        except FileExistsError:
            return None
        os.fchmod(fd, self._mode)  # whatever the umask
        return fd

    def _is_safe(self, fd: int) -> bool:
        """Whether the file that is locked is still there.

        Raises
        ------
        PermissionError
            If another user planted it there: its holder writes to it, and its owner can replace it.
        """
        self._folder = self._folder or self.path.parent.stat()
        file, folder = os.fstat(fd), self._folder
        me = os.geteuid()
        is_open_to_others = folder.st_uid not in (me, 0) or folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if file.st_nlink > 1 and is_open_to_others:
            raise PermissionError(errno.EACCES, "it has another name, and others can write to its directory", str(self.path))
        if folder.st_mode & stat.S_ISVTX and file.st_uid not in (me, folder.st_uid):
            raise PermissionError(errno.EACCES, f"it belongs to user {file.st_uid}, who could replace it", str(self.path))
        return file.st_nlink > 0

    def release(self) -> None:
        """Give the lock back, if it is held.

        No error is raised. On NFS there is one after the lock was lost with its lease: what could not be written is the note
        of its holder, and the lock is gone in any case.
        """
        if self.fd is not None:
            fd, self.fd = self.fd, None
            with suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)  # also if a child has the descriptor
                if self.stays_open and self._inode:
                    self._idle = fd
                    return
            close_lost(fd)

    def close(self) -> None:
        """Give the lock back, and close the file in any case."""
        self.release()
        if self._idle is not None:
            fd, self._idle = self._idle, None
            close_lost(fd)


def _try_flock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):  # some file systems say this of a lock that is held
            return False
        raise
    return True
