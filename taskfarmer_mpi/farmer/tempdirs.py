"""A directory of its own for each task, on a fast disk of the node."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from queue import SimpleQueue

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.errors import UserError, farm_error
from taskfarmer_mpi.workdir.files import node_name

log = Log(__name__)

_PREFIX = "taskfarmer-"
_RUNNING, _FAILED = "task_", "failed_"
"""What the names of tasks' directories begin with; those that are kept have the second one."""
LAST_WAIT = 10.0
"""How long a farmer that leaves waits until all is removed [s]; the next farmer on its node does the rest."""


def find_parent(text: str) -> str:
    """Return the directory that a user means on this node, whose variables it may name.

    Raises
    ------
    UserError
        If it is no directory in which this user can make others.
    """
    path = os.path.expandvars(text)
    reason = ""
    if not os.path.isabs(path):
        reason = "not an absolute path" if "$" not in path else "a variable that is not set"
    elif not os.path.isdir(path):
        reason = "no such directory"
    elif not os.access(path, os.W_OK | os.X_OK, effective_ids=True):
        reason = "no directory can be made there"
    if reason:
        raise UserError(f"--tempdir: {path} on {node_name()}: {reason}")
    return path


class TempDirs:
    """The directories of one farmer's tasks, in one that only this user can enter, and that is locked while it lives."""

    def __init__(self, parent: str, farmer: str) -> None:
        """Make the farmer's own directory, and remove what dead farmers left on this node.

        Raises
        ------
        OSError
            If it cannot be made.
        """
        _sweep(parent)
        self._path, self._fd = _make_locked(f"{_PREFIX}{farmer}-", parent)
        self._open: dict[int, str] = {}
        """Directory by task."""
        self._count = 0
        self._removals: SimpleQueue[str | None] = SimpleQueue()
        self._remover: threading.Thread | None = None

    def make(self, task: int) -> str:
        """Return the path of a new, empty directory for a task.

        Raises
        ------
        ShortageError, FarmError
            If it cannot be made.
        """
        self._count += 1
        path = f"{self._path}/{_RUNNING}{task}_{self._count}"
        try:
            os.mkdir(path, 0o700)
        except OSError as error:
            raise farm_error(f"{path}: cannot make the directory of a task", error) from error
        self._open[task] = path
        return path

    def end(self, task: int, *, is_kept: bool) -> None:
        """Remove the directory of a task, or keep it for its user, unless it is empty."""
        path = self._open.pop(task, None)
        if path is None:
            return
        try:
            os.rmdir(path)
        except FileNotFoundError:
            pass  # the task itself has removed or moved it
        except OSError:
            if is_kept:
                kept = f"{self._path}/{_FAILED}{os.path.basename(path)[len(_RUNNING) :]}"
                with suppress(OSError):
                    os.rename(path, kept)
                log.info("task %d failed: its directory is kept: %s on %s", task, kept, node_name())
            else:
                self._remove(path)

    def _remove(self, path: str) -> None:
        """Have a thread remove it: that can take longer than tasks should wait."""
        if self._remover is None:
            self._remover = threading.Thread(target=self._work, daemon=True)
            self._remover.start()
        self._removals.put(path)

    def _work(self) -> None:
        while (path := self._removals.get()) is not None:
            shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        """Remove all that is left of tasks that did not fail."""
        for task in list(self._open):
            self.end(task, is_kept=False)
        if self._remover is not None:
            self._removals.put(None)
            self._remover.join(LAST_WAIT)
        with suppress(OSError):
            os.rmdir(self._path)
        os.close(self._fd)


def _make_locked(prefix: str, parent: str) -> tuple[str, int]:
    """Make a directory and lock it; return its path and descriptor.

    As long as it is not locked, another farmer that begins at the same moment can take it for a dead one's and remove
    it: then one more is made.
    """
    while True:
        path = tempfile.mkdtemp(prefix=prefix, dir=parent)
        with suppress(FileNotFoundError):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_swept = os.fstat(fd).st_nlink == 0
            except OSError as error:
                is_swept = isinstance(error, BlockingIOError)  # else nobody can lock there, and nothing is swept
            if not is_swept:
                return path, fd
            os.close(fd)


def _lock(fd: int) -> bool:
    """Lock a directory for as long as it is open; return whether that was possible."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sweep(parent: str) -> None:
    """Remove what this user's farmers left that died on this node; what they kept of failed tasks stays."""
    deadline = time.monotonic() + LAST_WAIT
    for entry in os.scandir(parent):
        if not entry.name.startswith(_PREFIX):
            continue
        with suppress(OSError):
            fd = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.fstat(fd).st_uid == os.geteuid() and _lock(fd):
                    _clear(entry.path, deadline)
            finally:
                os.close(fd)


def _clear(path: str, deadline: float) -> None:
    for entry in os.scandir(path):
        if entry.name.startswith(_RUNNING) and time.monotonic() < deadline:
            shutil.rmtree(entry.path, ignore_errors=True)
    os.rmdir(path)
