"""What a farmer is made of, and for how long it works: frozen values."""

from __future__ import annotations

import math
from collections.abc import Callable

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.farmer.pool import Pool
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.runners.shell import Runner
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.journal import Journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.farmer.tempdirs import TempDirs
    from taskfarmer_mpi.logs.keeper import LogKeeper


class Outfit(Value):
    """What a farmer works with."""

    farm: Farm
    """The tasks and where they are worked on."""
    runner: Runner
    """How tasks become processes."""
    pool: Pool
    """Where they run."""
    slots: int
    """How many run at the same time."""
    journal: Journal
    """The farmer's own log."""
    life: LifeLock
    """Held as long as this farmer lives."""
    task_lock: LifeLock
    """Held as long as this farmer, or a process of its tasks, lives."""
    logs: LogKeeper | None = None
    """What removes, packs and cuts logs; None where they stay as they are."""
    tempdirs: TempDirs | None = None
    """What makes a directory for each task, if it gets one."""


def make_log_keeper(farm: Farm, farmer: str) -> LogKeeper | None:
    """Return what removes, packs and cuts the logs of a farmer's tasks, if the rules want any of it."""
    if not farm.rules.handles_logs:
        return None
    from taskfarmer_mpi.logs.keeper import LogKeeper

    return LogKeeper(farm.workdir, farm.rules, farmer)


class Limits(Value):
    """How long a farmer works and waits."""

    lock_patience: float
    """How long to wait for the lock before giving up [s]."""
    deadline: Callable[[], float] = lambda: math.inf
    """Says when the farmer will be stopped, on its clock [s]."""
    task_time: float | None = None
    """What a task lasts [s]; None to judge by the runs seen so far."""
    last_moment: Callable[[], float] = lambda: math.inf
    """Says when its tasks must be gone, on its clock, if it is stopped gently [s]."""
