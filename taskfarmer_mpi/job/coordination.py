"""The farmers of one MPI job, or a plain farmer alone: who works, who leads, when all are done.

The leader is the lowest rank that lives and has no trouble. Only it looks for dead farmers and says when the job is over, so
that a thousand idle ranks do not stand at the lock. Nothing here is needed to run tasks: a rank that hears
nothing goes on.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from taskfarmer_mpi.errors import FarmError, LockBusyError, ShortageError, UserError
from taskfarmer_mpi.farmer.farmer import Farmer
from taskfarmer_mpi.farmer.tally import Tally
from taskfarmer_mpi.job.communicator import Comm
from taskfarmer_mpi.job.early_leave import EarlyLeave
from taskfarmer_mpi.job.ranks import Ranks
from taskfarmer_mpi.upkeep.added_tasks import TasklistWatch
from taskfarmer_mpi.upkeep.recovery import Recovery, note_recovery, recover
from taskfarmer_mpi.workdir.farm import Farm

log = logging.getLogger(__name__)

LOOK_INTERVAL = (0.02, 2.0)
"""Shortest and longest time between two looks at the other farmers [s]; it doubles while nothing changes."""
MESSAGE_INTERVAL = 0.05
"""How often a rank looks for messages [s]."""
BUSY_LOOK_INTERVAL = 5.0
"""How often a leader that works looks for dead farmers while other ranks are idle [s]."""
WATCH_INTERVAL = 2.0
"""How often a leader looks for lines that were appended to the tasklist [s]; oftener if there may be some."""
LOCK_PATIENCE = 1.0
"""How long recovery waits for the lock before it tries again later [s]."""
WAIT_REPORT = 10.0
"""How long a leader waits for a dead farmer's tasks before it says so [s]; said again after twice the time, and so on."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an idle rank tells its leader."""

    tally: Tally
    takes_tasks: bool
    """Whether it would start tasks if there were any."""


class Coordinator:
    """One rank's view of its job."""

    def __init__(
        self,
        *,
        comm: Comm,
        farm: Farm,
        farmer: Farmer,
        life_paths: dict[int, Path],
        patience: float,
        watch: TasklistWatch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Join the other ranks.

        Parameters
        ----------
        comm
            The way to the other ranks.
        farm
            The farm that all of them work on.
        farmer
            This rank's own.
        life_paths
            The life lock file of each rank that came up.
        patience
            How long to wait for dead farmers' tasks that still run [s].
        watch
            What notices lines that are appended to the tasklist.
        clock
            A clock that only goes forward [s].
        """
        self._comm = comm
        self._farm = farm
        self._farmer = farmer
        self.ranks = Ranks(comm.rank, life_paths, clock)
        self.early_leave: EarlyLeave | None = None
        """How ranks leave before the job's end, where they may."""
        self._clock = clock
        self._watch = watch
        self._next_watch = clock() + WATCH_INTERVAL
        self._is_complete = True
        self._told_end: tuple[int, bool] | None = None
        self._was_busy = True
        self._reports: dict[int, Report] = {}
        self._told_leader: int | None = None
        self._next_look = self._next_message = 0.0
        self._look_pause = LOOK_INTERVAL[0]
        self._patience = patience
        self._waiting_since: float | None = None
        self._next_report = math.inf
        self._busy_since: float | None = None
        self._wakes = 0
        self._final_look: tuple[int, int] | None = None
        self.end: int | None = None
        """Set once the job is over: on ranks that do not lead, to its exit code."""
        self.leader = self.ranks.leader
        self.recovery = Recovery()
        """What the last look at the other farmers brought."""

    @property
    def is_leader(self) -> bool:
        """Whether this rank is the one that ends the job."""
        return self.leader == self._comm.rank

    @property
    def reports(self) -> dict[int, Report]:
        """What each other rank that ended its work, or left, reported."""
        return self._reports

    @property
    def is_complete(self) -> bool:
        """Whether all ranks that the launcher started are alive, as far as is known; only then can MPI end in order."""
        left = self.ranks.left if self.is_leader else ()  # the others go by the leader's word
        is_whole = len(self.ranks.life_paths) == self._comm.size and not self.ranks.dead and not left
        return self._is_complete and is_whole

    def spread_stop(self, reason: str) -> None:
        """Have all ranks stop: tell the leader, or as the leader everybody."""
        ranks = self.ranks.others if self.is_leader else [self.leader]
        for rank in ranks:
            self._comm.send(rank, "stop", reason)

    def spread_drain(self, reason: str) -> None:
        """As the leader, have all ranks let their running tasks end, and start no more."""
        for rank in self.ranks.others:
            self._comm.send(rank, "drain", reason)

    @property
    def is_due(self) -> bool:
        """Whether `step` may have something to do."""
        return self._farmer.is_idle or self._clock() >= self._next_message

    def step(self) -> None:
        """Hear the others; as an idle rank report, as an idle leader see to it that nothing is left."""
        self._next_message = self._clock() + MESSAGE_INTERVAL
        for sender, kind, content in self._comm.receive():
            self._hear(sender, kind, content)
        if self._farmer.trouble is not None and self._comm.rank not in self.ranks.broken:
            self._announce_trouble()
        if self.is_leader and self._watch is not None and self._clock() >= self._next_watch:
            self._look_for_new_lines(self._watch)
        if self._farmer.is_idle:
            if self._was_busy:
                self._look_soon()
            self._step_idle()
        elif self.is_leader and self._reports:
            self._help_idle_ranks()
        if self.early_leave is not None:
            self._depart(self.early_leave)
        self._was_busy = not self._farmer.is_idle

    def _depart(self, early_leave: EarlyLeave) -> None:
        """Ask to leave if this rank has been idle for long; as the leader, see to the nodes of those that left."""
        if self.is_leader:
            early_leave.return_nodes()
        elif not self._farmer.is_idle or self._farmer.trouble is not None:
            early_leave.be_busy()
        elif early_leave.is_time_to_ask():
            self._comm.send(self.leader, "leaving")

    def _step_idle(self) -> None:
        if self._told_end is not None:
            self.end, self._is_complete = self._told_end
        if self.end is not None:
            return
        if not self.is_leader:
            self._report()
        if self._clock() >= self._next_look:
            self._look_pause = min(2 * self._look_pause, LOOK_INTERVAL[1])
            if self.is_leader:
                self._lead()
            else:
                self._watch_leader()
            self._next_look = self._clock() + self._look_pause

    def _help_idle_ranks(self) -> None:
        """As a leader that works, see to it that others do not wait for tasks that they could have."""
        if self._farmer.sees_more:
            self._wake_all()
        elif self._clock() >= self._next_look:
            self._next_look = self._clock() + BUSY_LOOK_INTERVAL
            if self._recover() and self.recovery.tasks:
                self._wake_all()

    def pause(self) -> float:
        """Return how long this rank may sleep [s]."""
        if self._comm.size == 1 and not self._farmer.is_idle:
            return math.inf
        moment = min(self._next_message, self._next_look) if self._farmer.is_idle else self._next_message
        return max(moment - self._clock(), 0.0)

    def dismiss(self, code: int) -> None:
        """Tell all ranks that the job is over."""
        for rank in self.ranks.others:
            self._comm.send(rank, "end", (code, self.is_complete))

    # -- messages ---------------------------------------------------------------------------------

    def _hear(self, sender: int, kind: str, content: object) -> None:
        if kind == "stop" and self._farmer.stop_reason is None:
            reason = str(content)
            if self.is_leader:
                self.spread_stop(reason)
            self._farmer.stop(reason)
            self._look_soon()
        elif kind == "drain":
            self._farmer.drain(str(content))
            self._look_soon()
        elif kind == "idle" and isinstance(content, Report):
            self.ranks.dead.discard(sender)
            self._reports[sender] = content
            self._look_soon()
        elif kind in ("leaving", "left", "farewell"):
            self._hear_of_departure(sender, kind, content)
        elif kind == "broken":
            self.ranks.broken.add(sender)
            self._elect()
        elif kind == "wake":
            self._told_leader = None
            self._farmer.look_again()
        elif kind == "end" and isinstance(content, tuple):
            self._told_end = content
            if not self._farmer.is_idle:
                self._farmer.stop(f"rank {sender} ended the job")

    def _hear_of_departure(self, sender: int, kind: str, content: object) -> None:
        if kind == "farewell":
            log.info("nothing left to do: this rank leaves before the end of the job")
            self.end, self._is_complete = 0, False
        elif kind == "left" and isinstance(content, tuple):
            rank, self._reports[rank] = content
            self.ranks.left.add(rank)
            log.info("rank %d has left", rank)
        elif self.is_leader and sender in self._reports:
            self._let_go(sender)

    def _let_go(self, rank: int) -> None:
        """Let a rank leave that has not been woken since it reported."""
        self.ranks.left.add(rank)
        self._comm.send(rank, "farewell")
        for other in self.ranks.others:
            self._comm.send(other, "left", (rank, self._reports[rank]))

    def _report(self) -> None:
        if self._told_leader != self.leader:
            self._comm.send(self.leader, "idle", Report(self._farmer.tally, self._farmer.takes_tasks))
            self._told_leader = self.leader

    def _announce_trouble(self) -> None:
        """Tell the others that this rank takes no more tasks and does not lead, although its process lives."""
        self.ranks.broken.add(self._comm.rank)
        for rank in self.ranks.others:
            self._comm.send(rank, "broken")
        self._elect()

    def _elect(self) -> None:
        """Let the lowest rank lead that lives and works; if there is none, the lowest that lives."""
        leader = self.ranks.leader
        if leader != self.leader:
            self.leader = leader
            self._look_soon()
            if self.early_leave is not None:
                self.early_leave.be_busy()  # one who asks must be idle for the new leader, too
            if self._farmer.stop_reason is not None:
                self.spread_stop(self._farmer.stop_reason)

    # -- the end of the list ----------------------------------------------------------------------

    def _lead(self) -> None:
        self._note_deaths()
        missing = [rank for rank in self.ranks.others if rank not in self._reports]
        if self._farmer.stop_reason is not None or self._farmer.drain_reason is not None:
            if not missing:
                self._finish_early()
            return
        if not self._recover():
            if not missing and self._farmer.trouble is not None:
                self.end = 0  # the next run recovers
        elif self.recovery.tasks:
            self._wake_all()
        elif self.recovery.farmers:
            self._look_soon()
        elif missing:
            self._farmer.look_again()  # farmers of other jobs may have given tasks back
        elif self.recovery.waiting:
            self._wait_for_tasks()
        elif self._is_final():
            self.end = 0

    def _finish_early(self) -> None:
        if self._farmer.stop_reason is None:
            self._recover()  # for the next job, and so that the exit code knows what is left
        self.end = 0

    def _recover(self) -> bool:
        """Settle the tasks of dead farmers; return whether that could be done."""
        own = () if self._farmer.trouble is not None else (self._farmer.journal.path,)
        try:
            self.recovery = recover(self._farm, own, LOCK_PATIENCE)
        except (LockBusyError, ShortageError) as error:
            log.info("%s", error)
            self._busy_since = self._busy_since or self._clock()
            if self._clock() - self._busy_since > self._patience:
                self._farmer.give_up(FarmError(str(error)))
            return False
        except (FarmError, UserError, OSError) as error:
            self._farmer.give_up(FarmError(f"cannot recover the tasks of dead farmers: {error}"))
            return False
        self._busy_since = None
        if self._farmer.trouble is None:
            note_recovery(self._farmer.journal, self.recovery)
        if not self.recovery.waiting:
            self._waiting_since = None
        return True

    def _look_for_new_lines(self, watch: TasklistWatch) -> None:
        self._next_watch = self._clock() + WATCH_INTERVAL
        if not self._farmer.takes_tasks:
            return
        try:
            is_longer = watch.look()
        except (FarmError, OSError) as error:
            self._farmer.give_up(FarmError(f"cannot add the new lines of the tasklist: {error}"))
            return
        if is_longer:
            self._wake_all()
        elif not watch.is_quiet:
            self._next_watch = self._clock() + WATCH_INTERVAL / 10

    def _is_final(self) -> bool:
        """Whether this farmer looked at the list since the last task of this job was settled; if not, have it look."""
        if self._watch is not None and self._farmer.takes_tasks and not self._watch.is_quiet:
            self._look_for_new_lines(self._watch)
            return False
        work = (self._farmer.tally.finished + self._farmer.tally.failed, self._wakes)
        if self._farmer.trouble is not None or self._final_look == work:
            return True
        self._final_look = work
        self._farmer.look_again()
        self._look_soon()
        return False

    def _wait_for_tasks(self) -> None:
        """Wait for the tasks of dead farmers that still run, for as long as for a lock."""
        now = self._clock()
        if self._waiting_since is None:
            self._waiting_since, self._next_report = now, now + WAIT_REPORT
        is_over = now - self._waiting_since > self._patience
        if is_over or now >= self._next_report:
            self._next_report = now + 2 * (now - self._waiting_since)
            for line in self.recovery.waiting:
                log.warning("%s", line)
        if is_over:
            self.end = 0

    def _wake_all(self) -> None:
        self._wakes += 1
        self._farmer.sees_more = False  # said once: others may have taken it before this farmer looks again
        self._farmer.look_again()
        for rank in list(self._reports):
            if self._reports[rank].takes_tasks and rank in self.ranks.present:
                del self._reports[rank]
                self._comm.send(rank, "wake")

    # -- life and death ---------------------------------------------------------------------------

    def _note_deaths(self) -> None:
        for rank in self.ranks.others:
            if rank not in self._reports and rank not in self.ranks.broken and self._is_dead(rank):
                log.warning("rank %d is dead; its tasks go back to the list", rank)
                self.ranks.dead.add(rank)

    def _watch_leader(self) -> None:
        if self.leader not in self.ranks.broken and self._is_dead(self.leader):
            log.warning("rank %d, which led this job, is dead", self.leader)
            self.ranks.dead.add(self.leader)
            self._elect()

    def _is_dead(self, rank: int) -> bool:
        is_dead = self.ranks.is_dead(rank)
        if self.ranks.is_suspect(rank):
            self._look_soon()
        return is_dead

    def _look_soon(self) -> None:
        self._look_pause = LOOK_INTERVAL[0]
        self._next_look = 0.0
