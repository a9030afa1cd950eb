"""A farmer's side of its guardian: the process that ends the farmer's tasks when the farmer is gone."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress

from taskfarmer_mpi.errors import FarmError, is_shortage
from taskfarmer_mpi.farmer.process_start import ALL_SIGNALS
from taskfarmer_mpi.lives import guardian
from taskfarmer_mpi.lives.life_locks import LifeLock

log = logging.getLogger(__name__)

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
        self._life_end, self._life = os.pipe()
        self.pid = self._start()
        """The guardian's process; 0 while there is none."""

    def _start(self) -> int:
        owner = self._owner
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", guardian.__file__, owner.farmer, owner.lock_path, owner.workdir],
            {name: value for name, value in os.environ.items() if name != guardian.FAMILY},  # it outlives a farm above
            file_actions=[
                (os.POSIX_SPAWN_DUP2, self._life_end, guardian.PIPE),
                (os.POSIX_SPAWN_DUP2, self._null, 1),
                (os.POSIX_SPAWN_DUP2, self._null, 2),
                (os.POSIX_SPAWN_DUP2, self._task_lock.fd, guardian.LOCK),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=ALL_SIGNALS,
        )
        self._started += 1
        return pid

    def see_end(self) -> None:
        """Take into account that the guardian has died."""
        log.warning("the guardian of this farmer's tasks died; starting another one")
        self.pid = 0

    def renew(self) -> None:
        """Start another guardian if there is none; in a shortage there is still none.

        Raises
        ------
        FarmError
            If they die again and again, or none can be started.
        """
        if self.pid:
            return
        if self._started >= MAX_GUARDIANS:
            raise FarmError("the guardian of this farmer's tasks dies again and again")
        try:
            self.pid = self._start()
        except OSError as error:
            if not is_shortage(error):
                raise FarmError(f"cannot start the guardian of this farmer's tasks: {error.strerror}") from error

    def let_go(self) -> None:
        """Have the guardian let the task lock go: all tasks are dead, and others may take them over."""
        with suppress(OSError):
            os.write(self._life, guardian.LET_GO)

    def send_home(self) -> None:
        """End the guardian: no task is left that it would have to end."""
        with suppress(OSError):
            os.write(self._life, guardian.FAREWELL)
        for fd in (self._life, self._life_end, self._null):
            os.close(fd)
        if self.pid:
            with suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
