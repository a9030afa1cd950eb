"""How full the slots were: busy slots over time, farmer by farmer, in memory that does not grow with the runs."""

from __future__ import annotations

from array import array
from itertools import accumulate

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.history.runs import Attempt, Outcome
from taskfarmer_mpi.report.time_axis import Axis

BINS = 1024
"""Into how many equal parts the axis is divided."""
EXACT_RUNS = 2000
"""Up to so many runs are kept one by one."""


class Coverage:
    """How many things cover each part of the axis, on average; adding one costs the same however long it is."""

    def __init__(self) -> None:
        self._parts = array("d", bytes(8 * (BINS + 1)))
        self._steps = array("d", bytes(8 * (BINS + 2)))

    def add(self, begin: float, end: float, weight: float = 1.0) -> None:
        """Add a thing from `begin` to `end`, counted in parts from the start of the axis."""
        first, last = int(begin), int(end)
        if first == last:
            self._parts[first] += weight * (end - begin)
            return
        self._parts[first] += weight * (first + 1 - begin)
        self._parts[last] += weight * (end - last)
        self._steps[first + 1] += weight
        self._steps[last] -= weight

    def values(self) -> list[float]:
        """Return the mean number for each part."""
        return [part + whole for part, whole in zip(self._parts[:BINS], accumulate(self._steps[:BINS]), strict=True)]


class Lane(Value):
    """One run in its slot."""

    farmer: int
    run: Attempt
    begin: float
    """On the axis [s]."""
    end: float
    """On the axis [s]."""


class SlotUsage:
    """Collects all runs."""

    def __init__(self, axis: Axis, lives: list[tuple[float, float]], slots: list[int]) -> None:
        """Prepare the collection.

        Parameters
        ----------
        axis
            The time axis.
        lives
            Birth and end of each farmer [s since the epoch].
        slots
            How many slots each has.
        """
        self._axis = axis
        self._lives = lives
        self._scale = BINS / axis.length if axis.length else 0.0
        self._busy = [Coverage() for _ in lives]
        self._failed = [Coverage() for _ in lives]
        self.offered = Coverage()
        """Slots that there were."""
        self.offered_time = 0.0
        """Slot time of all farmers [s]."""
        for (born, left), count in zip(lives, slots, strict=True):
            begin, end = axis.place(born), axis.place(left)
            self.offered.add(begin * self._scale, end * self._scale, count)
            self.offered_time += count * (end - begin)
        self.busy_times = [0.0] * len(lives)
        """Slot time in which tasks ran, of each farmer [s]."""
        self.spoilt_times: dict[tuple[int, Outcome], float] = {}
        """Slot time of runs that were cut short, by farmer and how [s]: their tasks had to be run again."""
        self.spoilt = 0
        """How many runs were cut short."""
        self.count = 0
        self.exact: list[Lane] = []
        """The runs one by one, if they are few."""

    def see(self, farmer: int, run: Attempt) -> None:
        """Take a run into account."""
        begin = self._axis.place(run.begin)
        end = max(self._axis.place(self._lives[farmer][1] if run.end is None else run.end), begin)
        self._busy[farmer].add(begin * self._scale, end * self._scale)
        self.busy_times[farmer] += end - begin
        if run.outcome is not Outcome.FINISHED and run.outcome is not Outcome.RUNNING:
            self._failed[farmer].add(begin * self._scale, end * self._scale)
        if run.outcome in (Outcome.KILLED, Outcome.LOST):
            key = (farmer, run.outcome)
            self.spoilt_times[key] = self.spoilt_times.get(key, 0.0) + end - begin
            self.spoilt += 1
        self.count += 1
        if self.count <= EXACT_RUNS:
            self.exact.append(Lane(farmer, run, begin, end))

    @property
    def is_exact(self) -> bool:
        """Whether all runs were kept one by one."""
        return self.count <= EXACT_RUNS

    @property
    def busy_time(self) -> float:
        """Slot time in which tasks ran [s]."""
        return sum(self.busy_times)

    def busy(self, farmers: list[int]) -> list[float]:
        """Return the mean number of busy slots of some farmers in each part of the axis."""
        return _sum([self._busy[farmer] for farmer in farmers])

    def failed(self, farmers: list[int]) -> list[float]:
        """Return the same for runs that failed or were cut short."""
        return _sum([self._failed[farmer] for farmer in farmers])


def _sum(coverages: list[Coverage]) -> list[float]:
    return [sum(values) for values in zip(*(coverage.values() for coverage in coverages), strict=True)]
