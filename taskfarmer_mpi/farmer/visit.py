"""A visit to the shared lists: outcomes go in, tasks come back or out, in an order that survives death at any point.

1. Outcomes are appended to `finished` and `failed`, and reach the disk.
2. Tasks that are given back are appended to `toprocess`, and reach the disk.
3. The journal says so, and which tasks are taken, and reaches the disk.
4. `toprocess` loses the taken tasks.

Died after 1 or 2: recovery finds the lines in the lists and does nothing. Died after 3: it finds the tasks still there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from taskfarmer_mpi.errors import FencedError
from taskfarmer_mpi.tasklists.task import Run, Task
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.journal import Journal
from taskfarmer_mpi.workdir.lists import (
    Recorded,
    append_tasks,
    cut_tasks,
    give_back_tasks,
    is_plain_farmer_about,
    peek_tasks,
)
from taskfarmer_mpi.workdir.locks import LifeLock


@dataclass(frozen=True, slots=True)
class Visit:
    """What a visit brought."""

    taken: list[Task]
    is_empty: bool
    """Whether nothing is left to take."""


class Visitor:
    """One farmer's way to the shared lists; every call is made with the work directory's lock held."""

    def __init__(self, farm: Farm, journal: Journal, life: LifeLock) -> None:
        self._farm = farm
        self._journal = journal
        self._life = life
        self._recorded: Recorded | None = None

    def visit(self, outcomes: Sequence[Run], back: Sequence[Task], count: Callable[[int], int]) -> Visit:
        """Record outcomes, give tasks back and take others.

        Parameters
        ----------
        outcomes
            Runs that ended with a final verdict.
        back
            Tasks in this farmer's hands that it will not run.
        count
            How many tasks to take, told about how many there are.

        Raises
        ------
        FencedError
            If others hold this farmer for dead; nothing was written.
        FarmError
            If a list or the journal cannot be read or written.
        """
        if not (self._journal.is_own() and self._life.is_held()):
            raise FencedError("others declared this farmer dead and took its tasks over")
        self._farm.catalog.advance()
        if outcomes:
            self._record(outcomes)
        if back:
            self._give_back(back)
        taken, is_empty = self._take(count)
        if (outcomes or back) and not taken:
            self._journal.sync()
        return Visit(taken, is_empty)

    def _record(self, outcomes: Sequence[Run]) -> None:
        finished = [run.task for run in outcomes if run.is_finished]
        failed = [run.task for run in outcomes if not run.is_finished]
        if finished:
            append_tasks(self._farm.workdir.finished, finished)
        if failed:
            append_tasks(self._farm.workdir.failed, failed)
        self._journal.note("recorded")

    def _give_back(self, tasks: Sequence[Task]) -> None:
        ids = sorted(task.id for task in tasks)
        self._journal.note("giving", ids=ids)
        self._journal.flush()
        give_back_tasks(self._farm, tasks)
        self._journal.note("given", ids=ids)

    def _take(self, count: Callable[[int], int]) -> tuple[list[Task], bool]:
        stacks = [self._farm.workdir.toprocess]
        if self._farm.catalog.listed < len(self._farm.catalog) and self._farm.workdir.added.exists():
            stacks.append(self._farm.workdir.added)
        for path in stacks:
            top = peek_tasks(path, count, self._is_known)
            taken = self._without_recorded(top.tasks)
            if top.tasks:
                self._journal.note("taken", ids=[task.id for task in taken])
                self._journal.sync()
                cut_tasks(path, top)
            if top.tasks or top.end > 0:
                return taken, top.end == 0 and path == stacks[-1]
        return [], True

    def _without_recorded(self, tasks: list[Task]) -> list[Task]:
        """Leave out tasks that are done: a PyTaskFarmer that is told to stop puts some of those back on the list."""
        if self._recorded is None and tasks and is_plain_farmer_about(self._farm):
            self._recorded = Recorded(self._farm)
        if self._recorded is None:
            return tasks
        self._recorded.advance()
        return [task for task in tasks if not self._recorded.flags[task.id]]

    def _is_known(self, task: Task) -> bool:
        return self._farm.catalog.has(task.id, task.text.encode("utf-8", "surrogateescape"))
