"""How a task becomes a process: its log, its environment, a session of its own."""

from __future__ import annotations

import errno
import os
import signal
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.errors import farm_error
from taskfarmer_mpi.farmer.script_file import Action, script_file
from taskfarmer_mpi.lives.life_locks import TASK_LOCK_FD, LifeLock
from taskfarmer_mpi.runners.shell import Launch, launch_bash
from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.workdir.files import Workdir, make_folder, open_file, share, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.resources.equipment import Equipment
    from taskfarmer_mpi.resources.portions import Portion

log = Log(__name__)

ALL_SIGNALS = [number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)]

_PROGRAM_ERRORS = frozenset(
    {
        errno.E2BIG,
        errno.EACCES,
        errno.EINVAL,
        errno.EISDIR,
        errno.ELIBBAD,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOEXEC,
        errno.ENOTDIR,
        errno.EPERM,
        errno.ETXTBSY,
    }
)
"""What `execve` says of one program; see its manual page."""


class ProcessStart:
    """Starts the processes of one farmer's tasks."""

    def __init__(
        self,
        task_lock: LifeLock,
        workdir: Workdir,
        environ: Mapping[str, str],
        first_node_slot: int = 0,
        portion: Portion | None = None,
        has_logs: bool = True,
    ) -> None:
        """Prepare what all tasks share.

        Parameters
        ----------
        task_lock
            The lock that all tasks inherit.
        workdir
            Where the logs go.
        environ
            What `task_environment` returned.
        first_node_slot
            The number of slot 0 among the slots of its node.
        portion
            What each slot has for itself; None if nothing.
        has_logs
            Whether what tasks write is kept.
        """
        self._task_lock = task_lock
        self._equipment: Equipment | None = None
        if portion is not None:
            from taskfarmer_mpi.resources.equipment import Equipment

            environ = portion.without_other_devices(environ)
            self._equipment = Equipment(portion, environ)
        self._environ = {os.fsencode(name): os.fsencode(value) for name, value in environ.items()}
        self._first_node_slot = first_node_slot
        self._logs = workdir.logs
        self._folder_of = workdir.log_folder
        self._shares_logs = bool(workdir.logs.stat().st_mode & stat.S_IWGRP)
        self._has_logs = has_logs
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)

    def open_log(self, task: Task) -> int | None:
        """Return a descriptor for what a task writes, as a rule its empty log; None if only this task's cannot be opened.

        Raises
        ------
        FarmError
            If it would be the same with the log of the next task.
        """
        path = f"{self._folder_of(task.id)}/log_{task.id}"
        if not self._has_logs:
            with suppress(OSError):  # what an earlier run has left would be taken for this one's
                os.unlink(path)
            return os.dup(self._null)
        try:
            fd = self._open_for_writing(path)
        except OSError as error:
            if not _is_taken(path):
                raise farm_error(f"{path}: cannot write the log", error) from error
            log.warning("%s: cannot write the log: %s", path, error.strerror)
            return None
        if self._shares_logs:
            share(fd, self._logs)
        return fd

    @staticmethod
    def _open_for_writing(path: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        try:
            return open_file(path, flags)
        except FileNotFoundError:  # the folder of its thousand, perhaps
            folder = Path(path).parent
            if not folder.name.isdigit():
                raise
            make_folder(folder)
            return open_file(path, flags)

    def spawn(self, task: Task, slots: tuple[int, ...], launch: Launch, log_fd: int) -> int:
        """Start the process of a task, in the first of the slots that it takes, and return its number.

        Raises
        ------
        OSError, ValueError
            If the kernel does not take the command, nor that of `Launch.fallback`.
        """
        if self._equipment is not None:
            with self._equipment.at_work(slots):
                return self._spawn_or_fall_back(task, slots[0], launch, log_fd)
        return self._spawn_or_fall_back(task, slots[0], launch, log_fd)

    def _spawn_or_fall_back(self, task: Task, slot: int, launch: Launch, log_fd: int) -> int:
        try:
            return self._spawn(task, slot, launch, log_fd)
        except OSError as error:
            if not launch.fallback or not is_about_command(error):
                raise
            return self._spawn(task, slot, replace(launch_bash(launch.fallback), environ=launch.environ), log_fd)

    def _spawn(self, task: Task, slot: int, launch: Launch, log_fd: int) -> int:
        environ = self._environ
        environ[b"PROC_NUMBER"] = environ[b"TASKFARMER_TASK"] = b"%d" % task.id
        environ[b"TASKFARMER_SLOT"] = b"%d" % slot
        environ[b"TASKFARMER_NODE_SLOT"] = b"%d" % (self._first_node_slot + slot)
        if self._equipment is not None:
            environ = environ | self._equipment.variables(slot)
        if launch.environ:
            environ = environ | {os.fsencode(name): os.fsencode(value) for name, value in launch.environ.items()}
        actions = [
            (os.POSIX_SPAWN_DUP2, self._null, 0),
            (os.POSIX_SPAWN_DUP2, log_fd, 1),
            (os.POSIX_SPAWN_DUP2, log_fd, 2),
            (os.POSIX_SPAWN_DUP2, self._task_lock.fd, TASK_LOCK_FD),
        ]
        if not launch.script:
            return _spawn(launch, environ, actions)
        with script_file(launch.script) as action:
            return _spawn(launch, environ, [*actions, action])

    def close(self) -> None:
        """Start no more."""
        os.close(self._null)


def _spawn(launch: Launch, environ: Mapping[bytes, bytes], actions: list[Action]) -> int:
    return os.posix_spawn(
        _encode(launch.program),
        list(map(_encode, launch.argv)),
        environ,
        file_actions=actions,
        setsid=True,
        setsigmask=[],
        setsigdef=ALL_SIGNALS,
    )


def is_about_command(error: OSError) -> bool:
    """Whether the kernel refused this very program; with anything else the next task would meet the same."""
    return error.errno in _PROGRAM_ERRORS


def _is_taken(path: str) -> bool:
    """Whether something else than a file is at the place of a log: a directory, a link, a pipe."""
    try:
        return not stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def write_reason(log_fd: int, reason: str) -> None:
    """Say in a task's log why it did not run; a log that cannot be written is no reason to fail."""
    with suppress(OSError):
        write_all(log_fd, f"taskfarmer_mpi: {reason}\n".encode("utf-8", "surrogateescape"))


def _encode(word: str) -> str | bytes:
    return word if word.isascii() else word.encode("utf-8", "surrogateescape")
