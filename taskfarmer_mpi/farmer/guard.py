"""A farmer's side of its guardian: the process that ends the farmer's tasks when the farmer is gone."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from contextlib import suppress

from taskfarmer_mpi.common.causes import describe_cause
from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.wording import say_duration
from taskfarmer_mpi.errors import FarmError, FencedError, ShortageError, is_shortage
from taskfarmer_mpi.farmer.process_start import ALL_SIGNALS
from taskfarmer_mpi.lives import guardian, lease
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.lives.owner import FAMILY, Owner

log = Log(__name__)

MAX_GUARDIANS = 10
"""How many guardians a farmer starts before it gives up."""
PATIENCE = 2.0
"""How long a task waits for a guardian that has to see to the lease first, and a farmer for the end of its guardian [s]."""


class Guard:
    """Keeps a guardian alive as long as the farmer lives."""

    def __init__(self, owner: Owner, task_lock: LifeLock, lease_time: float) -> None:
        """Start the first guardian of a farmer whose tasks hold `task_lock`.

        Parameters
        ----------
        owner
            The farmer.
        task_lock
            The lock that its tasks hold.
        lease_time
            After how long without an answer the file system gives that lock away [s]; 0 if it never does.
        """
        self._owner = owner
        self._task_lock = task_lock
        self._lease = lease_time
        self._sheet = _first_sheet(task_lock) if lease_time else None
        task_lock.lease = self._sheet
        self._started = 0
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._said = os.memfd_create("guardian")
        self._life_end, self._life = os.pipe()
        self.pid = 0
        """The guardian's process; 0 while there is none."""
        self.lack: str | None = None
        self.refusal: OSError | None = None
        """Why none can be started at the moment, if so."""
        self.renew()

    def _start(self) -> int:
        sheet = [] if self._sheet is None else [(os.POSIX_SPAWN_DUP2, self._sheet.fd, guardian.SHEET)]
        pid = os.posix_spawn(
            sys.executable,
            guardian.command(self._owner, self._lease),
            {name: value for name, value in os.environ.items() if name != FAMILY},  # it outlives a farm above
            file_actions=[
                (os.POSIX_SPAWN_DUP2, self._life_end, guardian.PIPE),
                (os.POSIX_SPAWN_DUP2, self._null, 1),
                (os.POSIX_SPAWN_DUP2, self._said, 2),
                (os.POSIX_SPAWN_DUP2, self._task_lock.fd, guardian.LOCK),
                *sheet,
            ],
            setsid=True,
            setsigmask=ALL_SIGNALS,  # nothing but the farmer's end is its business
            setsigdef=ALL_SIGNALS,
        )
        self._started += 1
        return pid

    def see_end(self, status: int) -> None:
        """Take into account that the guardian has died, with this exit status."""
        cause = describe_cause(os.waitstatus_to_exitcode(status))
        log.warning("the guardian of this farmer's tasks died, %s; starting another one", self._last_words() or cause)
        self.pid = 0

    def _last_words(self) -> str:
        """Return the last line that a guardian has said; empty if none said anything."""
        lines = os.pread(self._said, 1 << 16, 0).decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def renew(self) -> None:
        """Start another guardian if there is none; in a shortage, or during an upgrade, there is still none.

        Raises
        ------
        FarmError
            If they die again and again, or none can be started.
        """
        if self.pid:
            return
        if self._started >= MAX_GUARDIANS:
            raise FarmError(
                f"the guardian of this farmer's tasks dies again and again: {self._last_words() or 'by signals'}"
            )
        self.lack, self.refusal = _missing_part(), None
        if self.lack is not None:
            return
        try:
            self.pid = self._start()
        except OSError as error:
            if not is_shortage(error):
                raise FarmError(f"cannot start the guardian of this farmer's tasks: {error.strerror}") from error
            self.lack, self.refusal = error.strerror, error

    def see_start(self, slot: int, task: int) -> None:
        """Take into account that a task is about to start.

        Raises
        ------
        ShortageError
            If it may not, as its file system has not answered for long.
        """
        if self._sheet is not None:
            self._await_watch(self._sheet)
            if self._is_overdue(self._sheet):
                raise ShortageError(f"{self._task_lock.path}: the file system does not answer")
            self._sheet.note(slot, task)

    def _await_watch(self, sheet: lease.Sheet) -> None:
        """Wait until the guardian sees to the lease: it may need a moment to begin, or hang where the server is away."""
        deadline = time.monotonic() + PATIENCE
        while not self._is_watched(sheet):
            if time.monotonic() > deadline:
                raise ShortageError("the guardian of this farmer's tasks has not begun")
            time.sleep(0.005)

    def _is_watched(self, sheet: lease.Sheet) -> bool:
        return self.pid != 0 and sheet.watcher() == self.pid

    def see_task_end(self, slot: int) -> None:
        """Take into account that no task runs in a slot any more."""
        if self._sheet is not None:
            self._sheet.note(slot, None)

    def lease_end(self) -> FencedError | None:
        """Return why other nodes can have the tasks that run here, if so: then the guardian kills them, or has."""
        if self._sheet is None:
            return None
        end = self._sheet.end()
        is_unseen = end is None and not self._is_watched(self._sheet) and self._sheet.running_tasks()
        if is_unseen and self._is_overdue(self._sheet):
            end = lease.SILENCE
        if end is None:
            return None
        limit = say_duration(self._lease * lease.LIMIT)
        reason = "has lost its lock" if end == lease.REFUSAL else f"had no answer of its file system for {limit}"
        return FencedError(
            f"{self._task_lock.path}: this farmer {reason}, so its tasks were killed before other nodes run them"
            f" (lease of {say_duration(self._lease)}): was the node cut off, or the server away?"
        )

    def _is_overdue(self, sheet: lease.Sheet) -> bool:
        return lease.is_over(lease.now(), sheet.proven(), -lease.WAKING, self._lease)

    def let_go(self) -> None:
        """Have the guardian let the task lock go: all tasks are dead, and others may take them over."""
        with suppress(OSError):
            os.write(self._life, guardian.LET_GO)

    def send_home(self) -> None:
        """End the guardian: no task is left that it would have to end."""
        with suppress(OSError):
            os.write(self._life, guardian.FAREWELL)
        for fd in (self._life, self._life_end, self._null, self._said):
            os.close(fd)
        if self._sheet is not None:
            os.close(self._sheet.fd)
        if self.pid:
            with suppress(ChildProcessError):
                self._await_end(time.monotonic() + PATIENCE)

    def _await_end(self, deadline: float) -> None:
        """Wait until the guardian is gone; kill one that hangs, as where the server is away."""
        is_killed = False
        while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                if is_killed:
                    return
                os.kill(self.pid, signal.SIGKILL)
                is_killed, deadline = True, deadline + PATIENCE
            time.sleep(0.001)


def _first_sheet(task_lock: LifeLock) -> lease.Sheet:
    """Prove for the first time that a lock is held."""
    sent = lease.now()
    try:
        lease.prove(task_lock.fd)
    except OSError as error:
        raise FarmError(f"{task_lock.path}: cannot write: {error.strerror}") from error
    sheet = lease.Sheet.create(sent)
    fd = fcntl.fcntl(sheet.fd, fcntl.F_DUPFD_CLOEXEC, guardian.SHEET + 1)  # none of those that a guardian gets
    os.close(sheet.fd)
    return lease.Sheet(fd)


def _missing_part() -> str | None:
    """Return which part of the installation is gone, if one is: then it may come back, as another version of it."""
    gone = next((path for path in guardian.PARTS if not os.path.exists(path)), None)
    return None if gone is None else f"{gone} is gone (was the package removed or replaced?)"
