"""Where every task of a work directory is, for those who only look: no lock is taken, and no tasklist handler is needed.

A task goes from `toprocess` into a farmer's journal, and from there to `finished` or `failed`. The files are read in this
order, so a task that goes on meanwhile is seen at least once, and where it is twice, the later place counts. But a task
that does not run is to do if it is on the list: `taskfarmer-ctl retry` puts tasks there that the journal of their last
farmer still has. The few that can go back (a farmer that stops) are looked for a second time before they count as in
nobody's hands.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from enum import IntEnum
from pathlib import Path

from taskfarmer_mpi.history.journal_summary import JournalSummary
from taskfarmer_mpi.workdir.files import Workdir, read_file, reading
from taskfarmer_mpi.workdir.growing_file import GrowingFile
from taskfarmer_mpi.workdir.journal_reading import all_journals
from taskfarmer_mpi.workdir.lists import ids_in

MAX_ID = 2**27
"""IDs beyond this one are not believed: a damaged list must not cost gigabytes."""


class Place(IntEnum):
    """Where a task is."""

    NOWHERE = 0
    """In nobody's hands, as far as the files tell: a plain PyTaskFarmer has it, or had it when it died."""
    TO_DO = 1
    HELD = 2
    """In the hands of a farmer of ours."""
    FINISHED = 3
    FAILED = 4
    REMOVED = 5
    """A user took it off the list."""


class TaskStates:
    """Follows the lists and journals of a work directory: each `look` reads what has come since the last one."""

    def __init__(self, workdir: Workdir) -> None:
        self._workdir = workdir
        self._recorded = bytearray()
        self._lists = {
            Place.FINISHED: GrowingFile(workdir.finished),
            Place.FAILED: GrowingFile(workdir.failed),
            Place.REMOVED: GrowingFile(workdir.removed),
        }
        self.summaries: dict[str, JournalSummary] = {}
        """What each farmer's journal says, by the farmer's name."""
        self.troubles: list[str] = []
        """What could not be read at the last look, and why."""
        self.places = bytearray()
        """The `Place` of each task at the last look."""

    def look(self, known: int = 0, wanted: Collection[int] = ()) -> None:
        """See where the tasks are.

        Parameters
        ----------
        known
            How many tasks there are at least; more may be on the lists.
        wanted
            Tasks whose failures the summaries keep.

        Raises
        ------
        FarmError
            If a list cannot be read.
        """
        self.places = self._look(known, wanted)
        if Place.NOWHERE in self.places and self.summaries:
            again = self._look(known, wanted)
            for task_id, before in enumerate(self.places):
                if before and not again[task_id]:
                    again[task_id] = before  # on its way back to the list
            self.places = again

    def count(self, place: Place) -> int:
        """Return how many tasks are at a place."""
        return self.places.count(place)

    def count_held(self, summary: JournalSummary) -> int:
        """Return how many of the tasks that a journal took are in its farmer's hands still."""
        held = summary.held
        if max(held, default=0) >= len(self.places):
            held = {task for task in held if task < len(self.places)}
        return bytes(map(self.places.__getitem__, held)).count(Place.HELD)

    def at(self, place: Place, limit: int | None = None) -> list[int]:
        """Return the tasks at a place, in their order; at most `limit` of them."""
        found: list[int] = []
        for match in re.finditer(re.escape(bytes([place])), self.places):
            if limit is not None and len(found) >= limit:
                break
            found.append(match.start())
        return found

    def _look(self, known: int, wanted: Collection[int]) -> bytearray:
        to_do = [_read_list(path) for path in (self._workdir.toprocess, self._workdir.added)]
        self._read_journals(wanted)
        self._read_outcomes()
        places = bytearray(self._recorded)
        if len(places) < known:
            places.extend(bytes(known - len(places)))
        for data in to_do:
            _mark(places, ids_in(data), Place.TO_DO)
        for summary in self.summaries.values():
            if summary.is_open:
                _mark(places, summary.held, Place.HELD)
                doubtful = {task_id for task_id in summary.held if task_id <= MAX_ID and places[task_id] == Place.TO_DO}
                for run in summary.running() if doubtful else ():
                    if run.task_id in doubtful:
                        places[run.task_id] = Place.HELD
        return places

    def _read_journals(self, wanted: Collection[int]) -> None:
        self.troubles = []
        for path in all_journals(self._workdir.farmers):
            summary = self.summaries.setdefault(path.stem, JournalSummary(path))
            try:
                summary.advance(wanted)
            except FileNotFoundError:
                del self.summaries[path.stem]  # of a command that moved tasks, and had nothing in its hands when it ended
            except OSError as error:
                self.troubles.append(f"{path}: cannot read: {error.strerror}")
            if summary.has_damage:
                said = "a record is not as farmers write them; it does not count: see taskfarmer-ctl repair"
                self.troubles.append(f"{path}: {said}")

    def _read_outcomes(self) -> None:
        if not self._mark_news():
            self._recorded = bytearray()
            self._lists = {place: GrowingFile(followed.path) for place, followed in self._lists.items()}
            self._mark_news()

    def _mark_news(self) -> bool:
        """Take in what was recorded; return False if a list is another one than before."""
        for place, followed in self._lists.items():
            with reading(followed.path):
                for lines, is_anew in followed.news():
                    if is_anew:
                        return False
                    _mark(self._recorded, ids_in(lines), place, is_stronger=True)
        return True


def _read_list(path: Path) -> bytes:
    with reading(path):
        return read_file(path) or b""


def _mark(places: bytearray, ids: Iterable[int], place: Place, *, is_stronger: bool = False) -> None:
    """Note where tasks are; unless it is stronger, only where nothing is noted yet."""
    known = list(ids)
    if max(known, default=0) > MAX_ID:
        known = [task_id for task_id in known if task_id <= MAX_ID]
    if (missing := max(known, default=-1) + 1 - len(places)) > 0:
        places.extend(bytes(missing))
    value = int(place)
    if is_stronger:
        for task_id in known:
            places[task_id] = value
    else:
        for task_id in known:
            if not places[task_id]:
                places[task_id] = value
