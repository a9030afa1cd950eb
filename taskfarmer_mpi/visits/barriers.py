"""`#TF barrier` and `--then`: whether the tasks behind one may be taken, by the outcomes that are on the lists.

A barrier is open while all tasks before it have ended: they are in `finished`, `failed` or `removed`; those that are to be
tried again are not. Behind `#TF barrier check` nothing is run if one of them failed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain

from taskfarmer_mpi.errors import FarmError
from taskfarmer_mpi.policies.settings import LAST_STAGE
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import read_file
from taskfarmer_mpi.workdir.journal_reading import held_tasks
from taskfarmer_mpi.workdir.lists import Recorded, ids_in, is_plain_farmer_about

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.directives.book import SettingsBook

SEARCH = 5.0
"""How often the whole list is searched, and a task that a barrier waits for is looked for in all hands [s]."""


class Barriers:
    """What one farmer knows of them; every call is made with the work directory's lock held."""

    def __init__(self, farm: Farm, settings: SettingsBook) -> None:
        self._farm = farm
        self._settings = settings
        self._recorded = Recorded(farm)
        self._flags, self._count = self._recorded.flags, 0
        self._cursors: dict[int, int] = {}
        """Up to which task none is awaited before a stage."""
        self._passed = 0
        """No task of a stage before this one failed."""
        self._next_search = time.monotonic() + SEARCH
        self.begin()

    def begin(self) -> None:
        """Begin a visit."""
        self._known: dict[tuple[int, int], bool] = {}
        self._has_looked = False
        self.is_searching = False
        """Whether it is time to look at the whole list: what is awaited may be below what waits."""
        self.waiting = self.blocked = ""
        """What tasks behind a barrier wait for; why they are never run, if so."""

    def may_take(self, task: int) -> bool:
        """Return whether no barrier that is closed is before a task."""
        settings = self._settings.of(task)
        if not settings.stage:
            return True
        if not self._has_looked:
            self._look()
        where = (settings.stage, settings.checked)
        if where not in self._known:
            self._known[where] = not self.blocked and self._is_open(*where)
        return self._known[where]

    def _look(self) -> None:
        self._has_looked = True
        self._recorded.advance()
        if self._recorded.flags is not self._flags:  # tasks are to be done again
            self._cursors.clear()
        if self._recorded.flags is not self._flags or self._count != len(self._flags):
            self._flags, self._count, self._passed = self._recorded.flags, len(self._recorded.flags), 0
        if time.monotonic() >= self._next_search:
            self.is_searching = True
            self._next_search = time.monotonic() + SEARCH
        if is_plain_farmer_about(self._farm):
            self.blocked = (
                "a PyTaskFarmer is at work here, which does not heed #TF barrier or --then: what waits there is not run"
            )

    def _is_open(self, stage: int, checked: int) -> bool:
        """Whether the barriers before a stage are open, of which so many ask that nothing failed before."""
        if checked and self._is_awaited(checked):
            return False
        if checked > self._passed:
            if self._has_failed(checked):
                return False
            self._passed = checked
        return not self._is_awaited(stage)

    def _has_failed(self, checked: int) -> bool:
        """Whether a task before a stage failed; say which."""
        failed = ids_in(read_file(self._farm.workdir.failed) or b"")
        found = sorted({task for task in failed if self._is_in(task, checked)})
        if found:
            self.blocked = say_failed_check(found)
        return bool(found)

    def _is_in(self, task: int, stage: int) -> bool:
        return self._settings.of(task).stage < stage

    def _is_awaited(self, stage: int) -> bool:
        """Whether a task before a stage has not ended; say which."""
        task = self._cursors.get(stage, 0)
        while (task := self._flags.find(0, task)) >= 0 and not self._is_in(task, stage):
            task += 1
        self._cursors[stage] = task if task >= 0 else len(self._flags)
        if task < 0:
            return False
        what = "the command of --then waits" if stage == LAST_STAGE else "the tasks behind a barrier wait"
        self.waiting = f"{what} for those before it, like task {task}"
        if self.is_searching and self._is_lost(task):
            self.blocked = f"{what} for task {task}, which is in nobody's hands: see --reclaim"
        return True

    def _is_lost(self, task: int) -> bool:
        workdir = self._farm.workdir
        on_list = chain.from_iterable(ids_in(read_file(path) or b"") for path in (workdir.toprocess, workdir.added))
        try:
            return task not in held_tasks(workdir.farmers) and task not in on_list
        except FarmError:  # who has it is not known: recovery says more of it
            return False


def say_failed_check(failed: Sequence[int]) -> str:
    """Say that tasks are not run, as some before them failed."""
    more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    return (
        f"the tasks behind #TF barrier check are not run, as task {failed[0]}{more} failed: to go on, taskfarmer-ctl retry"
    )
