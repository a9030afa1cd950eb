"""Follows how the tasks of a work directory end: each look tells of those whose end was recorded since the last one.

The lists say that a task has ended, and the journals of farmers how. Nothing is locked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from taskfarmer_mpi.api.outcomes import FAILED, FINISHED, REMOVED, TaskOutcome, make_outcome
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.history.task_texts import count_tasks
from taskfarmer_mpi.workdir.configuration import read_config
from taskfarmer_mpi.workdir.files import Workdir, reading
from taskfarmer_mpi.workdir.growing_file import GrowingFile
from taskfarmer_mpi.workdir.journal_reading import all_journals
from taskfarmer_mpi.workdir.journal_records import CLOSED_SUFFIX, Identity, Record, parse_record, read_identity
from taskfarmer_mpi.workdir.lists import split_line

_PAUSES = (0.02, 1.0)
"""Shortest and longest pause between two looks [s]; at least ten times what a look takes."""
_RESTING = 10
JOURNAL_DELAY = 0.5
"""How long to wait for the journal of a task that is on a list, before it is taken for a PyTaskFarmer's [s]."""


class _Listed(Value):
    """A line that came to `finished`, `failed` or `removed`."""

    task_id: int
    command: str
    state: str
    seen: float


class _Ends:
    """Follows the ends of runs in one journal."""

    def __init__(self, path: Path) -> None:
        self._file = GrowingFile(path)
        self._identity: Identity | None = None

    def news(self) -> Iterator[tuple[Identity, Record]]:
        """Yield the ends that came since the last call; a journal may be closed meanwhile."""
        path = self._file.path
        if not path.exists():
            self._file.path = path.with_suffix(CLOSED_SUFFIX)
        for lines, _ in self._file.news():
            for line in lines.split(b"\n"):
                if line.startswith(b'{"ev":"end"') or (self._identity is None and line):
                    yield from self._take(line)

    def _take(self, line: bytes) -> Iterator[tuple[Identity, Record]]:
        record = parse_record(line)
        if record is None:
            return
        if self._identity is None:
            self._identity = read_identity(record, self._file.path)
        elif all(isinstance(record.get(name), int | float) for name in ("id", "rc", "begin", "end", "cpu", "rss")):
            yield self._identity, record


class OutcomeReader:
    """Follows one work directory from its beginning; each recorded end is told once."""

    def __init__(self, workdir: Workdir, clock: Callable[[], float] = time.monotonic) -> None:
        self._workdir = workdir
        self._clock = clock
        files = {FINISHED: workdir.finished, FAILED: workdir.failed, REMOVED: workdir.removed}
        self._lists = {state: GrowingFile(path) for state, path in files.items()}
        self._journals: dict[str, _Ends] = {}
        self._ends: dict[int, tuple[Identity, Record]] = {}
        """The last end of each task of which nothing was told yet."""
        self._told: dict[int, tuple[str, float]] = {}
        """State and end [s since the epoch] of what was told, by task."""
        self._late: dict[int, _Listed] = {}
        """Tasks on a list whose end no journal has yet."""

    @property
    def count(self) -> int:
        """How many tasks are recorded, as far as was told."""
        return len(self._told)

    def has_told(self, task: int) -> bool:
        """Return whether the end of a task was told, and it is not back on the list."""
        return task in self._told

    @property
    def is_waiting(self) -> bool:
        """Whether the journals of some recorded tasks are waited for."""
        return bool(self._late)

    def look(self) -> list[TaskOutcome]:
        """Return what was recorded since the last look, in the order of the ends.

        Raises
        ------
        FarmError
            If a list or a journal cannot be read.
        """
        listed = [line for state in self._lists for line in self._read_list(state)]
        for path in all_journals(self._workdir.farmers):
            with reading(path):
                for who, record in self._journals.setdefault(path.stem, _Ends(path)).news():
                    self._ends[record["id"]] = who, record
        listed += self._late.values()
        self._late = {}
        outcomes = [outcome for line in listed if (outcome := self._tell(line)) is not None]
        return sorted(outcomes, key=lambda outcome: outcome.end or 0.0)

    def _read_list(self, state: str) -> list[_Listed]:
        """Return what came to a list; where the list is another one, forget what is not on it any more."""
        now = self._clock()
        found: list[_Listed] = []
        is_anew = False
        with reading(self._lists[state].path):
            for lines, is_other in self._lists[state].news():
                if is_other:
                    is_anew, found = True, []
                for line in lines.split(b"\n")[:-1]:
                    task_id, text = split_line(line)
                    if task_id is not None:
                        found.append(_Listed(task_id, text.decode("utf-8", "surrogateescape"), state, now))
        if is_anew:
            there = {line.task_id for line in found}
            self._told = {task: told for task, told in self._told.items() if told[0] != state or task in there}
        return found

    def _tell(self, line: _Listed) -> TaskOutcome | None:
        task = line.task_id
        who, record = self._ends.pop(task, (None, None))
        told = self._told.get(task)
        if told is not None and (record is None or who is None or record["end"] + who.clock_offset <= told[1]):
            return None
        if record is None and line.state != REMOVED and self._clock() - line.seen < JOURNAL_DELAY and self._journals:
            self._late[task] = line
            return None
        outcome = make_outcome(self._workdir, task, line.command, line.state, who, record)
        self._told[task] = line.state, outcome.end or 0.0
        return outcome


def follow_outcomes(workdir: Workdir, is_at_work: Callable[[], bool]) -> Iterator[TaskOutcome]:
    """Yield each recorded end as it comes, until every task has ended, or nobody is at work.

    Parameters
    ----------
    workdir
        The work directory.
    is_at_work
        Whether anybody works on it.
    """
    reader = OutcomeReader(workdir)
    pause = _PAUSES[0]
    while True:
        is_last = not is_at_work()
        began = time.monotonic()
        outcomes = reader.look()
        took = time.monotonic() - began
        yield from outcomes
        if not reader.is_waiting and (is_last or reader.count == count_tasks(workdir, read_config(workdir))):
            return
        pause = _PAUSES[0] if outcomes else min(2 * pause, _PAUSES[1])
        time.sleep(max(pause, _RESTING * took))
