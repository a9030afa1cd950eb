"""All runs of all farmers in columns: a run costs 66 bytes."""

from __future__ import annotations

from array import array
from itertools import pairwise

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.history.runs import Attempt, Outcome

OPEN = -1
"""End of a run that runs still."""
MAX_ID = 2**27
"""IDs beyond this one are not believed: a damaged journal must not cost gigabytes."""
OUTCOMES = tuple(Outcome)
CAUSES = (None, *Cause)
_ENDLESS = 2**62


class RunTable:
    """The runs, by row; times are whole microseconds since the epoch."""

    def __init__(self) -> None:
        self.farmer = array("i")
        self.slot = array("i")
        self.task = array("q")
        self.begin = array("q")
        self.end = array("q")
        self.outcome = bytearray()
        self.code = array("i")
        self.cpu = array("d")
        self.max_rss = array("q")
        self.cause = bytearray()
        self.attempt = array("i")
        """1 for the first run of a task; see `number`."""
        self.previous = array("q")
        """Row of the run before of the same task, or -1; see `number`."""

    def __len__(self) -> int:
        return len(self.outcome)

    def append(self, farmer: int, run: Attempt) -> None:
        """Add a run.

        Raises
        ------
        ValueError
            If it cannot be one: the journal is damaged.
        """
        begin = round(run.begin * 1e6)
        if run.outcome is Outcome.RUNNING:
            end = OPEN
        else:
            end = max(round((run.seen if run.end is None else run.end) * 1e6), begin + 1)
        code = run.returncode or 0
        if not (
            0 <= run.task_id <= MAX_ID and 0 <= run.slot < MAX_ID and abs(code) < 2**31
            and 0 <= begin < _ENDLESS and end < _ENDLESS
            and 0 <= run.cpu < _ENDLESS and 0 <= run.max_rss < _ENDLESS
        ):  # fmt: skip
            raise ValueError(f"impossible run of task {run.task_id}")
        self.cpu.append(run.cpu)  # first what may fail
        self.farmer.append(farmer)
        self.slot.append(run.slot)
        self.task.append(run.task_id)
        self.begin.append(begin)
        self.end.append(end)
        self.outcome.append(OUTCOMES.index(run.outcome))
        self.code.append(code)
        self.max_rss.append(run.max_rss)
        self.cause.append(CAUSES.index(run.cause))

    def separate(self, first: int) -> None:
        """See to it that no two runs of a slot overlap, among those from row `first` on, which are of one farmer.

        They do only where a clock was set back, or a journal is damaged.
        """
        ends: dict[int, int] = {}
        for row in range(first, len(self)):
            slot, end = self.slot[row], self.end[row]
            if self.begin[row] < ends.get(slot, 0):
                break
            ends[slot] = _ENDLESS if end == OPEN else end
        else:
            return
        last: dict[int, int] = {}
        for row in sorted(range(first, len(self)), key=lambda row: self.begin[row]):
            before = last.get(self.slot[row])
            if before is not None:
                self._part(before, row)
            last[self.slot[row]] = row

    def _part(self, before: int, row: int) -> None:
        """Let one run end before the next one of its slot begins."""
        if self.end[before] == OPEN:
            self.outcome[before] = OUTCOMES.index(Outcome.LOST)
        elif self.end[before] <= self.begin[row]:
            return
        self.begin[row] = max(self.begin[row], self.begin[before] + 1)
        self.end[before] = self.begin[row]
        if self.end[row] != OPEN:
            self.end[row] = max(self.end[row], self.begin[row] + 1)

    def number(self) -> None:
        """Find out which runs of a task came after which."""
        count = len(self)
        self.attempt = array("i", [1]) * count
        self.previous = array("q", [-1]) * count
        seen = bytearray(self.size)
        for task in self.task:
            if seen[task] < 2:
                seen[task] += 1
        rows = [row for row in range(count) if seen[self.task[row]] > 1]
        rows.sort(key=lambda row: self.task[row] << 64 | self.begin[row])
        for before, row in pairwise(rows):
            if self.task[before] == self.task[row]:
                self.previous[row] = before
                self.attempt[row] = self.attempt[before] + 1

    @property
    def size(self) -> int:
        """One more than the highest task ID."""
        return max(self.task, default=-1) + 1

    def outcome_of(self, row: int) -> Outcome:
        """Return how a run ended."""
        return OUTCOMES[self.outcome[row]]

    def tasks_with(self, outcome: Outcome) -> bytearray:
        """Return, for each task, whether a run of it ended so."""
        flags = bytearray(self.size)
        wanted = OUTCOMES.index(outcome)
        for task, number in zip(self.task, self.outcome, strict=True):
            if number == wanted:
                flags[task] = 1
        return flags
