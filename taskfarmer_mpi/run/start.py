"""Brings one rank to its start: its plan, the work directory, the other ranks, its farmer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from taskfarmer_mpi.common.filesystems import lease_of
from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.values import Value, replace
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.farmer.environment import task_environment
from taskfarmer_mpi.farmer.farmer import Farmer
from taskfarmer_mpi.farmer.outfit import Limits, make_outfit
from taskfarmer_mpi.farmer.pool import Pool
from taskfarmer_mpi.job.leader_duties import clear_boards, make_own_board
from taskfarmer_mpi.job.walltime import job_end, time_left
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.lives.owner import name_job
from taskfarmer_mpi.policies.rules import Rules, read_rules
from taskfarmer_mpi.rendezvous import startup
from taskfarmer_mpi.rendezvous.communicator import Comm
from taskfarmer_mpi.rendezvous.launcher import local_rank
from taskfarmer_mpi.rendezvous.startup import Orders
from taskfarmer_mpi.run.summary import say_start
from taskfarmer_mpi.runners.pytaskfarmer import is_foreign, make_runner
from taskfarmer_mpi.runners.registry import Definition
from taskfarmer_mpi.runners.shell import Runner
from taskfarmer_mpi.tasklists.lines import Handler
from taskfarmer_mpi.tasklists.oddities import say_background
from taskfarmer_mpi.upkeep.added_tasks import TasklistWatch, file_state
from taskfarmer_mpi.upkeep.census import reclaim
from taskfarmer_mpi.upkeep.halting import lift_halt
from taskfarmer_mpi.upkeep.lock_choice import bind_to_lock, describe_second_lock
from taskfarmer_mpi.upkeep.ownership import safe_lock_paths
from taskfarmer_mpi.upkeep.plan import Plan, Request, enter_directory, make_plan, read_tasklist
from taskfarmer_mpi.upkeep.preparation import change_directory, prepare
from taskfarmer_mpi.upkeep.recovery import Recovery, note_recovery, recover_at_start
from taskfarmer_mpi.workdir.configuration import read_config
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import Workdir, node_name
from taskfarmer_mpi.workdir.journal import Journal
from taskfarmer_mpi.workdir.journal_records import Identity
from taskfarmer_mpi.workdir.locks import WorkLock, lock_mode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.monitors.dispatch import Dispatcher
    from taskfarmer_mpi.run.dealing import Dealer
    from taskfarmer_mpi.run.node import Node

log = Log(__name__)


class Options(Value):
    """What the user asked for."""

    request: Request
    """Which tasks, and how."""
    timeout: float | None
    """Stop after this time [s]."""
    grace: float
    """Stop this long before the end of the batch job [s]."""
    task_time: float | None
    """What a task lasts [s]; None to judge by the runs seen so far."""
    lock_patience: float
    """How long to wait for the lock before giving up [s]."""
    mpi_patience: float
    """How long to wait for other ranks before going on without them [s]."""
    reclaim: bool
    """Whether tasks in nobody's hands go back to the list."""
    progress: str
    """How progress is shown: bar, lines or none."""
    monitors: tuple[Definition, ...] = ()
    """What is told of the farmers' lives."""
    stay: bool = False
    """Whether to wait for more tasks where none is left."""
    leave_early: float | None = None
    """How long a rank must have had nothing to do before it leaves [s]; None to stay to the end."""


class Start:
    """A rank on its way to the start: what it has so far."""

    farm: Farm
    lock: WorkLock
    life: LifeLock
    task_lock: LifeLock
    _plan: Plan
    _runner: Runner
    _tasklist_state: tuple[int, ...]
    _is_new: bool

    def __init__(
        self, options: Options, comm: Comm, environ: Mapping[str, str], name: str, is_hurried: Callable[[], bool]
    ) -> None:
        self._is_hurried = is_hurried
        self.options = options
        self._comm, self.rank = comm, comm.rank
        self._limits = startup.Limits(options.lock_patience, options.mpi_patience, is_hurried)
        self._environ, self._name, self._begin = environ, name, time.time()
        self._recovery = Recovery()
        self._absence: str | None = None
        """Why this rank can run no tasks, if so: the others go on."""
        self._dealer: Dealer | None = None
        """What deals cores, GPUs and memory, if anything is dealt."""
        self.node: Node | None = None
        """What surrounds the tasks on this node, if anything does."""
        self.dispatcher: Dispatcher | None = None
        """The monitors of this rank's farmer, if it has any."""

    def lead(self) -> tuple[Orders, float]:
        """Make the work directory ready and bring the other ranks to the start."""
        options, here = self.options, os.getcwd()
        plan = make_plan(options.request)
        self._look_at_node(plan)
        self._is_new = read_config(Workdir(plan.workdir)) is None
        enter_directory(plan)
        self._open_farm(plan)
        if options.request.directory is not None:
            change_directory(self.farm.workdir, self.lock, plan.directory, options.lock_patience)
        self.farm = prepare(self.farm, plan.to_store, options.lock_patience, accepts=options.request.accepts_changes)
        if self.farm.rules.then:
            from taskfarmer_mpi.run.then import add_then

            add_then(self.farm, options.lock_patience)
        lift_halt(self.farm, options.request.rules, options.lock_patience)
        self._plan = plan = self._agree(plan, here)
        if callable(make_place := getattr(self.farm.handler, "prepare_workdir", None)):  # now that all is checked
            make_place()
        self._recovery = recover_at_start(self.farm, options.lock_patience)
        clear_boards(self.farm)
        if options.reclaim:
            log.info("%d tasks in nobody's hands are back on the list", len(reclaim(self.farm, options.lock_patience)))
        self._take_life()
        own, end = startup.hello(self._name, plan.cpu_share), job_end(self._environ)
        deal = partial(self._dealer.deal, self.farm) if self._dealer is not None else None
        board = partial(make_own_board, self.farm)
        return startup.lead_startup(self._comm, own, self.lock, plan, self._limits, end, board, deal), 0.0

    def _agree(self, plan: Plan, here: str) -> Plan:
        """Take from the work directory what another farmer may have been quicker to store; go to where its tasks run."""
        stored = read_config(self.farm.workdir) or plan.to_store
        listed, accepted = self.farm.catalog.listed, stored.accepted
        plan = replace(plan, listed=listed, accepted=accepted, digest=stored.digest, directory=stored.directory)
        enter_directory(plan)
        if not os.path.samefile(plan.directory, here) and self.options.request.directory is None:
            log.warning("tasks run in %s, where the farm was begun, and not here: --chdir DIR changes that", plan.directory)
        return plan

    def follow(self) -> tuple[Orders, float]:
        """Do what rank 0 says."""
        patience = self._limits.patience(self.options.lock_patience + self.options.mpi_patience)
        return startup.follow_startup(
            self._comm, startup.hello(self._name), self._come_after, patience, lambda: self._dealer and self._dealer.own
        )

    def _come_after(self, plan: Plan) -> WorkLock:
        try:
            enter_directory(plan)
            self._look_at_node(plan)
        except UserError as error:
            self._absence = str(error)
        self._open_farm(plan)
        if not self.farm.catalog.lines.begins_with(self.farm.catalog.begun, plan.digest):
            raise UserError(f"{plan.tasklist}: not as rank 0 has read it; leave it as it is while a job begins")
        self._take_life()
        return self.lock

    def retreat(self) -> None:
        """Take no part after all: give up what was taken so far."""
        for lock in (self.life, self.task_lock) if hasattr(self, "life") else ():
            lock.path.unlink(missing_ok=True)
            lock.release()

    def _open_farm(self, plan: Plan) -> None:
        self._plan = plan
        rules = read_rules(plan.rules)
        workdir = Workdir(plan.workdir)
        paths = safe_lock_paths(workdir, self._environ)
        if is_foreign(plan.handler):
            self._look_for_holdings(rules, workdir)
            workdir.create()
        self._tasklist_state = file_state(Path(plan.tasklist))
        handler = read_tasklist(plan)
        if not is_foreign(plan.handler):
            self._look_for_holdings(rules, workdir, handler)
        self._runner = make_runner(plan.runner)
        workdir.create(len(handler.tasks) if rules.has_log_files else 0)
        bind_to_lock(workdir, paths[0])
        self.lock = WorkLock(workdir, paths, f"{node_name()} pid {os.getpid()} ({self._name})")
        self.lock.is_hurried = self._is_hurried
        self.lock.keep_open()
        self.farm = Farm.of(workdir, self.lock, handler, plan.listed, rules, plan.accepted)

    def _look_for_holdings(self, rules: Rules, workdir: Workdir, handler: Handler | None = None) -> None:
        """Look for what is to be dealt, if anything is, before anything is made."""
        if rules.resources is not None or (handler is not None and handler.tasks.directives) or workdir.settings.exists():
            from taskfarmer_mpi.run.dealing import make_dealer

            own = (rules.resources, self._plan, self._environ, workdir, handler)
            self._dealer = make_dealer(*own, is_alone=self._comm.size == 1)

    def _take_life(self) -> None:
        mode = lock_mode(self.farm.workdir.path)
        try:
            self.life = LifeLock.create(self.lock.life_path(self._name, "alive"), mode)
            self.task_lock = LifeLock.create(self.lock.life_path(self._name, "tasks"), mode)
        except OSError as error:
            raise UserError(f"{self.lock.paths[0].parent}: cannot make a lock file: {error.strerror}") from error

    def watch(self) -> TasklistWatch:
        """Return what notices lines that are appended to the tasklist from now on."""
        return TasklistWatch(
            self.farm, self._plan.digest, lambda: read_tasklist(self._plan).tasks, state=self._tasklist_state
        )

    def farmer(
        self, orders: Orders, offset: float, deadline: Callable[[], float], last_moment: Callable[[], float]
    ) -> Farmer:
        """Build the farmer of this rank.

        `orders` is what rank 0 said, `offset` what to add to this node's clock to get rank 0's [s].
        """
        if orders.portion is not None:
            self._plan = replace(self._plan, slots=None)  # the shares are what was dealt
        rank, slots = self.rank, self._plan.slots or orders.shares[self.rank]
        identity = Identity(
            farmer=self._name,
            host=node_name(),
            pid=os.getpid(),
            rank=rank,
            ranks=self._comm.size,
            job=name_job(self._environ),
            slots=slots,
            alive_lock=str(self.life.path),
            task_lock=str(self.task_lock.path),
            clock_offset=round(offset, 6),
        )
        if rank == 0:
            self._announce(orders, slots)
        environ = task_environment(self._environ, self._name, self.farm.workdir, rank)
        pool = Pool(
            slots=slots,
            farmer=self._name,
            task_lock=self.task_lock,
            workdir=self.farm.workdir,
            environ=environ,
            first_node_slot=self._first_node_slot(orders, slots),
            lease=lease_of(self.lock.paths[0]) if self._plan.lease is None else self._plan.lease,
            portion=orders.portion,
            has_logs=self.farm.rules.has_logs,
        )
        journal = self._journal(identity, pool)
        tempdirs = self.node.prepare(pool, environ, self.task_lock) if self.node is not None else None
        outfit = make_outfit(self.farm, self._runner, pool, journal, (self.life, self.task_lock), tempdirs)
        farmer = Farmer(outfit, Limits(self.options.lock_patience, deadline, self.options.task_time, last_moment))
        note_recovery(farmer.journal, self._recovery)
        farmer.journal.note("start", begin=round(self._begin, 6))
        if self._absence is not None:
            log.warning("rank %d takes no tasks: %s", rank, self._absence)
            farmer.drain(self._absence)
        return farmer

    def _look_at_node(self, plan: Plan) -> None:
        """Look whether this node has what the rules want of it, before anything is made."""
        if (rules := read_rules(plan.rules)).uses_node:
            from taskfarmer_mpi.run.node import Node

            self.node = Node(rules, self._name)

    def _first_node_slot(self, orders: Orders, slots: int) -> int:
        """Return the number of slot 0 among the slots of its node; without MPI the launcher says it."""
        is_alone = self._comm.size == 1
        return local_rank(self._environ) * slots if is_alone else orders.slots_before(self.rank, self._plan.slots)

    def _journal(self, identity: Identity, pool: Pool) -> Journal:
        """Begin the farmer's journal; if there are monitors, start them, and have them hear of what it notes."""
        folder = self.farm.workdir.farmers
        if not self.options.monitors:
            return Journal(folder, identity)
        from taskfarmer_mpi.monitors.dispatch import Dispatcher, WatchedJournal

        self.dispatcher = Dispatcher(self.options.monitors, identity, self.farm.workdir, self._environ, pool.others)
        self.dispatcher.tell("farmer_start", tasks=len(self.farm.catalog))
        self.dispatcher.see_recovery(self._recovery)
        return WatchedJournal(folder, identity, self.dispatcher, self.farm.catalog)

    def _announce(self, orders: Orders, slots: int) -> None:
        own = (self.farm.handler, self.farm.catalog.lines, self._plan.tasklist)
        background = say_background(*own) if self._plan.runner.name != "exec" else None
        risk = describe_second_lock(self.farm.workdir, self.lock.paths, is_new=self._is_new)
        log.info("lock files: %s", ", ".join(map(str, self.lock.paths)))
        left = time_left(orders.job_end, self.options.timeout, self.options.grace + self.farm.rules.stop_grace)
        said = say_start(self.farm, self._recovery, orders, slots, self._plan.slots, left)
        for sentence in filter(None, [*said, risk, background]):
            log.warning("%s", sentence)
