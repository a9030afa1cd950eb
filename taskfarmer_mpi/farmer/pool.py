"""The slots of one farmer: start tasks in them, see their ends, stop them all."""

from __future__ import annotations

import errno
import heapq
import itertools
import logging
import os
import resource
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from taskfarmer_mpi.common.programs import is_asking
from taskfarmer_mpi.errors import FarmError, ShortageError, farm_error, is_shortage
from taskfarmer_mpi.farmer import guardian
from taskfarmer_mpi.farmer.script_file import script_file
from taskfarmer_mpi.runners.shell import Launch
from taskfarmer_mpi.tasklists.task import Run, Task
from taskfarmer_mpi.workdir.files import Workdir, open_file, share, write_all
from taskfarmer_mpi.workdir.locks import TASK_LOCK_FD, LifeLock

log = logging.getLogger(__name__)

LAUNCHER_PREFIXES = (
    "PMI_",
    "PMI2_",
    "PMIX_",
    "OMPI_",
    "PRTE_",
    "MPI_LOCAL",
    "MPIR_",
    "MPIEXEC_",
    "HYDRA_",
    "HYDI_",
    "PALS_",
)
"""Variables by which an MPI launcher tells a process that it is a rank; a task that is an MPI program must not see them."""
USER_PREFIXES = ("OMPI_ALLOW_RUN_AS_ROOT", "PRTE_MCA_")
"""Variables that look like those but are a user's settings, which a task's own mpiexec needs."""

MAX_GUARDIANS = 10
"""How many guardians a farmer starts before it gives up."""
NOT_FOUND = 127
"""Exit code of a task whose command is not there, as in a shell."""

CANNOT_EXECUTE = 126
"""Exit code of a task whose command is there, or may be, but could not be started, as in a shell."""

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

_ALL_SIGNALS = [number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)]


def without_launcher(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what a launcher tells its ranks."""
    return {
        name: value
        for name, value in environ.items()
        if name.startswith(USER_PREFIXES) or not name.startswith(LAUNCHER_PREFIXES)
    }


def task_environment(environ: Mapping[str, str], farmer: str, workdir: Workdir, rank: int) -> dict[str, str]:
    """Return the environment that all tasks of a farmer share."""
    kept = without_launcher(environ)
    family = f"{kept[guardian.FAMILY]}:{farmer}" if kept.get(guardian.FAMILY) else farmer
    return kept | {
        guardian.FAMILY: family,
        "TASKFARMER_FARMER": farmer,
        "TASKFARMER_RANK": str(rank),
        "TASKFARMER_WORKDIR": str(workdir.path),
    }


def _encode(word: str) -> str | bytes:
    return word if word.isascii() else word.encode("utf-8", "surrogateescape")


def _is_about_command(error: OSError) -> bool:
    """Whether the kernel refused this very program; with anything else the next task would meet the same."""
    return error.errno in _PROGRAM_ERRORS


def _write_reason(log_fd: int, reason: str) -> None:
    with suppress(OSError):
        write_all(log_fd, f"taskfarmer_mpi: {reason}\n".encode("utf-8", "surrogateescape"))


class _Running(NamedTuple):
    task: Task
    slot: int
    started: float
    patience: float


class Pool:
    """A fixed number of slots, each of which runs one task at a time in a session of its own."""

    def __init__(self, *, slots: int, farmer: str, task_lock: LifeLock, workdir: Workdir, environ: dict[str, str]) -> None:
        """Start the guardian; no task runs yet.

        Parameters
        ----------
        slots
            How many tasks run at the same time.
        farmer
            The farmer's name, by which its tasks' processes are found.
        task_lock
            The lock that all tasks inherit.
        workdir
            Where the logs go.
        environ
            What `task_environment` returned.
        """
        self._farmer = farmer
        self._task_lock = task_lock
        self._environ = {os.fsencode(name): os.fsencode(value) for name, value in environ.items()}
        self._logs = workdir.logs
        self._log_prefix = f"{workdir.logs}/log_"
        self._shares_logs = bool(workdir.logs.stat().st_mode & stat.S_IWGRP)
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._free = list(range(slots))
        self._guardians = 0
        self.has_survivors = False
        """Whether processes of tasks lived on after they were killed."""
        self.others: dict[int, int] = {}
        """Exit status by process of children of this farmer that were no tasks and have ended."""
        self._running: dict[int, _Running] = {}
        self.refresh()
        self._life_end, self._life = os.pipe()
        self._guardian = self._start_guardian()

    @property
    def free(self) -> int:
        """How many slots run nothing."""
        return len(self._free)

    @property
    def busy(self) -> int:
        """How many slots run a task."""
        return len(self._running)

    @property
    def next_slot(self) -> int:
        """The slot that the next task gets."""
        return self._free[0]

    def refresh(self) -> None:
        """Keep what the MPI library and the launcher left open from tasks, and note this process's own peak memory."""
        with suppress(OSError):  # no descriptor is left to look with
            for name in os.listdir("/proc/self/fd"):
                if int(name) > 2:
                    with suppress(OSError):
                        os.set_inheritable(int(name), False)
        self._own_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def _start_guardian(self) -> int:
        """Start the process that ends this farmer's tasks when the farmer is gone."""
        guardian_pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", guardian.__file__, self._farmer, str(self._task_lock.path), "3"],
            os.environ,
            file_actions=[
                *((os.POSIX_SPAWN_DUP2, self._null, fd) for fd in range(3)),
                (os.POSIX_SPAWN_DUP2, self._life_end, 3),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=_ALL_SIGNALS,
        )
        self._guardians += 1
        return guardian_pid

    def start(self, task: Task, launch: Launch) -> Run | None:
        """Start a task in the next free slot.

        Returns
        -------
        The run, if it is over because the command cannot be started: its log says why.

        Raises
        ------
        ShortageError
            If there are no more processes, or the like, at the moment.
        FarmError
            If it would be the same with the next task: a full disk, logs that this user cannot write.
        """
        if not self._guardian:
            raise ShortageError("cannot start the guardian of this farmer's tasks")
        log_fd = self._open_log(task)
        if log_fd is None:
            return self._cannot_start(task, CANNOT_EXECUTE)
        slot = heapq.heappop(self._free)
        started = time.time()
        try:
            pid = self._spawn(task, slot, launch, log_fd)
        except (OSError, ValueError) as error:
            heapq.heappush(self._free, slot)
            if isinstance(error, OSError) and not _is_about_command(error):
                raise farm_error("cannot start a process", error) from error
            reason = error.strerror if isinstance(error, OSError) else str(error)
            _write_reason(log_fd, f"cannot start {launch.program[:200]}: {reason}")
            code = NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_EXECUTE
            return self._cannot_start(task, code, started)
        finally:
            os.close(log_fd)
        self._running[pid] = _Running(task, slot, started, launch.patience)
        return None

    def refuse(self, task: Task, reason: str) -> Run:
        """Return the run of a task of which no command can be made; its log gets the reason."""
        log_fd = self._open_log(task)
        if log_fd is not None:
            _write_reason(log_fd, reason)
            os.close(log_fd)
        return self._cannot_start(task, CANNOT_EXECUTE)

    def _open_log(self, task: Task) -> int | None:
        path = f"{self._log_prefix}{task.id}"
        try:
            fd = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        except OSError as error:
            if not (isinstance(error, IsADirectoryError) or os.path.islink(path)):
                raise farm_error(f"{path}: cannot write the log", error) from error
            log.warning("%s: cannot write the log: %s", path, error.strerror)
            return None
        if self._shares_logs:
            share(fd, self._logs)
        return fd

    def _cannot_start(self, task: Task, code: int, started: float | None = None) -> Run:
        now = time.time()
        return Run(task, self._free[0], started or now, now, code)

    def _spawn(self, task: Task, slot: int, launch: Launch, log_fd: int) -> int:
        environ = self._environ
        environ[b"PROC_NUMBER"] = environ[b"TASKFARMER_TASK"] = b"%d" % task.id
        environ[b"TASKFARMER_SLOT"] = b"%d" % slot
        if launch.environ:
            environ = environ | {os.fsencode(name): os.fsencode(value) for name, value in launch.environ.items()}
        try:
            with script_file(launch.script) as script_actions:
                return os.posix_spawn(
                    _encode(launch.program),
                    list(map(_encode, launch.argv)),
                    environ,
                    file_actions=[
                        (os.POSIX_SPAWN_DUP2, self._null, 0),
                        (os.POSIX_SPAWN_DUP2, log_fd, 1),
                        (os.POSIX_SPAWN_DUP2, log_fd, 2),
                        (os.POSIX_SPAWN_DUP2, self._task_lock.fd, TASK_LOCK_FD),
                        *script_actions,
                    ],
                    setsid=True,
                    setsigmask=[],
                    setsigdef=_ALL_SIGNALS,
                )
        except OSError as error:
            if launch.fallback is None or not _is_about_command(error):
                raise
            return self._spawn(task, slot, launch.fallback, log_fd)

    def reap(self) -> list[Run]:
        """Return the runs that have ended since the last call; their slots are free."""
        runs = []
        for pid, status, usage in self._ended():
            if pid == self._guardian:
                log.warning("the guardian of this farmer's tasks died; starting another one")
                self._guardian = 0
            running = self._running.pop(pid, None)
            if running is None:
                self.others[pid] = status
                continue
            heapq.heappush(self._free, running.slot)
            runs.append(
                Run(
                    task=running.task,
                    slot=running.slot,
                    started=running.started,
                    ended=max(time.time(), running.started),  # a clock can be set back
                    returncode=os.waitstatus_to_exitcode(status),
                    cpu=usage.ru_utime + usage.ru_stime,
                    max_rss=usage.ru_maxrss if usage.ru_maxrss > self._own_rss else 0,
                )
            )
        if not self._guardian:
            self._renew_guardian()
        return runs

    def _renew_guardian(self) -> None:
        if self._guardians >= MAX_GUARDIANS:
            raise FarmError("the guardian of this farmer's tasks dies again and again")
        try:
            self._guardian = self._start_guardian()
        except OSError as error:
            if not is_shortage(error):  # else the next reap tries it again, and no task is started before
                raise FarmError(f"cannot start the guardian of this farmer's tasks: {error.strerror}") from error

    def _ended(self) -> Iterator[tuple[int, int, resource.struct_rusage]]:
        """Yield process, status and usage of children that have ended; while another thread awaits one, of own ones only."""
        for awaited in filter(None, [self._guardian, *self._running]) if is_asking() else itertools.repeat(-1):
            try:
                pid, status, usage = os.wait4(awaited, os.WNOHANG)
            except ChildProcessError:
                return
            if pid:
                yield pid, status, usage
            elif awaited == -1:
                return

    def kill(self, patience: float) -> list[Run]:
        """Kill every process of every task and return the runs that this ended.

        All are killed at once, but those whose launch has patience get SIGTERM first and that time to end.

        Parameters
        ----------
        patience
            How long to wait for the last one to die [s]; what does not die then keeps the task lock, and `has_survivors`.
        """
        runs = self._terminate()
        self._signal_tasks(signal.SIGKILL, self._running)
        try:
            are_gone = guardian.kill_processes(self._farmer, str(self._task_lock.path), patience)
        except OSError:  # no descriptor is left to look with: the guardian does it once this farmer is gone
            are_gone = False
        deadline = time.monotonic() + patience
        runs += self._reap_until(deadline, lambda: not self._running)
        self.has_survivors = bool(self._running) or not are_gone
        return runs

    def _terminate(self) -> list[Run]:
        """Let those programs end by themselves that can clean up when they are told to."""
        asked = {pid: running.patience for pid, running in self._running.items() if running.patience > 0}
        if not asked:
            return []
        self._signal_tasks(signal.SIGTERM, asked)
        return self._reap_until(time.monotonic() + max(asked.values()), lambda: asked.keys().isdisjoint(self._running))

    def _signal_tasks(self, number: signal.Signals, pids: Iterable[int]) -> None:
        for pid in pids:
            with suppress(OSError):  # it is gone, or it became another user's
                os.killpg(pid, number)

    def _reap_until(self, deadline: float, is_done: Callable[[], bool]) -> list[Run]:
        runs = self.reap()
        while not is_done() and time.monotonic() < deadline:
            time.sleep(0.002)
            runs += self.reap()
        return runs

    def close(self) -> None:
        """Send the guardian home: no task is left that it would have to end."""
        with suppress(OSError):
            os.write(self._life, b".")
        os.close(self._life)
        os.close(self._life_end)
        os.close(self._null)
        if self._guardian:
            with suppress(ChildProcessError):
                os.waitpid(self._guardian, 0)
