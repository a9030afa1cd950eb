"""A farmer's side of its guardian: the process that ends the farmer's tasks when the farmer is gone."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from taskfarmer_mpi.common.causes import describe_cause
from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.errors import FarmError, is_shortage
from taskfarmer_mpi.farmer.process_start import ALL_SIGNALS
from taskfarmer_mpi.lives import guardian
from taskfarmer_mpi.lives.life_locks import LifeLock

log = Log(__name__)

MAX_GUARDIANS = 10
"""How many guardians a farmer starts before it gives up."""


class Guard:
    """Keeps a guardian alive as long as the farmer lives."""

    def __init__(self, owner: guardian.Owner, task_lock: LifeLock) -> None:
        """Start the first guardian of a farmer whose tasks hold `task_lock`."""
        self._owner = owner
        self._task_lock = task_lock
        self._started = 0
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._said = os.memfd_create("guardian")
        self._life_end, self._life = os.pipe()
        self.pid = 0
        """The guardian's process; 0 while there is none."""
        self.lack: str | None = None
        """Why none can be started at the moment, if so."""
        self.renew()

    def _start(self) -> int:
        owner = self._owner
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", guardian.__file__, owner.farmer, owner.lock_path, owner.workdir],
            {name: value for name, value in os.environ.items() if name != guardian.FAMILY},  # it outlives a farm above
            file_actions=[
                (os.POSIX_SPAWN_DUP2, self._life_end, guardian.PIPE),
                (os.POSIX_SPAWN_DUP2, self._null, 1),
                (os.POSIX_SPAWN_DUP2, self._said, 2),
                (os.POSIX_SPAWN_DUP2, self._task_lock.fd, guardian.LOCK),
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
        self.lack = _missing_part()
        if self.lack is not None:
            return
        try:
            self.pid = self._start()
        except OSError as error:
            if not is_shortage(error):
                raise FarmError(f"cannot start the guardian of this farmer's tasks: {error.strerror}") from error
            self.lack = error.strerror

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
        if self.pid:
            with suppress(ChildProcessError):
                os.waitpid(self.pid, 0)


def _missing_part() -> str | None:
    """Return which part of the installation is gone, if one is: then it may come back, as another version of it."""
    gone = next((path for path in (sys.executable, guardian.__file__) if not os.path.exists(path)), None)
    return None if gone is None else f"{gone} is gone (was the package removed or replaced?)"
