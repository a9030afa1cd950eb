"""Where the journals of all farmers say that each task is, whatever the lists say."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from taskfarmer_mpi.history.attempts import Attempts
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.journal_reading import JournalState, all_journals, open_journal
from taskfarmer_mpi.workdir.journal_records import OPEN_SUFFIX, Record, moment_of, parse_record, read_identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO


class Place(Enum):
    """Where a task can be."""

    TO_DO = "to do"
    FINISHED = "finished"
    FAILED = "failed"
    HELD = "in the hands of a dead farmer"


class LastPlaces:
    """The last that the journals say of each task."""

    def __init__(self) -> None:
        self.places: dict[int, Place] = {}
        self.cuts: list[set[int]] = []
        """Tasks that a dead farmer took together just before it died: all of them are off the list, or none."""
        self._moments: dict[int, float] = {}
        self.ends: Counter[int] = Counter()
        """How often each task ended, by the journals."""

    def see(self, tasks: set[int], place: Place, moment: float) -> None:
        """Take into account where tasks were at a moment [s since the epoch]."""
        for task in tasks:
            if moment >= self._moments.get(task, moment):
                self.places[task], self._moments[task] = place, moment


def read_last_places(workdir: Workdir, mended: Mapping[Path, bytes]) -> LastPlaces:
    """Read all journals of a work directory.

    Parameters
    ----------
    workdir
        The work directory.
    mended
        What those should be that are damaged.

    Raises
    ------
    FarmError
        If one cannot be read, is damaged, or of a newer version.
    """
    found = LastPlaces()
    for path in all_journals(workdir.farmers):
        with io.BytesIO(mended[path]) if path in mended else open_journal(path) as file:
            _read(path, file, found)
    attempts = Attempts(workdir.attempts)
    attempts.advance()
    for task, place in found.places.items():
        if place in (Place.FINISHED, Place.FAILED) and _is_retried(workdir, task, attempts, found.ends[task]):
            found.places[task] = Place.TO_DO
    return found


def _read(path: Path, file: BinaryIO, found: LastPlaces) -> None:
    state: JournalState | None = None
    moment = 0.0
    for line in file:
        record = parse_record(line)
        if record is None:
            continue  # where its farmer died
        if state is None:
            state = JournalState(read_identity(record, path))
        else:
            state.apply(record)
        moment = state.identity.clock_offset + moment_of(record)
        _see(record, moment, found)
    if state is None:
        return
    if path.suffix == OPEN_SUFFIX and path.exists():
        found.see({*state.held, *state.ended}, Place.HELD, moment)  # recovery looks where they are
        found.cuts += [state.suspect] if state.suspect else []
    else:
        found.see(state.held, Place.TO_DO, moment)  # recovery gave them back


def _see(record: Record, moment: float, found: LastPlaces) -> None:
    kind = record["ev"]
    if kind in ("taken", "given"):
        found.see(set(record["ids"]), Place.HELD if kind == "taken" else Place.TO_DO, moment)
    elif kind == "end":
        found.ends[record["id"]] += 1
        found.see({record["id"]}, Place.FINISHED if record["rc"] == 0 else Place.FAILED, moment)


def _is_retried(workdir: Workdir, task: int, attempts: Attempts, ends: int) -> bool:
    """Whether a task that has ended was put back on the list: that is noted among its attempts, and leaves no journal.

    A former version noted nothing: but the log has another name then.
    """
    log = workdir.log(task)
    if attempts.count(task):
        return not log.exists() and attempts.resets(task) >= ends
    return not log.exists() and log.with_name(f"{log.name}.1").exists()
