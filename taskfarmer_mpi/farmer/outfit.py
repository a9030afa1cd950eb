"""What a farmer is made of, and for how long it works: frozen values."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from taskfarmer_mpi.common.log import Log
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
    from taskfarmer_mpi.machine.memory_guard import MemoryGuard

log = Log(__name__)


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
    memory: MemoryGuard | None = None
    """What says whether memory is short; None where that does not matter."""


def make_outfit(
    farm: Farm,
    runner: Runner,
    pool: Pool,
    journal: Journal,
    locks: tuple[LifeLock, LifeLock],
    tempdirs: TempDirs | None = None,
) -> Outfit:
    """Return what a farmer works with; the locks are those by which it and its tasks are known to live."""
    who, (life, task_lock) = journal.identity, locks
    logs = _make_log_keeper(farm, who.farmer)
    return Outfit(farm, runner, pool, who.slots, journal, life, task_lock, logs, tempdirs, _make_memory_guard(farm, journal))


def _make_memory_guard(farm: Farm, journal: Journal) -> MemoryGuard | None:
    """Return what looks after the memory of a farmer's node, if the rules want it; it tells the log and the journal."""
    wanted = farm.rules.resources
    if wanted is None or not wanted.reserves_memory:
        return None
    from taskfarmer_mpi.machine.memory_guard import MemoryGuard, find_reserve

    def tell(reason: str) -> None:
        who = journal.identity
        log.warning("rank %d on %s %s", who.rank, who.host, f"starts no task: {reason}" if reason else "starts tasks again")
        journal.note("waiting", reason=reason)

    return MemoryGuard(find_reserve(wanted), time.monotonic, tell)


def _make_log_keeper(farm: Farm, farmer: str) -> LogKeeper | None:
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
