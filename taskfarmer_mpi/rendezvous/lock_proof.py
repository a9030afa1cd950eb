"""The proof that the lock excludes between nodes: rank 0 holds it, and each other rank must fail to get it.

On a file system where locks hold on one node only (and say nothing), a task could run on two nodes at once.
"""

from __future__ import annotations

import time
from pathlib import Path

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.rendezvous.communicator import Comm
from taskfarmer_mpi.rendezvous.exchange import collect
from taskfarmer_mpi.rendezvous.patience import Patience
from taskfarmer_mpi.workdir.files import node_name
from taskfarmer_mpi.workdir.locks import WorkLock

log = Log(__name__)

PROBE_ROUND = 1.0
"""How long the lock is held for one round of the proof [s]: PyTaskFarmer gives up after 10 s."""
PROBE_ROUNDS = 30
PROBE_PAUSE = 0.5
"""Time for others between two rounds [s]."""


class Probed(Value):
    """How a rank fared with the lock that rank 0 holds."""

    host: str
    round: int
    """The number of the question: an answer that comes late says nothing of a later round."""
    lock_file: Path | None
    """The first one; a second one is a matter of each node."""
    got_it: bool
    error: str | None = None


def prove_exclusion(comm: Comm, lock: WorkLock, ranks: set[int], lock_patience: float) -> None:
    """Hold the lock, as rank 0, while each of the others tries to get it.

    Raises
    ------
    UserError
        If one of them gets it, would lock another file, or cannot work.
    """
    missing = set(ranks)
    for number in range(PROBE_ROUNDS):
        if not missing:
            return
        with lock.held(lock_patience):
            for rank in missing:
                comm.send(rank, "probe", number)
            answers = collect(comm, "probed", missing, Patience(PROBE_ROUND))
        for rank, answer in answers.items():
            if answer.round == number:
                _judge(rank, answer, lock)
                missing.discard(rank)
        time.sleep(PROBE_PAUSE if missing else 0.0)
    log.warning("no answer from ranks %s; going on without their proof that the lock excludes", sorted(missing))


def _judge(rank: int, answer: Probed, lock: WorkLock) -> None:
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


def probe_lock(host: str, number: int, lock: WorkLock | None, error: str | None) -> Probed:
    """Try to get the lock, as another rank than 0.

    Parameters
    ----------
    host
        Where this is.
    number
        The number of the question.
    lock
        The lock; None if this rank could not prepare itself.
    error
        Why it could not.
    """
    if lock is None or error is not None:
        return Probed(host, number, None, got_it=False, error=error)
    try:
        got_it = lock.try_acquire()
    except (UserError, OSError) as trouble:
        return Probed(host, number, lock.paths[0], got_it=False, error=str(trouble))
    if got_it:
        lock.release()
    return Probed(host, number, lock.paths[0], got_it)
