"""Commands that a farmer runs on its node before its first task and after its last one."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from taskfarmer_mpi.common.causes import describe_cause
from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.farmer.pool import Pool
from taskfarmer_mpi.farmer.process_start import ALL_SIGNALS
from taskfarmer_mpi.lives.life_locks import TASK_LOCK_FD, LifeLock
from taskfarmer_mpi.workdir.files import node_name

log = Log(__name__)

_LOOK = 0.05
"""How often it is looked whether a command has ended [s]."""


class NodeCommand:
    """A command of the user's, in a session of its own, with the environment of tasks; it writes to the farmer's stderr.

    It dies with its farmer and at a stop, as tasks do.
    """

    def __init__(
        self, option: str, command: str, pool: Pool, environ: Mapping[str, str], task_lock: LifeLock | None
    ) -> None:
        """Start it.

        Raises
        ------
        OSError
            If that is not possible.
        """
        self._option = option
        self._pool = pool
        self._code: int | None = None
        self._pid = os.posix_spawn(
            "/bin/bash",
            ["/bin/bash", "-c", command],
            environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, 2, 1),
                *([(os.POSIX_SPAWN_DUP2, task_lock.fd, TASK_LOCK_FD)] if task_lock is not None else []),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=ALL_SIGNALS,
        )

    @property
    def is_running(self) -> bool:
        """Whether it has not ended; the farmer proves meanwhile that it lives."""
        if self._code is None:
            self._pool.reap()
            status = self._pool.others.pop(self._pid, None)
            self._code = None if status is None else os.waitstatus_to_exitcode(status)
        return self._code is None

    @property
    def trouble(self) -> str:
        """How it failed; nothing if it did not."""
        return f"{self._option} failed on {node_name()}: {describe_cause(self._code)}" if self._code else ""

    def kill(self) -> None:
        """End it, if it has not ended."""
        if self._code is None:
            with suppress(OSError):
                os.killpg(self._pid, signal.SIGKILL)

    def wait(self, deadline: float, is_hurried: Callable[[], bool]) -> None:
        """Wait for its end; kill it when it is time, on the clock that only goes forward [s], or where there is no time."""
        while self.is_running:
            if time.monotonic() >= deadline or is_hurried():
                log.warning("%s is cut short on %s: there is no more time", self._option, node_name())
                self.kill()
                deadline, is_hurried = math.inf, bool
            time.sleep(_LOOK)
        if self.trouble:
            log.warning("%s", self.trouble)
