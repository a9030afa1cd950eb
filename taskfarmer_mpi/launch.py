"""Wires one rank, from its options to its exit code."""

from __future__ import annotations

import logging
import math
import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from taskfarmer_mpi import muster
from taskfarmer_mpi.census import Census, reclaim, take_census
from taskfarmer_mpi.crew import Crew
from taskfarmer_mpi.errors import FarmError, UserError
from taskfarmer_mpi.farm import Farm
from taskfarmer_mpi.farmer import Farmer
from taskfarmer_mpi.journal import Identity, Journal, all_journals
from taskfarmer_mpi.locks import LifeLock, WorkLock, lock_mode, lock_paths
from taskfarmer_mpi.mpi import Comm
from taskfarmer_mpi.muster import Orders
from taskfarmer_mpi.pool import Pool, task_environment
from taskfarmer_mpi.prepare import Stored, prepare
from taskfarmer_mpi.recovery import recover
from taskfarmer_mpi.registry import handler_named, runner_named
from taskfarmer_mpi.scheduling import ask_for_short_turns
from taskfarmer_mpi.signals import SignalReceiver
from taskfarmer_mpi.summary import summarize
from taskfarmer_mpi.timeline import merge_timeline
from taskfarmer_mpi.walltime import job_end
from taskfarmer_mpi.workdir import Workdir, node_name

log = logging.getLogger(__name__)

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_LEFT = 0, 1, 2, 75
"""All finished; some failed; a user's mistake; work is left, run it again."""

QUICK_MERGE = 16 * 1024 * 1024
"""Journals up to this size [bytes] are merged also when the farm was told to stop and has little time."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for."""

    tasklist: Path
    workdir: Path
    handler: str
    runner: str
    slots: int | None
    """Slots per farmer; None for one per CPU."""
    timeout: float | None
    """Stop after this time [s]."""
    grace: float
    """Stop this long before the end of the batch job [s]."""
    task_time: float | None
    """What a task lasts [s]; None to judge by the runs seen so far."""
    lock_patience: float
    """How long to wait for the lock before giving up [s]."""
    reclaim: bool
    """Whether tasks in nobody's hands go back to the list."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a rank's work ended."""

    code: int
    lines: list[str]
    """What to print; nothing on ranks that do not lead."""
    are_all_alive: bool = True


def run_rank(options: Options, comm: Comm, receiver: SignalReceiver, environ: Mapping[str, str]) -> Ending:
    """Run one farmer, from the first look at the work directory until the job is over.

    Parameters
    ----------
    options
        What the user asked for.
    comm
        The way to the other ranks.
    receiver
        Where signals arrive.
    environ
        The environment.

    Raises
    ------
    UserError
        If the job cannot begin.
    FarmError
        If only this rank cannot.
    """
    born = time.monotonic()
    name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{node_name()}-{os.getpid()}-{secrets.token_hex(3)}"
    start = _Start(options, comm, environ, name, lambda: bool(receiver.stops))
    try:
        orders, offset = start.lead() if comm.rank == 0 else start.follow()
    except muster.DismissedError:
        return Ending(EXIT_LEFT if receiver.stops else EXIT_USAGE, [])
    except (UserError, FarmError, OSError) as error:
        if isinstance(error, UserError):
            raise
        raise (FarmError if comm.rank else UserError)(str(error)) from error
    try:
        limit = _time_limit(options, orders, offset, born)
        farmer = start.farmer(orders, offset, limit)
    except OSError as error:
        raise FarmError(f"{start.farm.workdir.path}: cannot start a farmer: {error}") from error
    life_paths = {rank: start.lock.life_path(other, "alive") for rank, other in orders.farmers.items()}
    start.lock.is_hurried = lambda: bool(receiver.stops) or farmer.stop_reason is not None
    ask_for_short_turns()
    crew = Crew(comm=comm, farm=start.farm, farmer=farmer, life_paths=life_paths, patience=options.lock_patience)
    _work(farmer, crew, receiver, limit)
    ending = _end(start.farm, farmer, crew, options, born) if crew.is_leader else Ending(crew.end or 0, [])
    try:
        farmer.leave()
    except (FarmError, OSError) as error:
        log.error("%s", error)
    return Ending(ending.code, ending.lines, crew.is_complete)


class _Start:
    """A rank on its way to the start: what it has so far."""

    farm: Farm
    lock: WorkLock
    life: LifeLock
    task_lock: LifeLock

    def __init__(
        self, options: Options, comm: Comm, environ: Mapping[str, str], name: str, is_hurried: Callable[[], bool]
    ) -> None:
        self._is_hurried = is_hurried
        self._options = options
        self._comm = comm
        self._environ = environ
        self._name = name
        self._job = environ.get("SLURM_JOB_ID", "")

    def lead(self) -> tuple[Orders, float]:
        """Make the work directory ready and bring the other ranks to the start."""
        options = self._options
        self._open_farm()
        wanted = Stored(os.path.abspath(options.tasklist), options.handler, options.runner)
        self.farm = prepare(self.farm, wanted, options.lock_patience)
        recover(self.farm, (), options.lock_patience)
        if options.reclaim:
            reclaimed = reclaim(self.farm, options.lock_patience)
            log.info("%d tasks in nobody's hands are back on the list", len(reclaimed))
        self._take_life()
        own = muster.hello(self._name)
        plan = self.farm.listed
        end = job_end(self._environ)
        return muster.lead_muster(self._comm, own, self.lock, plan, options.lock_patience, end), 0.0

    def follow(self) -> tuple[Orders, float]:
        """Do what rank 0 says."""
        patience = self._options.lock_patience + 2 * muster.HELLO_PATIENCE
        return muster.follow_muster(self._comm, muster.hello(self._name), self._come_after, patience)

    def _come_after(self, listed: int) -> WorkLock:
        self._open_farm()
        self.farm = Farm(self.farm.workdir, self.lock, self.farm.tasklist, listed)
        self._take_life()
        return self.lock

    def _open_farm(self) -> None:
        options = self._options
        tasklist = handler_named(options.handler)(options.tasklist, options.workdir)
        runner_named(options.runner)
        workdir = Workdir(options.workdir)
        workdir.create()
        paths = lock_paths(workdir, self._environ)
        holder = f"{node_name()} pid {os.getpid()} ({self._name})"
        self.lock = WorkLock(workdir, paths, holder)
        self.lock.is_hurried = self._is_hurried
        self.farm = Farm(workdir, self.lock, tasklist, len(tasklist))

    def _take_life(self) -> None:
        mode = lock_mode(self.farm.workdir.path)
        try:
            self.life = LifeLock.create(self.lock.life_path(self._name, "alive"), mode)
            self.task_lock = LifeLock.create(self.lock.life_path(self._name, "tasks"), mode)
        except OSError as error:
            raise UserError(f"{self.lock.paths[0].parent}: cannot make a lock file: {error.strerror}") from error

    def farmer(self, orders: Orders, offset: float, limit: TimeLimit) -> Farmer:
        """Build the farmer of this rank."""
        options = self._options
        slots = options.slots or max(1, len(os.sched_getaffinity(0)) // orders.sharers)
        rank = self._comm.rank
        workdir = self.farm.workdir
        identity = Identity(
            farmer=self._name,
            host=node_name(),
            pid=os.getpid(),
            rank=rank,
            ranks=self._comm.size,
            job=self._job,
            slots=slots,
            alive_lock=str(self.life.path),
            task_lock=str(self.task_lock.path),
            clock_offset=round(offset, 6),
        )
        if rank == 0:
            self._announce(len(orders.farmers), slots)
        return Farmer(
            farm=self.farm,
            runner=runner_named(options.runner)(),
            pool=Pool(
                slots=slots,
                farmer=self._name,
                task_lock=self.task_lock,
                workdir=workdir,
                environ=task_environment(self._environ, self._name, workdir, rank),
            ),
            slots=slots,
            journal=Journal(workdir.farmers, identity),
            life=self.life,
            task_lock=self.task_lock,
            lock_patience=options.lock_patience,
            deadline=limit.moment,
            task_time=options.task_time,
        )

    def _announce(self, farmers: int, slots: int) -> None:
        log.warning(
            "%d tasks, %d x %d slots, work directory %s", len(self.farm.tasklist), farmers, slots, self.farm.workdir.path
        )
        log.info("lock files: %s", ", ".join(map(str, self.lock.paths)))
        if len(self.lock.paths) > 1:
            advice = "; PyTaskFarmer 0.1.0 farmers on other nodes do not see it: set SCRATCH" if farmers > 1 else ""
            log.warning("lock files: %s%s", " and ".join(map(str, self.lock.paths)), advice)


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """When a farmer must stop."""

    moment: float
    """On the clock that only goes forward [s]."""
    reason: str


def _time_limit(options: Options, orders: Orders, offset: float, born: float) -> TimeLimit:
    limits = [TimeLimit(math.inf, "")]
    if options.timeout is not None:
        limits.append(TimeLimit(born + options.timeout, "--timeout"))
    if orders.job_end is not None:
        left = orders.job_end - offset - time.time()
        limits.append(TimeLimit(time.monotonic() + left - options.grace, "the batch job is about to end"))
    return min(limits, key=lambda limit: limit.moment)


def _work(farmer: Farmer, crew: Crew, receiver: SignalReceiver, limit: TimeLimit) -> None:
    """Let the farmer work until the crew says that the job is over."""
    while crew.end is None:
        if farmer.stop_reason is None:
            reason = _stop_reason(receiver, limit)
            if reason is not None:
                crew.spread_stop(reason)
                farmer.stop(reason)
        farmer.step()
        if crew.is_due:
            crew.step()
        if crew.end is None:
            receiver.wait(min(farmer.pause(), crew.pause()))


def _stop_reason(receiver: SignalReceiver, limit: TimeLimit) -> str | None:
    if receiver.stops:
        return receiver.stops[0].name
    return limit.reason if time.monotonic() >= limit.moment else None


def _end(farm: Farm, farmer: Farmer, crew: Crew, options: Options, born: float) -> Ending:
    """As the leader, see what came of the tasklist, and dismiss the others."""
    patience = options.lock_patience if farmer.trouble is None else 0.0  # after trouble it was waited for already
    try:
        census = take_census(farm, patience)
        _merge(farm, patience, is_in_haste=farmer.stop_reason is not None)
    except (UserError, FarmError, OSError) as error:
        log.error("%s", error)
        crew.dismiss(EXIT_LEFT)
        return Ending(EXIT_LEFT, [])
    code = _exit_code(census, farmer, crew)
    crew.dismiss(code)
    lines = summarize(
        census=census,
        tallies=[farmer.tally, *(report.tally for report in crew.reports.values())],
        workdir=farm.workdir,
        wall=time.monotonic() - born,
        stop_reason=farmer.stop_reason or farmer.drain_reason,
    )
    return Ending(code, lines)


def _exit_code(census: Census, farmer: Farmer, crew: Crew) -> int:
    is_unsettled = farmer.trouble is not None or crew.recovery.waiting or crew.recovery.unknown
    if farmer.stop_reason is not None or census.to_do or census.lost or (census.held and is_unsettled):
        return EXIT_LEFT
    return EXIT_FAILED if census.failed else EXIT_DONE


def _merge(farm: Farm, patience: float, *, is_in_haste: bool) -> None:
    if is_in_haste and _size_of_journals(farm) > QUICK_MERGE:
        log.warning("the timeline is not merged, as there is no time: the next run does it")
    else:
        merge_timeline(farm.workdir, farm.lock, farm.tasklist.tasks, patience)


def _size_of_journals(farm: Farm) -> int:
    size = 0
    for path in all_journals(farm.workdir.farmers):
        with suppress(FileNotFoundError):  # closed, and so renamed, this moment
            size += path.stat().st_size
    return size
