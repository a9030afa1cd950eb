"""The start of a job of several ranks: they tell rank 0 who they are, prepare themselves by its plan, and get their orders.

Rank 0 has prepared the work directory before it asks.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.values import Value, replace
from taskfarmer_mpi.errors import FarmError, UserError
from taskfarmer_mpi.machine.cpus import Cpus, cpus_of_nodes, find_cpus, narrow_nodes, share_out
from taskfarmer_mpi.rendezvous.communicator import PATIENCE, Comm
from taskfarmer_mpi.rendezvous.exchange import clock_offset, collect, words_of_rank_0
from taskfarmer_mpi.rendezvous.launcher import SRUN, is_launched, launcher_of
from taskfarmer_mpi.rendezvous.patience import Hurry, Patience, never
from taskfarmer_mpi.workdir.files import node_name
from taskfarmer_mpi.workdir.locks import WorkLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from taskfarmer_mpi.resources.portions import Portion

log = Log(__name__)


class Hello(Value):
    """What a rank tells rank 0 when it comes up."""

    farmer: str
    host: str
    cpus: Cpus
    """What it may use."""
    cpu_share: int = 100
    """For which part of its CPUs a farmer has slots [%]; that of rank 0 counts."""


class Orders(Value):
    """What a rank needs to know before it begins."""

    farmers: dict[int, str]
    """Name of the farmer of each rank that came up."""
    shares: dict[int, int]
    """How many slots each rank has if it is not told a number: its part of the CPUs that it may use."""
    job_end: float | None = None
    """When the batch job ends [s since the epoch, by rank 0's clock]; None if that is not known."""
    hosts: dict[int, str] = {}
    """Name of the node of each rank that came up."""
    cpus: dict[str, int] = {}
    """How many CPUs the ranks of each node may use together."""
    narrow: dict[str, int] = {}
    """The nodes whose only rank may use one CPU although the job has more there, and how many."""
    portion: Portion | None = None
    """What the rank that is told has for its slots, if something was dealt: then all shares are by that."""

    def slots_before(self, rank: int, slots: int | None) -> int:
        """Return how many slots the ranks before this one have on its node.

        Parameters
        ----------
        rank
            One that came up.
        slots
            Slots of each rank; None for its share.
        """
        neighbours = [other for other in self.hosts if other < rank and self.hosts[other] == self.hosts[rank]]
        return sum(slots or self.shares[other] for other in neighbours)

    def crowding(self, slots: int | None) -> str | None:
        """Say which nodes have several ranks with more slots than CPUs, and how to mend it; None if there are none.

        Parameters
        ----------
        slots
            Slots of each rank; None for its share.
        """
        ranks, all_slots = Counter(self.hosts.values()), Counter[str]()
        for rank, host in self.hosts.items():
            all_slots[host] += slots or self.shares[rank]
        crowded = [host for host in ranks if ranks[host] > 1 and all_slots[host] > self.cpus[host]]
        if not crowded:
            return None
        host = crowded[0]
        more = f" (as on {len(crowded) - 1} more)" if len(crowded) > 1 else ""
        return (
            f"{ranks[host]} ranks on {host}{more} have {all_slots[host]} slots for {self.cpus[host]} CPUs: start"
            " one rank per node (srun --ntasks-per-node=1, mpiexec -ppn 1), or share the CPUs among the ranks (--proc auto)"
        )

    def narrowness(self, slots: int | None) -> str | None:
        """Say which nodes have a rank whose tasks share one CPU although the job has more, and how to mend it; else None.

        Parameters
        ----------
        slots
            Slots of each rank; None for its share of the node's CPUs.
        """
        if not self.narrow or slots == 1:
            return None
        host, cpus = next(iter(self.narrow.items()))
        more = f" (as on {len(self.narrow) - 1} more)" if len(self.narrow) > 1 else ""
        return (
            f"the rank on {host}{more} and all its tasks may use 1 of the {cpus} CPUs that the job has there: give it all"
            f" (srun --cpus-per-task={cpus}, mpiexec --bind-to none)"
        )


class Limits(Value):
    """How long a rank waits for others."""

    lock: float
    """For the lock [s]."""
    others: float = PATIENCE
    """For the other ranks, where each has something to do at once [s]."""
    is_hurried: Hurry = never
    """Whether there is no time, as this rank was told to stop."""

    def patience(self, more: float = 0.0) -> Patience:
        """Begin to wait, `more` [s] longer."""
        return Patience(self.others + more, self.is_hurried)


def hello(farmer: str, cpu_share: int = 100) -> Hello:
    """Return what this process tells rank 0."""
    return Hello(farmer, node_name(), own_cpus(os.environ), cpu_share)


def own_cpus(environ: Mapping[str, str]) -> Cpus:
    """Return what this process may use."""
    return find_cpus(environ, is_step=launcher_of(environ) == SRUN, is_launched=is_launched(environ))


def lead_startup(
    comm: Comm,
    own: Hello,
    lock: WorkLock,
    plan: object,
    limits: Limits,
    job_end: float | None = None,
    make_ready: Callable[[dict[int, str]], None] = lambda _: None,
    deal: Callable[[Orders, dict[int, Any]], dict[int, Portion]] | None = None,
) -> Orders:
    """Bring the other ranks to the start, as rank 0.

    Parameters
    ----------
    comm
        The way to the other ranks.
    own
        Rank 0's own hello.
    lock
        The lock of the work directory.
    plan
        What the other ranks get to prepare themselves.
    limits
        How long to wait.
    job_end
        When the batch job ends [s since the epoch].
    make_ready
        Makes what ranks need that have begun, given the farmer of each rank that came up.
    deal
        Deals what the nodes have, given the orders so far and the holdings of the other ranks; None if nothing is dealt.

    Raises
    ------
    UserError
        If a rank cannot work, or the lock does not exclude; the others are dismissed.
    """
    hellos = {0: own} | collect(comm, "hello", set(range(1, comm.size)), limits.patience())
    others = hellos.keys() - {0}
    if silent := sorted(set(range(comm.size)) - hellos.keys()):
        log.warning("no word from %s of %d: the others go on without", _name(silent), comm.size)
    for rank in others:
        comm.send(rank, "plan", plan)
    holdings = collect(comm, "ready", others, limits.patience())
    _prove_exclusion(comm, lock, others, limits.lock)
    orders = _make_orders(hellos, job_end)
    portions = {} if deal is None else deal(orders, holdings)
    make_ready(orders.farmers)
    return _give_orders(comm, orders, portions)


def _make_orders(hellos: Mapping[int, Hello], job_end: float | None) -> Orders:
    """Return the orders for all ranks that came up."""
    farmers = {rank: hellos[rank].farmer for rank in sorted(hellos)}
    hosts = {rank: hellos[rank].host for rank in farmers}
    places = {rank: (hellos[rank].host, hellos[rank].cpus) for rank in farmers}
    shares = share_out(places, hellos[0].cpu_share)
    return Orders(farmers, shares, job_end, hosts, cpus_of_nodes(places), narrow_nodes(places))


def _give_orders(comm: Comm, orders: Orders, portions: Mapping[int, Portion]) -> Orders:
    """Let all other ranks begin; return the orders of rank 0."""
    shares = orders.shares | {rank: len(portion.seats) for rank, portion in portions.items()}
    told = {rank: replace(orders, shares=shares, portion=portions.get(rank)) for rank in orders.farmers}
    for rank in told.keys() - {0}:
        comm.send(rank, "go", told[rank])
    return told[0]


def _prove_exclusion(comm: Comm, lock: WorkLock, ranks: set[int], lock_patience: float) -> None:
    if ranks:
        from taskfarmer_mpi.rendezvous.lock_proof import prove_exclusion

        prove_exclusion(comm, lock, ranks, lock_patience)


def _name(ranks: list[int]) -> str:
    more = f" and {len(ranks) - 10} more" if len(ranks) > 10 else ""
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks[:10]))}{more}"


def refuse(comm: Comm, error: UserError) -> None:
    """Say that this rank cannot begin, and so nobody can: rank 0 tells all others, another rank tells rank 0."""
    if comm.rank != 0:
        comm.send(0, "refused", f"rank {comm.rank} on {node_name()}: {error}")
    for rank in range(1, comm.size) if comm.rank == 0 else ():
        comm.send(rank, "dismiss")


def follow_startup(
    comm: Comm,
    own: Hello,
    prepare: Callable[[Any], WorkLock],
    patience: Patience,
    holdings: Callable[[], object] = lambda: None,
) -> tuple[Orders, float]:
    """Come to the start as another rank than 0, by way of `comm`.

    Parameters
    ----------
    own
        What to tell rank 0.
    prepare
        Makes this rank ready, given rank 0's plan, and returns its lock.
    patience
        How long to wait for a word of rank 0.
    holdings
        Says what this rank may use of what is dealt, once it is ready.

    Returns
    -------
    What rank 0 ordered, and what to add to this node's clock to get rank 0's [s].

    Raises
    ------
    DismissedError
        If rank 0 ended the job.
    SilenceError
        If rank 0 says nothing.
    """
    offset = clock_offset(comm, patience)
    comm.send(0, "hello", own)  # rank 0 answers questions until it has all of these
    lock: WorkLock | None = None
    error: str | None = None
    for kind, content in words_of_rank_0(comm, patience):
        if kind == "go":
            return content, offset
        if kind == "plan":
            try:
                lock = prepare(content)
            except (UserError, FarmError, OSError) as trouble:
                error = str(trouble)
            comm.send(0, "ready", holdings() if error is None else None)
        elif kind == "probe":
            from taskfarmer_mpi.rendezvous.lock_proof import probe_lock

            comm.send(0, "probed", probe_lock(own.host, content, lock, error))
    raise AssertionError("unreachable: rank 0's words end with an exception")
