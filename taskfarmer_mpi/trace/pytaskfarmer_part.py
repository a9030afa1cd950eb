"""What plain farmers add to a trace: their events, names for their lanes, and their share of the counters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress

from taskfarmer_mpi.history.event_marks import Event, is_time
from taskfarmer_mpi.trace.events import encode_event, name_process, name_thread
from taskfarmer_mpi.trace.totals import Totals

FIRST_PID = 2**22 + 1
"""Process number of the whole work directory, and below those of our farmers: above any OS pid on Linux, so that those of
plain farmers never meet them."""
_SPARE_LANES = (0, *(2**30 + number * 2**23 for number in range(100)))
"""What is added to a thread number, above any OS pid on Linux, to get other lanes."""
_SORT_INDEX = 2**24
"""Where the processes of plain farmers are sorted in: behind ours."""


class PlainPart:
    """Takes the events of plain farmers one by one; what it makes depends on their order alone."""

    def __init__(self, totals: Totals, outcomes: Callable[[], dict[str, bool]]) -> None:
        """Begin with our own part.

        Parameters
        ----------
        totals
            The counters, with the runs of our farmers.
        outcomes
            Returns whether tasks that ended in the hands of plain farmers are finished, by their texts.
        """
        self._totals = totals
        self._read_outcomes = outcomes
        self._outcomes: dict[str, bool] | None = None
        self._ends: dict[tuple[int, int], float] = {}
        """End of the last event by lane [µs since the epoch]."""

    def take(self, event: Event) -> Iterator[bytes]:
        """Yield an event, and before it what names its lane."""
        pid, tid, begin, length = (event.get(name) for name in ("pid", "tid", "ts", "dur"))
        is_run = event.get("ph") == "X" and event.get("cat") == "task"
        if is_run and isinstance(pid, int) and isinstance(tid, int) and is_time(begin) and is_time(length):
            tid = self._find_lane(pid, tid, begin)
            yield from self._name(pid, tid)
            self._ends[pid, tid] = begin + length
            self._count(str(event.get("name")), round(begin), round(begin + length))
            event = event | {"tid": tid}
        with suppress(ValueError, RecursionError):  # a number or a depth that no JSON text can have
            yield encode_event(event)

    def _find_lane(self, pid: int, tid: int, begin: float) -> int:
        """Return the thread for an event: another one where farmers on two nodes have the same numbers at the same time."""
        lanes = (tid + spare for spare in _SPARE_LANES)
        return next((lane for lane in lanes if self._ends.get((pid, lane), begin) <= begin), tid)

    def _name(self, pid: int, tid: int) -> Iterator[bytes]:
        if (pid, pid) not in self._ends:
            self._ends[pid, pid] = math.inf
            yield from name_process(pid, f"PyTaskFarmer · pid {pid}", _SORT_INDEX + pid)
        if (pid, tid) not in self._ends:
            yield from name_thread(pid, tid, "worker", tid)

    def _count(self, name: str, begin: int, end: int) -> None:
        if self._outcomes is None:
            self._outcomes = self._read_outcomes()
        self._totals.begin(begin)
        is_finished = self._outcomes.get(name)
        if is_finished is not None:  # otherwise it was done again, and a journal has its outcome
            self._totals.end(end, is_finished=is_finished)

    def counters(self) -> Iterator[bytes]:
        """Yield the counters of the whole work directory, in little time."""
        yield from self._totals.encode(FIRST_PID)
