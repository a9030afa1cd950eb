"""What ranks report when they have nothing to do, and who has reported since they were last woken."""

from __future__ import annotations

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.farmer.tally import Tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Report(Value):
    """What an idle rank tells its leader."""

    tally: Tally
    takes_tasks: bool
    """Whether it would start tasks if there were any."""


def encode_report(report: Report) -> list[Any]:
    """Return a report as what JSON can hold."""
    from taskfarmer_mpi.job.messages import plain

    tally = report.tally
    return [tally.slots, tally.finished, tally.failed, round(tally.busy, 3), plain(tally.aside), report.takes_tasks]


def parse_report(content: Any) -> Report:
    """Return the report that `encode_report` encoded.

    Raises
    ------
    TypeError, ValueError
        If it is none.
    """
    slots, finished, failed, busy, aside, takes_tasks = content
    return Report(Tally(int(slots), int(finished), int(failed), float(busy), str(aside)), bool(takes_tasks))


class Reports:
    """The reports of the other ranks, and the number of the last wake, after which each of them reports anew."""

    def __init__(self) -> None:
        self.of_ranks: dict[int, Report] = {}
        """What each other rank that ended its work, or left, reported."""
        self.wake = 0
        """How often the ranks were woken."""

    def hear(self, rank: int, content: Any) -> bool:
        """Note a report; return False if it comes from before the last wake: then another one follows."""
        wake, *report = content
        if wake != self.wake:
            return False
        self.of_ranks[rank] = parse_report(report)
        return True

    def own(self, tally: Tally, *, takes_tasks: bool) -> list[Any]:
        """Return this rank's report as what JSON can hold."""
        return [self.wake, *encode_report(Report(tally, takes_tasks))]

    def begin_anew(self, kept: set[int]) -> bool:
        """Forget all reports but those of the ranks that are `kept`, if any of the others would start tasks.

        Returns
        -------
        Whether there were any: then all are to be woken.
        """
        others = self.of_ranks.keys() - kept
        if not any(self.of_ranks[rank].takes_tasks for rank in others):
            return False
        self.wake += 1
        for rank in others:
            del self.of_ranks[rank]
        return True

    def hear_wake(self, number: Any) -> bool:
        """Note that the ranks were woken; return False if it is known."""
        if not isinstance(number, int) or number <= self.wake:
            return False
        self.wake = number
        return True
