"""The simulation: events of farmers in the order of time, and one lock."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest import mock

from farm_model.farmer import ModelFarmer
from farm_model.stores import CALLS_IN_VISIT, OLD_END_PER_TASK, PER_TASK
from farm_model.waiting import Line, PausingLine, PollingLine

POLL = 0.05
"""After how long farmers of the old protocol asked for the lock again [s]."""


@dataclass(frozen=True)
class Crowd:
    """Farmers that share one list."""

    farmers: int
    slots: int
    tasks: int
    duration: float
    """How long a task lasts [s]."""
    visit: float
    """How long a visit holds the lock, without what each task adds [s]."""
    stagger: float = 0.0
    """How long after one farmer the next one starts [s]."""
    is_old: bool = False
    """Whether they poll, and visit as often as if each was alone."""
    is_job: bool = False
    """Whether they are ranks of one job, of which the leader alone ends it; else each one does."""
    holds: tuple[float, ...] = ()
    """If given, each hold lasts as long as one of these, drawn by chance [s]."""
    calls_in_visit: int = CALLS_IN_VISIT
    per_task: float = PER_TASK
    seed: int = 1

    @property
    def ideal(self) -> float:
        """How long the tasks take if no slot ever waits [s]."""
        return -(-self.tasks // (self.farmers * self.slots)) * self.duration

    @property
    def end_hold(self) -> float:
        """How long a farmer holds the lock at its end [s]."""
        return self.visit + (self.tasks * OLD_END_PER_TASK if self.is_old and not self.is_job else 0.0)


@dataclass
class Result:
    """What came of it."""

    run: int = 0
    """Tasks that were run and recorded."""
    tries: int = 0
    """Attempts at the lock, those that succeeded included."""
    holds: int = 0
    held: float = 0.0
    """How long the lock was held in all [s]."""
    longest: float = 0.0
    """The longest wait [s]."""
    waited: float = 0.0
    """All waits together [s]."""
    last_task: float = 0.0
    """When the last task ended [s]."""
    end: float = 0.0
    """When the last farmer ended [s]."""
    calls: float = 0.0
    """Calls to the lock server."""


@dataclass
class Simulation:
    """One run of a crowd."""

    crowd: Crowd
    result: Result = field(default_factory=Result)

    def __post_init__(self) -> None:
        crowd = self.crowd
        self._dice = random.Random(crowd.seed)  # noqa: S311
        self._line: Line = PollingLine(POLL) if crowd.is_old else PausingLine(crowd.farmers)
        births = [self._birth(number) for number in range(crowd.farmers)]
        self._farmers = [ModelFarmer(crowd.slots, crowd.duration, born) for born in births]
        self._events = [(born, number) for number, born in enumerate(births)]
        heapq.heapify(self._events)
        self._joining = set(range(crowd.farmers))
        self._since: dict[int, float] = {}
        self._free_at = 0.0
        self._remaining = crowd.tasks
        self._present = crowd.farmers

    def _birth(self, number: int) -> float:
        """Return when a farmer comes to the lists [s]; the ranks of a job do within a second."""
        crowd = self.crowd
        return self._dice.random() if crowd.is_job else (number + self._dice.random()) * crowd.stagger

    def run(self) -> Result:
        """Run until the last farmer has ended."""
        while self._step():
            pass
        self.result.tries = self.result.holds + self._line.tries
        self.result.calls = self._line.tries + self.result.holds * self.crowd.calls_in_visit
        return self.result

    def _step(self) -> bool:
        """Let the next event happen; return whether there was one."""
        asks = self._line.first(self._free_at)
        if asks is not None and (not self._events or asks[0] <= self._events[0][0]):
            moment, number = asks
            self._line.leave(moment)
            self._hold(number, moment)
        elif self._events:
            self._wake(*heapq.heappop(self._events))
        return bool(asks or self._events)

    def _wake(self, moment: float, number: int) -> None:
        farmer = self._farmers[number]
        farmer.advance(moment)
        if not (number in self._joining or farmer.is_done or farmer.due() <= moment):
            heapq.heappush(self._events, (max(farmer.next_event(), moment), number))
        elif moment >= self._free_at:
            self._hold(number, moment)
        else:
            self._since[number] = moment
            self._line.join(number, moment)

    def _hold(self, number: int, moment: float) -> None:
        farmer, begin = self._farmers[number], self._since.pop(number, moment)
        farmer.advance(moment)
        if number in self._joining:
            self._joining.remove(number)
            self._book(moment, begin, self.crowd.visit)
        elif farmer.is_done:
            self._book(moment, begin, self.crowd.end_hold)
            self._leave(farmer)
            return
        else:
            self._visit(farmer, moment, begin)
        self._plan(number)

    def _visit(self, farmer: ModelFarmer, moment: float, begin: float) -> None:
        recorded, taken = farmer.exchange(self._remaining, self._present)
        self._remaining -= taken
        self.result.run += recorded
        self._book(moment, begin, self.crowd.visit + self.crowd.per_task * (recorded + abs(taken)))
        farmer.end_visit(self._free_at, begin, moment - begin, 1 if self.crowd.is_old else self._present)

    def _book(self, moment: float, begin: float, hold: float) -> None:
        hold = self._dice.choice(self.crowd.holds) if self.crowd.holds else hold
        self._free_at = moment + hold
        self.result.holds += 1
        self.result.held += hold
        self.result.waited += moment - begin
        self.result.longest = max(self.result.longest, moment - begin)

    def _plan(self, number: int) -> None:
        """Look at a farmer again after its visit, or let it leave."""
        farmer = self._farmers[number]
        if farmer.is_done and self.crowd.is_job and self._present > 1:
            self._leave(farmer)
        else:
            at = self._free_at if farmer.is_done else max(farmer.next_event(), self._free_at)
            heapq.heappush(self._events, (at, number))

    def _leave(self, farmer: ModelFarmer) -> None:
        self._present -= 1
        self.result.last_task = max(self.result.last_task, farmer.last_end)
        self.result.end = max(self.result.end, self._free_at)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let the chance in the product's pauses be the same each time."""
    with mock.patch("os.urandom", random.Random(seed).randbytes):  # noqa: S311
        yield


def simulate(crowd: Crowd) -> Result:
    """Return what comes of a crowd; the same each time."""
    with seeded(crowd.seed):
        return Simulation(crowd).run()
