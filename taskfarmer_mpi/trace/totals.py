"""How many tasks of a work directory are finished, failed and left, over time."""

from __future__ import annotations

from collections.abc import Iterator

from taskfarmer_mpi.trace.curves import Curve
from taskfarmer_mpi.trace.events import encode_count

POINTS = 4000
"""Most points of a curve."""


class Totals:
    """Counts the ends of runs, in any order; times are whole microseconds since the epoch."""

    def __init__(self, total: int) -> None:
        """Begin with `total` tasks that are left."""
        self._total = total
        self._begin: int | None = None
        self._ended = {is_finished: Curve(POINTS) for is_finished in (True, False)}
        self._left = Curve(POINTS)

    def copy(self) -> Totals:
        """Return one with the same counts, to which others can be added."""
        other = Totals(self._total)
        other._begin = self._begin
        other._ended = {is_finished: steps.copy() for is_finished, steps in self._ended.items()}
        other._left = self._left.copy()
        return other

    def begin(self, moment: int) -> None:
        """Note that something happened at this time."""
        self._begin = moment if self._begin is None else min(moment, self._begin)

    def end(self, moment: int, *, is_finished: bool, change: int = 1) -> None:
        """Count a task that ended; with `change` -1, one that is to be done again."""
        self._ended[is_finished].add(moment, change)
        self._left.add(moment, -change)

    def encode(self, pid: int) -> Iterator[bytes]:
        """Yield the curves as counters of a process."""
        curves = (
            ("left", self._total, self._left.values(self._total)),
            ("finished", 0, self._ended[True].values()),
            ("failed", 0, self._ended[False].values()),
        )
        for series, first, values in curves:
            for number, (moment, value) in enumerate(values):
                if number == 0 and self._begin is not None and self._begin < moment:
                    yield encode_count(pid, "tasks", series, self._begin, first)
                yield encode_count(pid, "tasks", series, moment, max(value, 0))
