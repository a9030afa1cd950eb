"""Tasks that failed under a farmer and are on the list again: for a while it leaves them to others, if there is other work.

What made them fail may be its node. Nothing waits for that: where nothing else is on the list, it takes them itself.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from taskfarmer_mpi.tasklists.task import Task
    from taskfarmer_mpi.workdir.stack import Stack, Top

PREFERENCE = 10.0
"""How long they are left to others [s]."""
LARGEST = 1024 * 1024
"""On a longer list they are not passed over [bytes]: it is written anew for that."""


class Handover:
    """The tasks that one farmer leaves to others."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: set[int] = set()
        self._deadlines: dict[int, float] = {}

    def see_failed(self, tasks: Iterable[int]) -> None:
        """Know which tasks failed here, and are to be tried again."""
        self._failed.update(tasks)

    def see_back(self, tasks: Iterable[int]) -> None:
        """Know which tasks are on the list again."""
        if self._failed:
            now = self._clock()
            for task in self._failed.intersection(tasks):
                self._failed.discard(task)
                self._deadlines[task] = now + PREFERENCE

    def is_needed(self) -> bool:
        """Whether there are any."""
        if self._deadlines:
            now = self._clock()
            self._deadlines = {task: deadline for task, deadline in self._deadlines.items() if deadline > now}
        return bool(self._deadlines)

    def find_others(
        self,
        stack: Stack,
        count: Callable[[int], int],
        is_known: Callable[[Task], bool],
        may_take: Callable[[int], bool | None] = lambda _task: True,
    ) -> Top | None:
        """Return what may be taken of a stack without those; None if that is nothing; parameters as of `Stack.pick`."""
        if stack.size > LARGEST:
            return None
        top = stack.pick(count, is_known, lambda task: task not in self._deadlines and may_take(task))
        return top if top.tasks else None
