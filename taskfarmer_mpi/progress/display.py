"""Shows the progress of the whole work directory while this farmer leads its job: as a bar, or as a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.errors import FarmError, UserError
from taskfarmer_mpi.job.coordination import Coordinator
from taskfarmer_mpi.progress.counting import Counter
from taskfarmer_mpi.progress.rates import LineSchedule, RateMeter, format_line
from taskfarmer_mpi.workdir.farm import Farm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from taskfarmer_mpi.progress.bar import Bar

log = Log(__name__)

BAR_INTERVAL = 1.0
"""How often the lists are looked at for a bar [s]."""
LINES_INTERVAL = 5.0
"""How often they are looked at for lines [s]."""
COST_FACTOR = 100.0
"""A look is not repeated before so many times as long as it took: looks cost 1 % at most."""


def choose_display(mode: str, stream: TextIO, environ: Mapping[str, str]) -> str:
    """Return ``"bar"``, ``"lines"`` or ``"none"``.

    Parameters
    ----------
    mode
        What the user asked for, one of `PROGRESS_MODES`.
    stream
        Where messages go.
    environ
        The environment.

    Raises
    ------
    UserError
        If a bar is asked for and cannot be drawn.
    """
    if mode == "bar" and not _can_draw():
        raise UserError("--progress bar: the package rich is not installed: pip install 'taskfarmer-mpi[progress]'")
    if mode != "auto":
        return mode
    is_fit = stream.isatty() and environ.get("TERM", "dumb") not in ("dumb", "unknown")
    return "bar" if is_fit and _can_draw() else "lines"


def _can_draw() -> bool:
    from importlib.util import find_spec

    return find_spec("rich") is not None


class Display:
    """Looks at the lists now and then, and shows what it saw; `step` is called again and again."""

    def __init__(self, farm: Farm, mode: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin; nothing is read or shown yet.

        Parameters
        ----------
        farm
            Whose progress.
        mode
            ``"bar"`` or ``"lines"``.
        clock
            A clock that only goes forward [s].
        """
        self._clock = clock
        self._counter = Counter(farm)
        self._meter = RateMeter()
        self._is_bar = mode == "bar"
        self._interval = BAR_INTERVAL if self._is_bar else LINES_INTERVAL
        self._born = clock()
        self._next_look = self._born + (self._interval if self._is_bar else 0.0)
        self._schedule: LineSchedule | None = None
        self._bar: Bar | None = None

    def step(self, coordinator: Coordinator) -> None:
        """Look and show, if it is time to and this farmer leads."""
        now = self._clock()
        if now < self._next_look or not coordinator.is_leader:
            return
        try:
            if self._is_bar and self._bar is None:
                from taskfarmer_mpi.progress.bar import Bar

                self._bar = Bar(sys.stderr)
                now = self._clock()
            self._look(now)
        except (FarmError, OSError) as error:  # whether the farm can go on is the farmer's matter
            log.debug("cannot look at the progress: %s", error)
        cost = self._clock() - now
        self._next_look = now + max(self._interval, COST_FACTOR * cost)

    def _look(self, now: float) -> None:
        count = self._counter.look(at_running=self._bar is not None)
        self._meter.see(now, count.done)
        if self._bar is not None:
            self._bar.show(count, self._meter.rate)
        elif self._schedule is None:
            self._schedule = LineSchedule(self._born, count.share)
        elif self._schedule.is_due(now, count.share):
            log.warning("%s", format_line(self._counter.look(), self._meter.rate, now - self._born))

    def close(self) -> None:
        """Take the bar away, if there is one."""
        if self._bar is not None:
            with suppress(OSError):  # the terminal is gone
                self._bar.close()
            self._bar = None
