"""Ranks that leave an MPI job before its end, and what becomes of their nodes.

A rank with nothing to do asks the leader to let it go, and ends when it may. The leader stays, and gives a node back to the
scheduler when the last rank there has ended.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.programs import AskError
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.job.ranks import Ranks
from taskfarmer_mpi.job.schedulers.slurm import give_nodes_back, job_of
from taskfarmer_mpi.rendezvous.launcher import SRUN, launcher_of

log = Log(__name__)

LOOK_INTERVAL = 0.5
"""How often the leader looks for nodes without ranks [s]."""
REQUEST_INTERVAL = 10.0
"""Shortest time between two requests to the scheduler [s], so that nodes go together; it doubles with each that fails."""
GATHER_TIME = 2.0
"""How long the leader waits for other nodes before it gives one back [s]: ranks often leave together."""
END_DELAY = 3.0
"""How long after a rank's life lock is gone its process and Slurm's bookkeeping of it are [s]."""


class Step(Value):
    """The step of a Slurm job that the ranks are, and where they are."""

    job: str
    step: str
    hosts: dict[int, str]
    """The node of each rank, as the scheduler calls it."""


class EarlyLeave:
    """One rank's plan to leave early, and its part in that of others."""

    def __init__(
        self,
        ranks: Ranks,
        step: Step,
        delay: float,
        *,
        give_back: Callable[[str, str, set[str]], list[str]] = give_nodes_back,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Plan nothing yet.

        Parameters
        ----------
        ranks
            The ranks of the job.
        step
            Where they are.
        delay
            How long a rank must have nothing to do before it leaves [s].
        give_back
            Gives nodes back to the scheduler.
        clock
            A clock that only goes forward [s].
        """
        self._ranks = ranks
        self._step = step
        self._delay = delay
        self._give_back = give_back
        self._clock = clock
        self._idle_since: float | None = None
        self._has_asked = False
        self._ended: dict[int, float] = {}
        self._returned: set[str] = set()
        self._next_look = 0.0
        self._seen: set[str] = set()
        self._pause = REQUEST_INTERVAL
        self._worker: threading.Thread | None = None

    def step(self, *, is_leader: bool, is_free: bool) -> bool:
        """Do this rank's part; return whether it is time to ask the leader to let it go.

        Parameters
        ----------
        is_leader
            Whether this rank leads: then it sees to the nodes of those that left.
        is_free
            Whether it has nothing to do, and no trouble.
        """
        if is_leader:
            self.return_nodes()
        elif is_free:
            return self.is_time_to_ask()
        else:
            self.be_busy()
        return False

    def be_busy(self) -> None:
        """Begin to count anew: this rank has something to do, or another leader."""
        self._idle_since = None
        self._has_asked = False

    def is_time_to_ask(self) -> bool:
        """Whether this rank, which has nothing to do, has had nothing for long enough; true once."""
        if self._idle_since is None:
            self._idle_since = self._clock()
        if self._has_asked or self._clock() - self._idle_since < self._delay:
            return False
        self._has_asked = True
        return True

    def return_nodes(self) -> None:
        """As the leader, give back the nodes on which no rank is left; do not wait for the scheduler's answer."""
        now = self._clock()
        if now < self._next_look or (self._worker is not None and self._worker.is_alive()):
            return
        self._next_look = now + LOOK_INTERVAL
        nodes = self._empty_nodes() - self._returned
        if not nodes:
            return
        is_first_sight = nodes.isdisjoint(self._seen)
        self._seen |= nodes
        if is_first_sight:
            self._next_look = now + GATHER_TIME
        else:
            self._next_look = now + self._pause
            self._worker = threading.Thread(target=self._return, args=(nodes,), daemon=True)
            self._worker.start()

    def wait(self) -> None:
        """Wait until the scheduler has answered, if it was asked."""
        if self._worker is not None:
            self._worker.join()

    def _empty_nodes(self) -> set[str]:
        hosts = self._step.hosts
        used = {host for rank, host in hosts.items() if not self._has_ended(rank)}
        return {hosts[rank] for rank in self._ranks.left if rank in hosts} - used

    def _has_ended(self, rank: int) -> bool:
        if rank not in self._ranks.left or (rank not in self._ended and self._ranks.holds_life(rank)):
            return False
        return self._clock() - self._ended.setdefault(rank, self._clock()) >= END_DELAY

    def _return(self, nodes: set[str]) -> None:
        try:
            returned = self._give_back(self._step.job, self._step.step, nodes)
        except (AskError, OSError) as error:
            say = log.warning if self._pause == REQUEST_INTERVAL else log.info
            say("nodes whose ranks have left stay in the job: %s", error)
            self._pause *= 2
            return
        self._pause = REQUEST_INTERVAL
        self._returned |= nodes
        if returned:
            log.info("back to Slurm before the job's end: %s", " ".join(returned))


def plan_early_leave(ranks: Ranks, delay: float, hosts: dict[int, str], environ: Mapping[str, str]) -> EarlyLeave | None:
    """Return how ranks leave early; None if there is one only.

    Parameters
    ----------
    ranks
        The ranks of the job.
    delay
        How long a rank must have nothing to do before it leaves [s].
    hosts
        The node of each rank.
    environ
        The environment, which says in which step of which Slurm job the ranks are, if in one at all.
    """
    if len(ranks.present) == 1:
        return None
    step = Step(job_of(environ), environ.get("SLURM_STEP_ID", ""), hosts)
    give_back = give_nodes_back if launcher_of(environ) == SRUN else _keep_nodes
    return EarlyLeave(ranks, step, delay, give_back=give_back)


def _keep_nodes(_job: str, _step: str, _nodes: set[str]) -> list[str]:
    """Return no node: whoever started the ranks needs them all, or takes none back."""
    return []
