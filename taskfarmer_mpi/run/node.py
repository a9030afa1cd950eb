"""What surrounds the tasks of one rank on its node: commands before and after them, directories and memory for them."""

from __future__ import annotations

import os
from collections.abc import Mapping

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.signals import SignalReceiver
from taskfarmer_mpi.farmer.farmer import Farmer
from taskfarmer_mpi.farmer.node_commands import NodeCommand
from taskfarmer_mpi.farmer.pool import Pool
from taskfarmer_mpi.farmer.tempdirs import TempDirs, find_parent
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.machine.memory_guard import find_reserve
from taskfarmer_mpi.policies.rules import Rules

log = Log(__name__)

_RESERVE = 1.0
"""How long before the end of the batch job the teardown ends at the latest [s]."""


class Node:
    """Sees to it, for one farmer."""

    _pool: Pool
    _environ: Mapping[str, str]
    _task_lock: LifeLock

    def __init__(self, rules: Rules, farmer: str) -> None:
        """Look whether the node has what is wanted; nothing is made.

        Raises
        ------
        UserError
            If it has not.
        """
        self._rules = rules
        self._name = farmer
        self._parent = find_parent(rules.tempdir) if rules.tempdir else ""
        if rules.resources is not None and rules.reserves_memory:
            find_reserve(rules.resources)
        self._tempdirs: TempDirs | None = None
        self._setup: NodeCommand | None = None
        self._is_ready = not rules.setup

    def prepare(self, pool: Pool, environ: Mapping[str, str], task_lock: LifeLock) -> TempDirs | None:
        """Get ready for a farmer, whose tasks have this environment and this lock; return what makes their directories.

        Raises
        ------
        OSError
            If that is not possible.
        """
        self._pool, self._environ, self._task_lock = pool, environ, task_lock
        if self._parent:
            self._tempdirs = TempDirs(self._parent, self._name)
        return self._tempdirs

    def keeps_waiting(self, farmer: Farmer) -> bool:
        """Whether the farmer has to wait for the setup still. If that fails it takes no tasks; a stop ends it, as tasks.

        Raises
        ------
        OSError
            If it cannot be started.
        """
        if self._is_ready:
            return False
        is_wanted = farmer.stop_reason is None and farmer.drain_reason is None
        if self._setup is None and is_wanted:
            self._setup = self._run("--setup", self._rules.setup)
        if self._setup is not None and is_wanted:
            if self._setup.is_running:
                return True
            if trouble := self._setup.trouble:
                log.error("%s: this farmer takes no tasks", trouble)
                farmer.drain(trouble)
        self.end_setup()
        self._is_ready = True
        return False

    def end_setup(self) -> None:
        """End the setup, if it runs, as there is no time for it."""
        if self._setup is not None:
            self._setup.kill()

    def tear_down(self, farmer: Farmer, job_end: float, receiver: SignalReceiver) -> None:
        """Run the command that comes after the last task, and remove the directories of tasks.

        Parameters
        ----------
        farmer
            The farmer: if it gave up it has no lock that the command could hold.
        job_end
            When the batch job ends, on the clock that only goes forward [s].
        receiver
            Where signals arrive: one that comes now ends the command.
        """
        if self._rules.teardown:
            stops = len(receiver.stops)
            try:
                command = self._run("--teardown", self._rules.teardown, has_locks=farmer.trouble is None)
            except OSError as error:
                log.warning("--teardown cannot be run: %s", os.strerror(error.errno or 0))
            else:
                command.wait(job_end - _RESERVE, lambda: len(receiver.stops) > stops)
        if self._tempdirs is not None:
            self._tempdirs.close()

    def _run(self, option: str, command: str, *, has_locks: bool = True) -> NodeCommand:
        lock = self._task_lock if has_locks else None
        return NodeCommand(option, command, self._pool, self._environ, lock)
