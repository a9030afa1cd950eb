"""Notes when the kernel killed something on this farmer's node for lack of memory, by the counter of its control group."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from taskfarmer_mpi.common.causes import Cause, signal_of
from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.machine.cgroups import oom_counter, read_oom_kills
from taskfarmer_mpi.tasklists.task import Run

LOOK_INTERVAL = 1.0
"""How often the counter is looked at [s]."""
_KILL = 9


class MemoryWatch:
    """When the counter grew."""

    def __init__(
        self, counter: Path | None, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        """Look at the counter for the first time.

        Parameters
        ----------
        counter
            What `oom_counter` returns.
        clock, wall
            A clock that only goes forward [s], and the time of day [s since the epoch].
        """
        self._counter = counter
        self._clock = clock
        self._wall = wall
        self._next_look = clock() + LOOK_INTERVAL
        self._kills = self._read()
        self._growths: list[float] = []

    @classmethod
    def here(cls) -> MemoryWatch:
        """Watch this process's own group."""
        return cls(oom_counter())

    def _read(self) -> int:
        return (read_oom_kills(self._counter) or 0) if self._counter is not None else 0

    def look(self) -> None:
        """Note whether the counter has grown, if it is time to."""
        if self._counter is not None and self._clock() >= self._next_look:
            self._look()

    def _look(self) -> None:
        self._next_look = self._clock() + LOOK_INTERVAL
        kills = self._read()
        if kills > self._kills:
            self._growths = [*self._growths[-999:], self._wall()]
        self._kills = max(kills, self._kills)

    def judge(self, run: Run) -> Run:
        """Return a run with lack of memory for its cause, if nothing else killed it and the counter grew while it ran."""
        if signal_of(run.returncode) != _KILL or run.known_cause is not None:
            return run
        self._look()
        was_short = any(run.started <= moment <= run.ended + 2 * LOOK_INTERVAL for moment in self._growths)
        return replace(run, known_cause=Cause.MEMORY) if was_short else run
