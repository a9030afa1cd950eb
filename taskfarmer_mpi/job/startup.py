"""The start of an MPI job: the ranks find each other, compare their clocks, and prove that the lock excludes.

Rank 0 has prepared the work directory before it asks. It holds the lock; each other rank, which may be on another node, must
fail to get it. On a file system where locks hold on one node only (and say nothing), a task could run on two nodes at once.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taskfarmer_mpi.errors import FarmError, UserError
from taskfarmer_mpi.job.communicator import Comm
from taskfarmer_mpi.workdir.files import node_name
from taskfarmer_mpi.workdir.locks import WorkLock

log = logging.getLogger(__name__)

HELLO_PATIENCE = 120.0
"""How long rank 0 waits for the other ranks to come up [s]."""
PROBE_ROUND = 1.0
"""How long the lock is held for one round of the proof [s]: PyTaskFarmer gives up after 10 s."""
PROBE_ROUNDS = 30
PROBE_PAUSE = 0.5
"""Time for others between two rounds [s]."""
CLOCK_PINGS = 5

_POLL = 0.001


class DismissedError(Exception):
    """Rank 0 ended the job before it began; it said why."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a rank tells rank 0 when it comes up."""

    farmer: str
    host: str
    cpus: frozenset[int]
    """The CPUs that it may use."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a rank needs to know before it begins."""

    farmers: dict[int, str]
    """Name of the farmer of each rank that came up."""
    sharers: int
    """How many ranks share this rank's CPUs."""
    job_end: float | None = None
    """When the batch job ends [s since the epoch, by rank 0's clock]; None if that is not known."""
    hosts: dict[int, str] = field(default_factory=dict)
    """Name of the node of each rank that came up."""
    cpus: dict[str, int] = field(default_factory=dict)
    """How many CPUs the ranks of each node may use together."""

    def crowding(self, slots: int | None) -> str | None:
        """Say which nodes have several ranks with more slots than CPUs, and how to mend it; None if there are none.

        Parameters
        ----------
        slots
            Slots of each rank; None for its share of the node's CPUs.
        """
        ranks = Counter(self.hosts.values())
        crowded = [host for host in ranks if ranks[host] > 1 and ranks[host] * (slots or 1) > self.cpus[host]]
        if not crowded:
            return None
        host = crowded[0]
        more = f" (as on {len(crowded) - 1} more)" if len(crowded) > 1 else ""
        return (
            f"{ranks[host]} ranks on {host}{more} have {ranks[host] * (slots or 1)} slots for {self.cpus[host]} CPUs: start"
            " one rank per node (srun --ntasks-per-node=1, mpiexec -ppn 1), or share the CPUs among the ranks (--proc auto)"
        )


@dataclass(frozen=True, slots=True)
class _Probed:
    """How a rank fared with the lock that rank 0 holds."""

    host: str
    round: int
    """The number of the question: an answer that comes late says nothing of a later round."""
    lock_file: Path | None
    """The first one; a second one is a matter of each node."""
    got_it: bool
    error: str | None = None


def hello(farmer: str) -> Hello:
    """Return what this process tells rank 0."""
    return Hello(farmer, node_name(), frozenset(os.sched_getaffinity(0)))


def lead_startup(
    comm: Comm, own: Hello, lock: WorkLock, plan: object, lock_patience: float, job_end: float | None = None
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
    lock_patience
        How long to wait for the lock [s].
    job_end
        When the batch job ends [s since the epoch].

    Raises
    ------
    UserError
        If a rank cannot work, or the lock does not exclude; the others are dismissed.
    """
    hellos = {0: own} | collect(comm, "hello", set(range(1, comm.size)), HELLO_PATIENCE)
    if silent := comm.size - len(hellos):
        log.warning("%d of %d ranks did not come up within %.0f s", silent, comm.size, HELLO_PATIENCE)
    for rank in hellos.keys() - {0}:
        comm.send(rank, "plan", plan)
    collect(comm, "ready", hellos.keys() - {0}, HELLO_PATIENCE)
    _prove_exclusion(comm, lock, hellos.keys() - {0}, lock_patience)
    farmers = {rank: hellos[rank].farmer for rank in sorted(hellos)}
    hosts = {rank: hellos[rank].host for rank in farmers}
    cpus = {host: _cpus_of(host, hellos) for host in hosts.values()}
    orders = {rank: Orders(farmers, _sharers(hello, hellos), job_end, hosts, cpus) for rank, hello in hellos.items()}
    for rank in hellos.keys() - {0}:
        comm.send(rank, "go", orders[rank])
    return orders[0]


def refuse(comm: Comm, error: UserError) -> None:
    """Say that this rank cannot begin, and so nobody can: rank 0 tells all others, another rank tells rank 0."""
    if comm.rank != 0:
        comm.send(0, "refused", f"rank {comm.rank} on {node_name()}: {error}")
    for rank in range(1, comm.size) if comm.rank == 0 else ():
        comm.send(rank, "dismiss")


def _sharers(hello: Hello, hellos: dict[int, Hello]) -> int:
    return sum((other.host, other.cpus) == (hello.host, hello.cpus) for other in hellos.values())


def _cpus_of(host: str, hellos: dict[int, Hello]) -> int:
    return len(set().union(*(hello.cpus for hello in hellos.values() if hello.host == host)))


def collect(comm: Comm, wanted: str, ranks: set[int], patience: float) -> dict[int, Any]:
    """Return the messages of one kind from each of `ranks` that sends one in time; answer questions for the time.

    Parameters
    ----------
    comm
        The way to the other ranks.
    wanted
        The kind of the messages; others than these and what is answered are lost.
    ranks
        Who is expected to send one.
    patience
        How long to wait [s].

    Raises
    ------
    UserError
        If a rank refused to begin.
    """
    answers: dict[int, Any] = {}
    deadline = time.monotonic() + patience
    while ranks - answers.keys() and time.monotonic() < deadline:
        for sender, kind, content in comm.receive():
            if kind == "clock":
                comm.send(sender, "clock", (content, time.time()))
            elif kind == wanted:
                answers[sender] = content
            elif kind == "refused":
                raise UserError(str(content))
        time.sleep(_POLL)
    return answers


def _prove_exclusion(comm: Comm, lock: WorkLock, ranks: set[int], lock_patience: float) -> None:
    missing = set(ranks)
    for number in range(PROBE_ROUNDS):
        if not missing:
            return
        with lock.held(lock_patience):
            for rank in missing:
                comm.send(rank, "probe", number)
            answers = collect(comm, "probed", missing, PROBE_ROUND)
        for rank, answer in answers.items():
            if answer.round == number:
                _judge(rank, answer, lock)
                missing.discard(rank)
        time.sleep(PROBE_PAUSE if missing else 0.0)
    log.warning("no answer from ranks %s; going on without their proof that the lock excludes", sorted(missing))


def _judge(rank: int, answer: _Probed, lock: WorkLock) -> None:
    where = f"rank {rank} on {answer.host}"
    if answer.error is not None:
        raise UserError(f"{where}: {answer.error}")
    if answer.lock_file != lock.paths[0]:
        raise UserError(
            f"{where} would lock {answer.lock_file}, but rank 0 locks {lock.paths[0]}: set SCRATCH alike on all nodes"
        )
    if answer.got_it:
        raise UserError(
            f"{lock.paths[0]}: locks do not exclude between nodes: {where} got the lock that rank 0 on {node_name()} holds;"
            " set SCRATCH to a directory on a file system with locks between nodes (mount options such as nolock,"
            " local_lock or localflock switch them off)"
        )


def follow_startup(comm: Comm, own: Hello, prepare: Callable[[Any], WorkLock], patience: float) -> tuple[Orders, float]:
    """Come to the start as another rank than 0.

    Parameters
    ----------
    comm
        The way to the other ranks.
    own
        What to tell rank 0.
    prepare
        Makes this rank ready, given rank 0's plan, and returns its lock.
    patience
        How long to wait for a word of rank 0 [s].

    Returns
    -------
    What rank 0 ordered, and what to add to this node's clock to get rank 0's [s].

    Raises
    ------
    DismissedError
        If rank 0 ended the job.
    FarmError
        If rank 0 says nothing.
    """
    offset = _clock_offset(comm, patience)
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
            comm.send(0, "ready")
        elif kind == "probe":
            comm.send(0, "probed", _probe(own.host, content, lock, error))
    raise AssertionError("unreachable: rank 0's words end with an exception")


def words_of_rank_0(comm: Comm, patience: float) -> Iterator[tuple[str, Any]]:
    """Yield kind and content of what rank 0 says.

    Raises
    ------
    DismissedError
        If rank 0 ended the job.
    FarmError
        If it says nothing for `patience` [s].
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        for _, kind, content in comm.receive():
            if kind == "dismiss":
                raise DismissedError
            yield kind, content
            deadline = time.monotonic() + patience
        time.sleep(_POLL)
    raise FarmError(f"rank {comm.rank} on {node_name()}: no word from rank 0 for {patience:.0f} s")


def _probe(host: str, number: int, lock: WorkLock | None, error: str | None) -> _Probed:
    if lock is None or error is not None:
        return _Probed(host, number, None, got_it=False, error=error)
    try:
        got_it = lock.try_acquire()
    except (UserError, OSError) as trouble:
        return _Probed(host, number, lock.paths[0], got_it=False, error=str(trouble))
    if got_it:
        lock.release()
    return _Probed(host, number, lock.paths[0], got_it)


def _clock_offset(comm: Comm, patience: float) -> float:
    """Return the difference of rank 0's clock to this one's, from the quickest of a few question-and-answer pairs."""
    best = (float("inf"), 0.0)
    comm.send(0, "clock", time.time())
    for answered, (_, (asked, theirs)) in enumerate(words_of_rank_0(comm, patience), 1):
        received = time.time()
        best = min(best, (received - asked, theirs - (asked + received) / 2))
        if answered == CLOCK_PINGS:
            break
        comm.send(0, "clock", time.time())
    return best[1]
