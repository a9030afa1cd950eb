"""Tasks of which only so many may run at once in the whole farm, or that have sizes: which of them one farmer may take now.

Who has how many is known by the journals of all farmers, dead ones included until they are settled: a task counts from when
it is taken until it has ended or is back on the list. So no farmer has to tell the others anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from taskfarmer_mpi.errors import FarmError
from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.journal import Journal
from taskfarmer_mpi.workdir.journal_reading import OpenJournals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.directives.book import SettingsBook
    from taskfarmer_mpi.resources.room import Room
    from taskfarmer_mpi.visits.barriers import Barriers
    from taskfarmer_mpi.visits.sizes import Sizes


class Permits:
    """What one farmer may take; every call is made with the work directory's lock held."""

    def __init__(self, farm: Farm, settings: SettingsBook) -> None:
        self._limits = farm.rules.limits
        self._settings = settings
        self._journals = OpenJournals(farm.workdir.farmers)
        self._sizes: Sizes | None = None
        self._barriers: Barriers | None = None
        self._farm = farm
        self.begin(0)

    def see_sizes(self, room: Room, journal: Journal) -> None:
        """Heed the sizes of tasks from now on."""
        if self._sizes is None:
            from taskfarmer_mpi.visits.sizes import Sizes

            self._sizes = Sizes(self._settings, room, journal, lambda: self._reservations(journal.identity.farmer))

    def see_barriers(self) -> None:
        """Heed barriers from now on."""
        if self._barriers is None:
            from taskfarmer_mpi.visits.barriers import Barriers

            self._barriers = Barriers(self._farm, self._settings)

    def begin(self, startable: int, queue: Iterable[Task] = ()) -> None:
        """Begin a visit, at which so many tasks could start beside those in the queue; the own journal is in its file."""
        self._startable = startable
        self._wanted = self._given = 0
        self._has_stopped = self._is_at_barrier = self.is_deep = self._has_skipped = False
        if self._sizes is not None:
            self._sizes.begin(queue)
        if self._barriers is not None:
            self._barriers.begin()
        self._room: dict[str, int] | None = None
        self.waiting = ""
        """Why tasks could not be taken, if so."""

    def counting(self, count: Callable[[int], int]) -> Callable[[int], int]:
        """Return what says how many tasks to take, as `count` does, and is remembered."""

        def counted(remaining: int) -> int:
            wanted = min(count(remaining), remaining)
            self._has_skipped = self._has_skipped or wanted <= 0 < remaining
            self._wanted = max(self._wanted, wanted)
            if self._sizes is not None:
                self._sizes.ahead = max(0, wanted - self._startable)
            return wanted

        return counted

    def may_take(self, task: int) -> bool | None:
        """Return whether a task may be taken; None if it may once a slot is free: so none waits here with a permit."""
        if self._barriers is not None and not self._barriers.may_take(task):
            self._is_at_barrier = True
            return False if self.is_deep else None  # in the order of the list all that follow wait, too, but for rare cases
        name = self._settings.of(task).limit
        if self._sizes is not None:
            self._sizes.see(task)
        if name:
            if self._room is None:
                self._room = self._look()
            if self._room.get(name, 0) <= 0:
                self.waiting = self.waiting or self._say(name)
                return False
            if self._startable <= 0:
                self._has_stopped = True
                return None
        if self._sizes is not None and not (verdict := self._fits(self._sizes, task, may_wait=not name)):
            return verdict
        if name and self._room is not None:
            self._room[name] -= 1
        self._startable -= 1
        self._given += 1
        return True

    def _fits(self, sizes: Sizes, task: int, *, may_wait: bool) -> bool | None:
        """Return whether there is room for a task; None to look no further."""
        if sizes.is_full:
            self._has_stopped = True
            return None
        if sizes.may_take(task, may_wait=may_wait):
            return True
        return None if sizes.has_seen_enough and not self.is_deep else False

    def should_look_again(self) -> bool:
        """Whether more tasks may be taken after all, now that the whole list was seen."""
        if self._barriers is not None and self._is_at_barrier and not self._given:
            self.is_deep = self._barriers.is_searching
            return self.is_deep
        has_seen_all = not (self._has_stopped or self._has_skipped or self._given) and self._wanted > 0
        return has_seen_all and self._sizes is not None and self._sizes.forget_gone()

    def end(self) -> tuple[str, str]:
        """End a visit; return why tasks could not be taken, and if that will always be so, which ones, if so."""
        waiting, unfit = self.waiting, ""
        if self._sizes is not None:
            self._sizes.end()
            waiting, unfit = waiting or self._sizes.waiting, self._sizes.unfit
        if self._barriers is not None and not unfit:  # what no farmer here can run keeps barriers closed
            unfit = self._barriers.blocked
            waiting = waiting or ("" if unfit else self._barriers.waiting)
        return waiting, "" if waiting or self._has_stopped else unfit

    def _reservations(self, own: str) -> dict[int, float]:
        """Return for which tasks other farmers keep room, and since when the last one does [s since the epoch]."""
        try:
            self._journals.advance()
        except FarmError:
            return {}
        return self._journals.reservations(own)

    def _look(self) -> dict[str, int]:
        try:
            self._journals.advance()
        except FarmError as error:  # who has how many is not known: recovery says more of it
            self.waiting = f"{error}: so none of the limited tasks is taken"
            return {}
        held = Counter(self._settings.of(task).limit for task in self._journals.unended())
        return {name: most - held[name] for name, most in self._limits.items()}

    def _say(self, name: str) -> str:
        if name not in self._limits:
            return f"tasks with limit={name} wait: this farmer knows of no --limit {name}=N"
        return f"tasks with limit={name} wait, as {self._limits[name]} are in the hands of farmers (--limit)"
