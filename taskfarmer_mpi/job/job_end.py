"""The end of the batch job, as it moves: limits are changed, jobs are suspended and resumed.

Of the ranks of a job, the leader asks the scheduler again now and then and tells the others; farmers that do not know of
each other ask for themselves, the less often the more of them were started. Nobody waits for the answer.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from functools import partial

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.programs import AskError
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.job.walltime import own_job

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading

log = Log(__name__)

LOOK_INTERVAL = 300.0
"""How often the scheduler is asked [s]; half as often after each time that it does not answer."""
LONGEST_INTERVAL = 3600.0
"""How often at least [s]."""
SHORTEST_INTERVAL = 60.0
"""How often at most [s], whatever happens."""
LAST_LOOK = (20.0, 40.0)
"""It is asked once more so long before tasks would no longer be started, and before the farmer would stop [s]."""
GAP = 10.0
"""Who did nothing for longer than this [s] may have been suspended, and the job ends later."""
DOUBT = 12.0
"""How long the end is not believed then, unless there is an answer [s]: a little longer than one may take."""
MANY = 100
"""More farmers than this that do not know of each other ask as often as so many."""
_SAME = 2.0
"""Ends that differ by less are one [s], unless the scheduler's answers are coarser."""


class Clocks(Value):
    """What a farmer reads the time from; for tests, others."""

    steady: Callable[[], float] = time.monotonic
    """Only goes forward [s]."""
    wall: Callable[[], float] = time.time
    """[s since the epoch]"""
    offset: float = 0.0
    """What to add to the latter to get rank 0's [s]."""


class JobEnd:
    """When the batch job ends, for one farmer."""

    def __init__(
        self,
        end: float | None,
        ask: Callable[[], float] | None,
        *,
        grace: float,
        askers: int = 1,
        resolution: float = _SAME,
        clocks: Clocks | None = None,
    ) -> None:
        """Take what is known.

        Parameters
        ----------
        end
            When the job ends, by rank 0's clock [s since the epoch]; None if that is not known.
        ask
            Returns when it ends [s since the epoch], infinite if there is no limit; raises `AskError`. None if nobody knows.
        grace
            How long before that the farmer must stop [s].
        askers
            How many farmers ask for the same job without knowing of each other.
        resolution
            By how much the answers differ although nothing has changed [s].
        clocks
            What to read the time from; None for the node's.
        """
        self._ask = ask
        self._grace = grace
        self._clocks = clocks = clocks or Clocks()
        self._same = max(_SAME, resolution)
        self._scale = max(1.0, askers / MANY)
        self._pause = LOOK_INTERVAL * _between(0.9, 1.1)
        self._lead = _between(LAST_LOOK[0], LAST_LOOK[1] * self._scale)
        self._asked = self._last_step = clocks.steady()
        self._doubt_until = -math.inf
        self._worker: threading.Thread | None = None
        self._answer: float | None = None
        self.hear(end)

    @property
    def moment(self) -> float:
        """When the farmer must stop, on the clock that only goes forward [s]."""
        return math.inf if self._doubt_until > -math.inf and self._is_in_doubt else self._moment

    @property
    def _is_in_doubt(self) -> bool:
        return self._clocks.steady() < self._doubt_until

    def hear(self, end: object) -> None:
        """Believe another rank, which says when the job ends by rank 0's clock [s since the epoch], or None for never.

        Raises
        ------
        TypeError
            If that is no time.
        """
        if not isinstance(end, float | int | None):
            raise TypeError(end)
        self._believe(math.inf if end is None else end - self._clocks.offset)

    def tell(self) -> float | None:
        """Return what the other ranks are to hear."""
        return None if self._end == math.inf else round(self._end + self._clocks.offset, 3)

    def step(self, *, is_leader: bool, task_time: float) -> bool:
        """See to it that the end is known; do not wait for anything.

        Parameters
        ----------
        is_leader
            Whether it is this rank that asks.
        task_time
            How long before the stop no more tasks are started [s].

        Returns
        -------
        Whether the others are to be told.
        """
        if self._ask is None:
            return False
        now = self._clocks.steady()
        if now - self._last_step > GAP and self._moment < math.inf:
            self._doubt_until = now + DOUBT
        self._last_step = now
        if self._worker is not None:
            return not self._worker.is_alive() and self._take_answer()
        if is_leader and self._is_time(now, task_time):
            self._begin(now)
        return False

    def _is_time(self, now: float, task_time: float) -> bool:
        if now - self._asked < SHORTEST_INTERVAL * self._scale:
            return False
        if self._is_in_doubt or now - self._asked >= self._pause * self._scale:
            return True
        return any(self._asked < self._moment - time - self._lead <= now for time in (task_time, 0.0))

    def _begin(self, now: float) -> None:
        self._asked = now
        self._answer = None
        import threading

        self._worker = threading.Thread(target=self._look, daemon=True)
        try:
            self._worker.start()
        except RuntimeError:  # no process can be started now
            self._worker = None

    def _look(self) -> None:
        try:
            self._answer = self._ask() if self._ask is not None else None
        except AskError as error:
            log.info("the scheduler does not say when the job ends: %s", error)

    def _take_answer(self) -> bool:
        self._worker = None
        end = self._answer
        if end is None or end <= self._clocks.wall():
            self._pause = min(2 * self._pause, LONGEST_INTERVAL)
            self._doubt_until = -math.inf
            return False
        self._pause = min(self._pause, LOOK_INTERVAL)
        has_moved = end != self._end and not abs(end - self._end) < self._same
        is_news = has_moved or self._is_in_doubt
        if has_moved:
            log.warning("the job ends %s now; it was to end %s", _clock_time(end), _clock_time(self._end))
            self._believe(end)
        self._doubt_until = -math.inf
        return is_news

    def _believe(self, end: float) -> None:
        """Take the end by this node's clock [s since the epoch] for what it is."""
        self._end = end
        self._moment = self._clocks.steady() + end - self._clocks.wall() - self._grace
        self._doubt_until = -math.inf


def make_job_end(end: float | None, environ: Mapping[str, str], *, grace: float, askers: int, clocks: Clocks) -> JobEnd:
    """Return the end of the batch job that the environment names; the parameters are those of `JobEnd`."""
    job = own_job(environ)
    if job is None:
        return JobEnd(end, None, grace=grace, askers=askers, clocks=clocks)
    ask = partial(job.ask_end, job.number)
    return JobEnd(end, ask, grace=grace, askers=askers, resolution=job.resolution, clocks=clocks)


def _between(low: float, high: float) -> float:
    """Return a random number."""
    return low + (high - low) * int.from_bytes(os.urandom(2)) / 65536


def _clock_time(moment: float) -> str:
    return "never" if moment == math.inf else time.strftime("at %Y-%m-%d %H:%M:%S", time.localtime(moment))
