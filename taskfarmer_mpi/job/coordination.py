"""The farmers of one job, or a plain farmer alone: who works, who leads, when all are done.

The leader is the lowest rank that lives and has no trouble. Only it looks for dead farmers and says when the job is over, so
that idle ranks do not stand at the lock. Nothing here is needed to run tasks: a rank that hears nothing goes on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.farmer.farmer import Farmer
from taskfarmer_mpi.job.leader_duties import LeaderDuties
from taskfarmer_mpi.job.pace import BUSY_LOOK_INTERVAL, LEADER_LOOK_INTERVAL, LookPace, MessagePace
from taskfarmer_mpi.job.ranks import Ranks
from taskfarmer_mpi.job.reports import Report, Reports, encode_report, parse_report
from taskfarmer_mpi.upkeep.recovery import Recovery

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.job.channel import Channel
    from taskfarmer_mpi.job.early_leave import EarlyLeave

log = Log(__name__)


class Coordinator:
    """One rank's view of its job."""

    def __init__(
        self,
        *,
        channel: Channel,
        farmer: Farmer,
        duties: LeaderDuties,
        life_paths: dict[int, Path],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Join the other ranks.

        Parameters
        ----------
        channel
            The way to the other ranks.
        farmer, duties, life_paths
            This rank's own, what it does if it leads, and the life lock file of each rank that came up.
        clock
            A clock that only goes forward [s].
        """
        self._channel = channel
        self._farmer = farmer
        self._duties = duties
        self._clock = clock
        self.ranks = Ranks(channel.rank, life_paths, clock)
        self.early_leave: EarlyLeave | None = None
        """How ranks leave before the job's end, where they may."""
        self.hear_more: dict[str, Callable[[object], None]] = {}
        """What to do about further kinds of messages."""
        self._told_end: int | None = None
        self._was_busy, self._reports = True, Reports()
        self._told_leader: int | None = None
        self._messages, self._looks = MessagePace(len(life_paths), clock), LookPace(clock)
        self.end: int | None = None
        """Set once the job is over: on ranks that do not lead, to its exit code."""
        self.leader = self.ranks.leader

    @property
    def is_leader(self) -> bool:
        """Whether this rank is the one that ends the job."""
        return self.leader == self.ranks.rank

    @property
    def reports(self) -> dict[int, Report]:
        """What each other rank that ended its work, or left, reported."""
        return self._reports.of_ranks

    @property
    def recovery(self) -> Recovery:
        """What the last look at the other farmers brought."""
        return self._duties.recovery

    def spread_stop(self, reason: str) -> None:
        """Have all ranks stop."""
        self._channel.send(None, "stop", reason)
        self._hurry()

    def spread(self, kind: str, content: object) -> None:
        """Tell all ranks what they know what to do about."""
        self._channel.send(None, kind, content)

    @property
    def is_due(self) -> bool:
        """Whether `step` may have something to do."""
        return self._farmer.is_idle or self._messages.is_due

    def step(self) -> None:
        """Hear the others; as an idle rank report, as an idle leader see to it that nothing is left."""
        is_idle = self._farmer.is_idle
        if is_idle and self._was_busy:
            self._hurry()
        if self._messages.is_due:
            self._look_for_messages()
        if self._farmer.trouble is not None and self.ranks.rank not in self.ranks.broken:
            self._announce_trouble()
        if self.is_leader and self._duties.add_new_lines():
            self._wake_all()
        if self._farmer.is_idle:
            self._step_idle()
        elif self.is_leader and (self.reports or self._farmer.shares_limits):
            self._help_idle_ranks()
        elif not self.is_leader and self._looks.is_due:  # who leads heeds users' requests and asks when the job ends
            self._looks.note_look(LEADER_LOOK_INTERVAL)
            self._watch_leader()
        is_free = self._farmer.is_idle and self._farmer.trouble is None
        if self.early_leave is not None and self.early_leave.step(is_leader=self.is_leader, is_free=is_free):
            self._channel.send(self.leader, "leaving")
            self._hurry()
        self._was_busy = not is_idle

    def _look_for_messages(self) -> None:
        for sender, kind, content in self._channel.receive():
            try:
                if kind in self.hear_more:
                    self.hear_more[kind](content)
                else:
                    self._hear(sender, kind, content)
            except (TypeError, ValueError):
                log.warning("rank %d said what is not understood: %s", sender, kind)
        self._messages.note_look(is_working=not self._farmer.is_idle and self._farmer.stop_reason is None)

    def _hurry(self) -> None:
        """Look for messages, and at the other farmers, soon and often: something is about to happen."""
        self._messages.hurry(is_leader=self.is_leader)
        self._looks.soon()

    def pause(self) -> float:
        """Return how long this rank may sleep [s]."""
        if len(self.ranks.life_paths) == 1 and not self._farmer.is_idle:
            return math.inf
        moment = min(self._messages.next_look, self._looks.next_look) if self._farmer.is_idle else self._messages.next_look
        return max(moment - self._clock(), 0.0)

    def _hear(self, sender: int, kind: str, content: object) -> None:
        if kind == "stop" and self._farmer.stop_reason is None:
            self._farmer.stop(str(content))
            self._hurry()
        elif kind == "drain":
            self._farmer.drain(str(content))
            self._hurry()
        elif kind == "idle":
            if self._reports.hear(sender, content):
                self.ranks.dead.discard(sender)
                self._hurry()
        elif kind in ("leaving", "left"):
            self._hear_of_departure(sender, kind, content)
        elif kind == "broken":
            self.ranks.broken.add(sender)
            self._elect()
        elif kind == "wake":
            self._be_woken(content)
        elif isinstance(content, int) and (kind == "end" or (kind == "gone" and self._farmer.trouble is not None)):
            self._told_end = content  # nobody waits for ranks that gave up
            if not self._farmer.is_idle:
                self._farmer.stop(f"rank {sender} ended the job")

    def _be_woken(self, number: object) -> None:
        if not self._reports.hear_wake(number):
            return
        self._told_leader = None
        if self._farmer.takes_tasks:
            self._farmer.look_again()
        if self.early_leave is not None:
            self.early_leave.be_busy()

    def _hear_of_departure(self, sender: int, kind: str, content: object) -> None:
        if kind == "leaving":
            if self.is_leader and sender in self.reports:
                self._let_go(sender)
            return
        rank, *report = content if isinstance(content, list) else []
        if rank == self.ranks.rank:
            log.info("nothing left to do: this rank leaves before the end of the job")
            self.end = 0
        else:
            self.reports[rank] = parse_report(report)
            self.ranks.left.add(rank)
            log.info("rank %d has left", rank)

    def _let_go(self, rank: int) -> None:
        """Let a rank leave that has not been woken since it reported, and tell the others, one of which may lead later."""
        self.ranks.left.add(rank)
        self._channel.send(None, "left", [rank, *encode_report(self.reports[rank])])

    def _report(self) -> None:
        if self._told_leader != self.leader:
            report = self._reports.own(self._farmer.tally, takes_tasks=self._farmer.takes_tasks)
            self._channel.send(self.leader, "idle", report)
            self._told_leader = self.leader

    def _announce_trouble(self) -> None:
        """Tell the others that this rank takes no more tasks and does not lead, although its process lives."""
        self.ranks.broken.add(self.ranks.rank)
        self._channel.send(None, "broken")
        self._elect()

    def _elect(self) -> None:
        """Let the lowest rank lead that lives and works; if there is none, the lowest that lives."""
        leader = self.ranks.leader
        if leader != self.leader:
            self.leader = leader
            self._hurry()
            if self.early_leave is not None:
                self.early_leave.be_busy()  # one who asks must be idle for the new leader, too

    def _wake_all(self) -> None:
        """Have this farmer look at the list, and all that have reported: each of them reports again."""
        self._farmer.sees_more = False  # said once: others may have taken it before this farmer looks again
        self._farmer.look_again()
        self._duties.forget_look()
        if self._reports.begin_anew(self.ranks.left | self.ranks.dead):
            self._channel.send(None, "wake", self._reports.wake)

    def _step_idle(self) -> None:
        self.end = self.end if self._told_end is None else self._told_end
        if self.end is not None:
            return
        if not self.is_leader:
            self._report()
        if self._looks.is_due:
            self._looks.slow_down()
            if self.is_leader:
                self._lead()
            else:
                self._watch_leader()
            self._looks.note_look()

    def _help_idle_ranks(self) -> None:
        """As a leader that works, see to it that others do not wait for tasks that they could have, or for dead farmers."""
        if self._farmer.sees_more and self.reports:
            self._wake_all()
        elif self._looks.is_due:
            self._looks.note_look(BUSY_LOOK_INTERVAL)
            if self._duties.recover() and self.recovery.tasks:
                self._wake_all()

    def _lead(self) -> None:
        if self._duties.rests(self._wake_all):
            return
        self._note_deaths()
        missing = [rank for rank in self.ranks.others if rank not in self.reports]
        if self._farmer.stop_reason is not None or self._farmer.drain_reason is not None:
            if not missing:
                self._end_early()
        elif not self._duties.recover():
            if not missing and self._farmer.trouble is not None:
                self.end = 0  # the next run recovers
        elif self.recovery.tasks:
            self._wake_all()
        elif self.recovery.farmers:
            self._looks.soon()
        elif missing:
            self._farmer.look_again()  # farmers of other jobs may have given tasks back
        elif self._duties.has_waited_enough() if self.recovery.waiting else self._is_final():
            self.end = self._duties.end_or_rest(self._wake_all, self.ranks.life_paths.values())

    def _end_early(self) -> None:
        if self._farmer.stop_reason is None:
            self._duties.recover()  # for the next job, and so that the exit code knows what is left
        self.end = 0

    def _is_final(self) -> bool:
        """Whether this farmer looked at the list since the last task of this job was settled; if not, have it look."""
        if self._duties.may_have_new_lines:
            if self._duties.add_new_lines(at_once=True):
                self._wake_all()
            return False
        self._looks.await_next()
        return self._duties.has_looked_again()

    def _note_deaths(self) -> None:
        silent = [rank for rank in self.ranks.others if rank not in self.reports and rank not in self.ranks.broken]
        for rank in self._find_dead(silent):
            log.warning("rank %d is dead; its tasks go back to the list", rank)

    def _watch_leader(self) -> None:
        if self.leader not in self.ranks.broken and self._find_dead([self.leader]):
            log.warning("rank %d, which led this job, is dead", self.leader)
            self._elect()

    def _find_dead(self, ranks: list[int]) -> list[int]:
        dead = [rank for rank in ranks if self.ranks.is_dead(rank)]
        self.ranks.dead.update(dead)
        if any(map(self.ranks.is_suspect, ranks)):
            self._looks.soon()
        return dead
