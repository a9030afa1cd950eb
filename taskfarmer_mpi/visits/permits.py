"""Tasks of which only so many may run at once in the whole farm: which of them one farmer may take now.

Who has how many is known by the journals of all farmers, dead ones included until they are settled: a task counts from when
it is taken until it has ended or is back on the list. So no farmer has to tell the others anything.
"""

from __future__ import annotations

from collections import Counter

from taskfarmer_mpi.errors import FarmError
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.journal_reading import OpenJournals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.directives.book import SettingsBook


class Permits:
    """What one farmer may take; every call is made with the work directory's lock held."""

    def __init__(self, farm: Farm, settings: SettingsBook) -> None:
        self._limits = farm.rules.limits
        self._settings = settings
        self._journals = OpenJournals(farm.workdir.farmers)
        self.begin(0)

    def begin(self, startable: int) -> None:
        """Begin a visit, at which so many tasks could be started at once; the own journal is in its file."""
        self._startable = startable
        self._room: dict[str, int] | None = None
        self.waiting = ""
        """Why tasks could not be taken, if so."""

    def may_take(self, task: int) -> bool | None:
        """Return whether a task may be taken; None if it may once a slot is free: so none waits here with a permit."""
        name = self._settings.of(task).limit
        if name:
            if self._room is None:
                self._room = self._look()
            if self._room.get(name, 0) <= 0:
                self.waiting = self.waiting or self._say(name)
                return False
            if self._startable <= 0:
                return None
            self._room[name] -= 1
        self._startable -= 1
        return True

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
