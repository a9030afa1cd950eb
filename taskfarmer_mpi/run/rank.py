"""Wires one rank, from its options to its exit code."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial

from taskfarmer_mpi.common.causes import JOB_END, TIMEOUT
from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.signals import DRAIN_SIGNAL, SignalReceiver
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.errors import FarmError, UserError, describe
from taskfarmer_mpi.farmer.farmer import Farmer
from taskfarmer_mpi.job.channel import NoChannel
from taskfarmer_mpi.job.coordination import Coordinator
from taskfarmer_mpi.job.job_end import Clocks, JobEnd, make_job_end
from taskfarmer_mpi.job.leader_duties import LeaderDuties, remove_own_board
from taskfarmer_mpi.machine.cpu_scheduling import ask_for_short_turns
from taskfarmer_mpi.progress.display import Display
from taskfarmer_mpi.rendezvous.communicator import Comm, SerialComm
from taskfarmer_mpi.rendezvous.exchange import DismissedError, SilenceError
from taskfarmer_mpi.rendezvous.launcher import launched_size
from taskfarmer_mpi.rendezvous.startup import Orders
from taskfarmer_mpi.run.ending import EXIT_LEFT, EXIT_USAGE, Ending, end_job, leave
from taskfarmer_mpi.run.start import Options, Start
from taskfarmer_mpi.upkeep.added_tasks import file_state
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.journal import new_name
from taskfarmer_mpi.workdir.stop_requests import LOOK_INTERVAL, StopRequest, stop_requests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from taskfarmer_mpi.changes.cancellation import CancelRequests
    from taskfarmer_mpi.job.channel import Channel
    from taskfarmer_mpi.run.node import Node

    class Watcher(Protocol):
        """What looks on while a farmer works."""

        def step(self, coordinator: Coordinator) -> None:
            """Do what can be done now, without waiting for anything."""
            ...


log = Log(__name__)

RARE_LOOK = 10.0
"""How often a rank that does not lead looks for requests by itself [s]: its leader may have died."""


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
    name = new_name()
    try:
        start, orders, offset = _come_to_start(options, comm, environ, name, receiver)
    except DismissedError:
        return Ending(EXIT_LEFT if receiver.stops else EXIT_USAGE, [])
    comm.leave()
    try:
        limit = _time_limit(start, orders, offset, born, environ)
        farmer = start.farmer(orders, offset, lambda: limit.moment, lambda: limit.last_moment)
    except OSError as error:
        raise FarmError(f"cannot start a farmer: {describe(error, start.farm.workdir.path)}") from error
    start.lock.is_hurried = lambda: bool(receiver.stops) or farmer.stop_reason is not None
    ask_for_short_turns()
    coordinator = _make_coordinator(start, farmer, orders, environ)
    with closing(Display(start.farm, options.progress)) as display:
        watchers: list[Watcher] = [display] if options.progress != "none" else []
        watchers += [start.dispatcher] if start.dispatcher is not None else []
        watchers.append(cancels := CancelWatch(start.farm.workdir, farmer, name))
        coordinator.hear_more["cancel"] = cancels.look_soon
        _work(farmer, coordinator, receiver, limit, stop_requests(start.farm.workdir, name), watchers, start.node)
    tear_down = partial(start.node.tear_down, farmer, limit.job_end, receiver) if start.node is not None else bool
    ending = _end(start, farmer, coordinator, born, tear_down)
    if start.dispatcher is not None:
        start.dispatcher.see_end(farmer, ending.code)
        start.dispatcher.close()
    if len(orders.farmers) > 1 and not coordinator.ranks.broken and coordinator.ranks.is_last():
        remove_own_board(start.farm, orders.farmers)
    return ending


def _end(start: Start, farmer: Farmer, coordinator: Coordinator, born: float, before_leave: Callable[[], object]) -> Ending:
    if coordinator.is_leader:
        return end_job(start.farm, farmer, coordinator, start.options.lock_patience, born, before_leave)
    before_leave()
    leave(farmer, start.farm)
    return Ending(coordinator.end or 0, [])


def _come_to_start(
    options: Options, comm: Comm, environ: Mapping[str, str], name: str, receiver: SignalReceiver
) -> tuple[Start, Orders, float]:
    """Return a rank at the start, its orders, and what to add to this node's clock to get that of the rank that leads [s].

    A rank of which rank 0 takes no notice works as an independent farmer.
    """
    start = Start(options, comm, environ, name, lambda: bool(receiver.stops))
    try:
        return start, *(start.lead() if comm.rank == 0 else start.follow())
    except SilenceError as error:
        if receiver.stops:
            raise
        log.warning("%s: it works as an independent farmer", error)
        start.retreat()
        return _come_to_start(options, SerialComm(), environ, name, receiver)
    except UserError:
        raise
    except (FarmError, OSError) as error:
        raise (FarmError if comm.rank else UserError)(describe(error, "the work directory")) from error


def _make_coordinator(start: Start, farmer: Farmer, orders: Orders, environ: Mapping[str, str]) -> Coordinator:
    options = start.options
    channel: Channel = NoChannel()
    if len(orders.farmers) > 1:
        from taskfarmer_mpi.job.board import Board, board_path

        channel = Board(board_path(start.farm.workdir, orders.farmers), start.rank)
    coordinator = Coordinator(
        channel=channel,
        farmer=farmer,
        duties=LeaderDuties(start.farm, farmer, options.lock_patience, start.watch(), is_staying=options.stay),
        life_paths={rank: start.lock.life_path(other, "alive") for rank, other in orders.farmers.items()},
    )
    if options.leave_early is not None:
        from taskfarmer_mpi.job.early_leave import plan_early_leave

        coordinator.early_leave = plan_early_leave(coordinator.ranks, options.leave_early, orders.hosts, environ)
    return coordinator


class TimeLimit(Value):
    """When a farmer must stop."""

    timeout: float
    """On the clock that only goes forward [s]."""
    job: JobEnd
    stop_grace: float
    """How long running tasks have at a stop [s]."""
    grace: float
    """How long before the end of the batch job a farmer that has no such tasks stops [s]."""

    @property
    def job_end(self) -> float:
        """When the batch job ends, on the same clock [s]."""
        return self.last_moment + self.grace

    @property
    def last_moment(self) -> float:
        """When all tasks must be gone, whatever they were promised, on the same clock [s]."""
        return self.job.moment + self.stop_grace

    @property
    def moment(self) -> float:
        """On the same clock [s]."""
        return min(self.timeout, self.job.moment)

    @property
    def reason(self) -> str:
        """Why."""
        return TIMEOUT if self.timeout <= self.job.moment else JOB_END

    def step(self, farmer: Farmer, coordinator: Coordinator) -> None:
        """Ask the scheduler again if it is time to, and tell the other ranks if the end has moved."""
        if self.job.step(is_leader=coordinator.is_leader, task_time=farmer.task_time):
            coordinator.spread("job end", self.job.tell())


class CancelWatch:
    """Ends tasks of one farmer that users have cancelled; the leader of a job tells the other ranks that there are some."""

    def __init__(self, workdir: Workdir, farmer: Farmer, name: str) -> None:
        self._workdir, self._farmer, self._name = workdir, farmer, name
        self._requests: CancelRequests | None = None
        self._next_look = time.monotonic() + LOOK_INTERVAL
        self._seen: tuple[int, ...] = ()

    def look_soon(self, _content: object) -> None:
        """Look at once."""
        self._next_look = 0.0

    def step(self, coordinator: Coordinator) -> None:
        """Look for requests, if it is time to."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + (LOOK_INTERVAL if coordinator.is_leader else RARE_LOOK)
        state = file_state(self._workdir.cancels)
        if not state or state == self._seen:
            return
        self._seen = state
        if coordinator.is_leader:
            coordinator.spread("cancel", None)
        if self._requests is None:
            from taskfarmer_mpi.changes.cancellation import CancelRequests

            self._requests = CancelRequests(self._workdir, self._name)
        try:
            if self._farmer.trouble is None:
                self._farmer.cancel(self._requests.news())
        except OSError as error:  # the next look may read it
            log.warning("%s", describe(error, self._workdir.cancels))
            self._seen = ()


def _time_limit(start: Start, orders: Orders, offset: float, born: float, environ: Mapping[str, str]) -> TimeLimit:
    options, stop_grace = start.options, start.farm.rules.stop_grace
    timeout = math.inf if options.timeout is None else born + options.timeout
    askers = launched_size(environ) if len(orders.farmers) == 1 else 1
    grace = options.grace + stop_grace
    job = make_job_end(orders.job_end, environ, grace=grace, askers=askers, clocks=Clocks(offset=offset))
    return TimeLimit(timeout, job, stop_grace, options.grace)


def _work(
    farmer: Farmer,
    coordinator: Coordinator,
    receiver: SignalReceiver,
    limit: TimeLimit,
    requests: Iterator[StopRequest | None],
    watchers: Sequence[Watcher],
    node: Node | None = None,
) -> None:
    """Let the farmer work until the coordinator says that the job is over."""
    coordinator.hear_more["job end"] = limit.job.hear
    while coordinator.end is None:
        limit.step(farmer, coordinator)
        if node is not None and (receiver.stops or farmer.stop_reason is not None):
            node.end_setup()
        if farmer.stop_reason is None:
            _heed_stops(farmer, coordinator, receiver, limit, requests)
        is_waiting = node is not None and node.keeps_waiting(farmer)
        if not is_waiting:
            farmer.step()
        if coordinator.is_due:
            coordinator.step()
        for watcher in watchers:
            watcher.step(coordinator)
        if coordinator.end is None:
            receiver.wait(min(0.05 if is_waiting else farmer.pause(), coordinator.pause()))


def _heed_stops(
    farmer: Farmer,
    coordinator: Coordinator,
    receiver: SignalReceiver,
    limit: TimeLimit,
    requests: Iterator[StopRequest | None],
) -> None:
    """Stop, or drain, and tell the other ranks, if anything says so."""
    reason = _stop_reason(receiver, limit, farmer)
    request = next(requests) if coordinator.is_leader and reason is None else None
    drain = DRAIN_SIGNAL.name if receiver.is_draining else farmer.halt_reason
    if request is not None and request.is_drain:
        drain = request.reason
    elif request is not None:
        reason = request.reason
    if drain and farmer.drain_reason is None:
        coordinator.spread("drain", drain)
        farmer.drain(drain)
    if reason is not None:
        coordinator.spread_stop(reason)
        farmer.stop(reason)


def _stop_reason(receiver: SignalReceiver, limit: TimeLimit, farmer: Farmer) -> str | None:
    if receiver.stops:
        return receiver.stops[0].name
    if farmer.halt_reason and farmer.halts_now:
        return farmer.halt_reason
    return limit.reason if time.monotonic() >= limit.moment else None
