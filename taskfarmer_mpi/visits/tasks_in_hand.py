"""The tasks that one farmer took and has not settled, by what is to be done with them; those that run are in the pool."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Collection, Iterator

from taskfarmer_mpi.history.attempts import FAILED, Attempt, Attempts
from taskfarmer_mpi.tasklists.task import Run, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.directives.book import SettingsBook

VERDICT_DELAY = 1.0
"""How long a death by signal may turn out to be part of a shutdown [s]: Slurm can signal a task before its farmer."""


class TasksInHand:
    """Tasks to start, runs to judge, outcomes to record, tasks to give back."""

    def __init__(self, attempts: Attempts | None = None, farmer: str = "") -> None:
        """Have nothing in hand.

        Parameters
        ----------
        attempts
            How often tasks were tried; None where that does not matter.
        farmer
            Who has them.
        """
        self.attempts = attempts
        self.settings: SettingsBook | None = None
        """What single tasks have otherwise than the others; None where none has anything."""
        self._farmer = farmer
        self.tried: list[Attempt] = []
        """Attempts that are to be followed by others, and are not on disk."""
        self._later: list[tuple[float, int, Task]] = []
        self.queue: deque[Task] = deque()
        """To be started, in this order."""
        self.outcomes: list[Run] = []
        """Ended with a final verdict, not in the lists yet."""
        self.back: list[Task] = []
        """To go back to the list."""
        self.cancelled: list[Task] = []
        """To be recorded as removed."""
        self._doubtful: deque[tuple[float, Run]] = deque()

    def __bool__(self) -> bool:
        has_waiting = self.queue or self.back or self._later or self.cancelled
        return bool(has_waiting or self.outcomes or self._doubtful or self.tried)

    def doubt(self, run: Run, now: float) -> None:
        """Let the verdict on a run wait: a signal ended it, perhaps as part of a shutdown."""
        self._doubtful.append((now + VERDICT_DELAY, run))

    @property
    def next_verdict(self) -> float | None:
        """When the verdict on the next run is due [s]; None if none waits."""
        return self._doubtful[0][0] if self._doubtful else None

    def judged(self, now: float) -> Iterator[Run]:
        """Yield the runs whose verdict is due: no shutdown came."""
        while self._doubtful and self._doubtful[0][0] <= now:
            yield self._doubtful.popleft()[1]

    def doubted(self) -> Iterator[Run]:
        """Yield the runs whose verdict waits: a shutdown came."""
        while self._doubtful:
            yield self._doubtful.popleft()[1]

    def number_of(self, task: int) -> int:
        """Return the number of the attempt at a task that is in hand, from 1 on."""
        return 1 if self.attempts is None else self.attempts.count(task) + 1

    def try_again(self, task: Task, moment: float) -> int:
        """Have a task that failed go back to the list at some time [s]; return the number of the attempt that failed."""
        number = self.number_of(task.id)
        self.tried.append(Attempt(task.id, number, FAILED, self._farmer))
        heapq.heappush(self._later, (moment, task.id, task))
        return number

    def bring_back(self, now: float) -> None:
        """Have those tasks go back to the list for which it is time to be tried again."""
        while self._later and self._later[0][0] <= now:
            self.back.append(heapq.heappop(self._later)[-1])

    def cancel(self, tasks: Collection[int]) -> None:
        """Start none of some tasks, if they wait: they are to be removed."""
        waiting = [*self.queue, *self.back, *(task for _, _, task in self._later)]
        self.cancelled += [task for task in waiting if task.id in tasks]
        self.queue = deque(task for task in self.queue if task.id not in tasks)
        self.back = [task for task in self.back if task.id not in tasks]
        self._later = [entry for entry in self._later if entry[-1].id not in tasks]
        heapq.heapify(self._later)

    def give_back_queue(self) -> None:
        """Start none of the tasks that wait for a slot."""
        self.back += self.queue
        self.queue.clear()

    def give_back_all(self) -> None:
        """Start none of the tasks that wait, also of those that wait to be tried again."""
        self.bring_back(math.inf)
        self.give_back_queue()
