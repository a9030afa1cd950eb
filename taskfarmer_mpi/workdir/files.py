"""The work directory: every path in it, and how its files are opened, read and replaced."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from taskfarmer_mpi.common.filesystems import see_attributes, see_name
from taskfarmer_mpi.common.wording import user_name
from taskfarmer_mpi.errors import FarmError, UserError

NO_LOCKS = frozenset([errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, 524])
"""What `flock` says on a file system that has none; 524 is the kernel's ENOTSUPP, as Cray's DVS returns it."""

_SAFE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""Nothing is followed, and a pipe that somebody put in the place of a file is not waited for."""

LOGS_PER_FOLDER = 1000
MANY_LOGS = 10_000
"""With more tasks than this a new work directory has folders for logs."""


def node_name() -> str:
    """Return the name of this node as the scheduler calls it, else as it calls itself, fit for the name of a file."""
    name = os.environ.get("SLURMD_NODENAME") or os.uname().nodename.split(".")[0]
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name) or "unnamed"


def open_file(path: Path | str, flags: int, mode: int = 0o666) -> int:
    """Open `path` without following a symbolic link at its end; return the descriptor."""
    see_name(path)
    fd = os.open(path, flags | _SAFE, mode)
    see_attributes(fd)
    return fd


def share(fd: int, directory: Path) -> None:
    """Let the group of a directory use a new file of this user as the directory, whatever the umask: all can work on it."""
    folder = directory.stat()
    shared = stat.S_IRWXG & folder.st_mode
    if not shared & stat.S_IWGRP:
        return
    file = os.fstat(fd)
    if not stat.S_ISDIR(file.st_mode):
        shared &= ~stat.S_IXGRP
    with suppress(PermissionError):  # who is not of that group has made a file for the own one: it gets no more rights
        if file.st_gid != folder.st_gid:
            os.fchown(fd, -1, folder.st_gid)
        os.fchmod(fd, stat.S_IMODE(file.st_mode) | shared)


def make_folder(path: Path) -> None:
    """Make a folder of a work directory where it is missing, open to those who may write to the directory it is in."""
    try:
        path.mkdir()
    except FileExistsError:
        refuse_link(path)
        return
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _SAFE)
    try:
        share(fd, path.parent)
    finally:
        os.close(fd)


def refuse_link(path: Path) -> None:
    """Refuse a link of another user in the place of a folder: what is written there would be written elsewhere.

    Raises
    ------
    UserError
        If it is one; one that this user has made is meant.
    """
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode) and status.st_uid not in (0, os.geteuid()):
        raise UserError(f"{path}: a link that user {user_name(status.st_uid)} has made, not a folder: remove it")


def lock_for_writing(fd: int) -> bool:
    """Lock an open file for as long as it is open, so that what is written when a lease was lost is an error.

    Return whether it is locked: not where the file system has no locks.

    A network file system lets a node that was cut off write to a file after others have taken over, but not through a
    descriptor whose lock was lost. Where the file system has no locks, the work lock elsewhere has to do.

    Raises
    ------
    OSError
        If another process has the lock, which only a node can that was cut off and came back this moment.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return False
    return True


def close_lost(fd: int) -> None:
    """Close a file on whose content nothing depends any more.

    On NFS, closing a file whose lock was lost with its lease is an error, about what was written and can no more be sent.
    """
    try:
        os.close(fd)
    except OSError:
        pass


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`; a short write goes on, an error is raised as it is."""
    while data:
        written = os.write(fd, data)
        data = data[written:]


def read_file(path: Path, offset: int = 0, size: int = -1) -> bytes | None:
    """Return the content of `path` from `offset` on, at most `size` bytes, opened anew; None if there is no such file.

    A directory or a pipe in its place is an `OSError`.
    """
    try:
        fd = open_file(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with open(fd, "rb") as file:
        if not file.seekable():
            raise OSError(errno.ESPIPE, "not a regular file", str(path))
        file.seek(offset)
        return file.read(size)


def replace_file(path: Path, data: bytes, confirm: Callable[[], None] = lambda: None) -> None:
    """Put `data` at `path` at once: readers see the old content or the new one, also after a crash.

    Where that is done under the work lock, `confirm` is its `WorkLock.confirm`: the last thing that is asked before.
    """
    with temporary_file(path) as (fd, temporary):
        write_all(fd, data)
        os.fsync(fd)
        confirm()
        temporary.replace(path)


@contextmanager
def temporary_file(path: Path, *, is_shared: bool = True) -> Iterator[tuple[int, Path]]:
    """Open a new file beside `path`, for the group as `share` has it; it is gone at the end unless it was renamed."""
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    fd = open_file(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        if is_shared:
            share(fd, path.parent)
        yield fd, temporary
    finally:
        os.close(fd)
        with suppress(FileNotFoundError):
            temporary.unlink()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say in a `FarmError` which file it is that cannot be read."""
    try:
        yield
    except OSError as error:
        raise FarmError(f"{path}: cannot read: {error.strerror}") from error


class Workdir:
    """Every path of a work directory."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.abspath(path))  # not resolved: PyTaskFarmer hashes the absolute path
        self.toprocess, self.order = self.path / "toprocess", self.path / "order"
        self.added = self.path / "toprocess.added"
        self.stop_request = self.path / "stop"
        self.tasks_added, self.settings = self.path / "tasks.added", self.path / "tasks.settings"
        self.attempts, self.halted = self.path / "attempts", self.path / "halted"
        self.finished, self.failed, self.removed = (self.path / name for name in ("finished", "failed", "removed"))
        self.cancels, self.paused = self.path / "cancels", self.path / "paused"
        self.logs = self.path / "logs"
        self.packs = self.path / "packs"
        self.packs_earlier = self.packs / "earlier"
        self.timeline, self.merged = self.path / "timeline.json", self.path / "timeline.merged.json"
        self.config = self.path / "farm.ini"
        self.agreement = self.path / "agreement"
        self.farmers, self.jobs = self.path / "farmers", self.path / "jobs"
        self._folders = [self.path, self.farmers]
        self._has_log_folders: bool | None = None
        """None before it was looked for them."""
        self.refreshed = 0
        """How often `refresh` was called."""

    @classmethod
    def meant(cls, path: str | os.PathLike[str]) -> Workdir:
        """Return the work directory that a user means: a tasklist stands for its own. An empty name is a `UserError`."""
        if not os.fspath(path):
            raise UserError("an empty name of a work directory: it would be the current one")
        return cls(f"{os.path.abspath(path)}_workdir" if os.path.isfile(path) else path)

    @property
    def is_known(self) -> bool:
        """Whether farmers of any kind have worked here.

        Raises
        ------
        UserError
            If that cannot be seen.
        """
        try:
            return self.config.exists() or self.toprocess.exists()
        except OSError as error:
            raise UserError(f"{self.path}: cannot read the work directory: {error.strerror}") from error

    @classmethod
    def existing(cls, path: str | os.PathLike[str]) -> Workdir:
        """Return the work directory that a user means, in which farmers of any kind have worked.

        Raises
        ------
        UserError
            If it is none.
        """
        workdir = cls(cls.meant(path).path)
        if not workdir.is_known:
            reason = "no farm.ini and no toprocess here" if workdir.path.is_dir() else "no such directory"
            if os.path.isfile(path):
                reason += f"; {path} is a file: if it is a tasklist, give the --workdir with which it was begun"
            raise UserError(f"{workdir.path}: not a work directory: {reason}")
        if not workdir.farmers.exists():  # only PyTaskFarmer worked in it
            workdir._folders = [workdir.path]
        return workdir

    def create(self, logs: int = 0) -> None:
        """Make the work directory and its folders where they are missing; a new one gets folders for so many logs.

        Raises
        ------
        UserError
            If it cannot be made or written to.
        """
        try:
            self.path.mkdir(exist_ok=True)
            for folder in (self.logs, self.farmers):
                make_folder(folder)
            if logs > MANY_LOGS and not self.is_known:
                make_folder(self.logs / "0")
            with temporary_file(self.farmers / "probe"):
                pass
        except FileNotFoundError as error:
            raise UserError(f"{self.path}: cannot make the work directory: {self.path.parent} is missing") from error
        except OSError as error:
            raise UserError(f"{self.path}: cannot write to the work directory: {error.strerror}") from error
        self._check_access()

    def _check_access(self) -> None:
        """Refuse a work directory in which another user's files would make this farmer fail later."""
        lists = (self.toprocess, self.added, self.finished, self.failed, self.removed)
        for path in (self.logs, self.farmers, self.tasks_added, self.settings, self.timeline, *lists):
            if os.access(path, os.R_OK | os.W_OK, effective_ids=True) or not os.access(path, os.F_OK):
                continue
            import shlex

            owner = path.stat().st_uid
            raise UserError(
                f"{path}: cannot read and write it: it belongs to user {user_name(owner)}, who can let the group of the"
                f" directory work there: chmod -R g+rwX {shlex.quote(str(self.path))}"
            )

    def log_folder(self, task_id: int) -> Path:
        """Return the folder where farmers of ours put a task's log: one for each thousand of tasks, if there are such."""
        if self._has_log_folders is None:
            self._has_log_folders = (self.logs / "0").is_dir()
        return self.logs / str(task_id // LOGS_PER_FOLDER) if self._has_log_folders else self.logs

    def log(self, task_id: int) -> Path:
        """Return the path of a task's log; it is in `logs` itself if a PyTaskFarmer wrote the last one."""
        own, plain = self.log_folder(task_id) / f"log_{task_id}", self.logs / f"log_{task_id}"
        there = [path for path in (own, plain) if os.path.lexists(path)] if self._has_log_folders else []
        return max(there, key=lambda path: path.lstat().st_mtime, default=own)

    def refresh(self, *, is_deep: bool = True) -> None:
        """Make this node's file system client look at the directories anew, or only at the first one.

        On NFS a name that was looked up before it existed stays missing for up to 30 s, unless its
        directory is opened.
        """
        self.refreshed += 1
        for folder in self._folders if is_deep else [self.path]:
            os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
