"""The tasks that one farmer took and has not settled, by what is to be done with them; those that run are in the pool."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from taskfarmer_mpi.tasklists.task import Run, Task

VERDICT_DELAY = 1.0
"""How long a death by signal may turn out to be part of a shutdown [s]: Slurm can signal a task before its farmer."""


class TasksInHand:
    """Tasks to start, runs to judge, outcomes to record, tasks to give back."""

    def __init__(self) -> None:
        self.queue: deque[Task] = deque()
        """To be started, in this order."""
        self.outcomes: list[Run] = []
        """Ended with a final verdict, not in the lists yet."""
        self.back: list[Task] = []
        """To go back to the list."""
        self._doubtful: deque[tuple[float, Run]] = deque()

    def __bool__(self) -> bool:
        return bool(self.queue or self.outcomes or self.back or self._doubtful)

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

    def give_back_queue(self) -> None:
        """Start none of the tasks that wait."""
        self.back += self.queue
        self.queue.clear()
