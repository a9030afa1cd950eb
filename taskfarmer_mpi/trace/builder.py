"""The trace of a work directory: the journals of all farmers, and the events of plain farmers, as events for Perfetto.

A process is a farmer, with a thread for itself and one for each slot; one more process has the counters of the whole work
directory. Process and thread numbers are made up, above any OS pid on Linux: two nodes can have the same OS pid, and
Perfetto drops overlapping slices of one lane. Merging the same journals again gives the same bytes, so nothing here depends
on the time, or on whether a farmer has left already.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress

from taskfarmer_mpi.history.runs import Attempt, FarmerHistory, Outcome, read_histories
from taskfarmer_mpi.trace.colours import SAMPLE, choose_failure_word, name_run
from taskfarmer_mpi.trace.curves import Curve
from taskfarmer_mpi.trace.events import (
    Slice,
    encode_arrow,
    encode_count,
    encode_slice,
    name_process,
    name_thread,
)
from taskfarmer_mpi.trace.farmer_lane import FarmerLane
from taskfarmer_mpi.trace.pytaskfarmer_part import FIRST_PID, PlainPart
from taskfarmer_mpi.trace.run_table import CAUSES, OPEN, OUTCOMES, Row, RunTable
from taskfarmer_mpi.trace.totals import Totals
from taskfarmer_mpi.workdir.files import Workdir, open_file
from taskfarmer_mpi.workdir.lists import split_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object

POINTS = 1000
"""Most points of the curve of one farmer."""
MAX_SLOTS = 2**16
"""A farmer with more slots is not believed: its journal is damaged."""


def _nameless(_task: int) -> str:
    return ""


class Texts(Protocol):
    """The text of each task; a task that it does not have is shown by its ID."""

    def __len__(self) -> int:
        """Return one more than the highest ID that is known."""

    def __getitem__(self, task_id: int, /) -> str:
        """Return the text of a task."""


class Trace:
    """What our farmers did."""

    def __init__(self, workdir: Workdir, texts: Texts) -> None:
        self._workdir = workdir
        self._texts = texts
        self._name_of: Callable[[int], str] = _nameless
        self._runs = RunTable(workdir.path)
        self._pids: list[int] = []
        self._names: list[str] = []
        self._reasons: list[str] = []
        self._totals = Totals(0)
        self.troubles: list[str] = []
        """What could not be read, and why."""

    def events(self) -> Iterator[bytes]:
        """Yield all events that are ours, but for those that `PlainPart.counters` makes."""
        if self._workdir.settings.exists():
            from taskfarmer_mpi.directives.book import read_names

            self._name_of = read_names(self._workdir)
        yield from name_process(FIRST_PID, f"all tasks · {self._workdir.path.name}", 0)
        histories, self.troubles = read_histories(self._workdir)
        pid = FIRST_PID + 1
        born = []
        for history in sorted(histories, key=lambda history: history.identity.rank):
            slots = history.identity.slots
            if 0 < slots <= MAX_SLOTS:  # taskfarmer-ctl has journals without a slot
                yield from self._farmer(history, pid)
                pid += slots + 1
                born.append(round(history.born * 1e6))
        self._runs.number()
        self._totals = Totals(max(len(self._texts), self._runs.size))
        for moment in born:
            self._totals.begin(moment)
        yield from self._slices()

    def _farmer(self, history: FarmerHistory, pid: int) -> Iterator[bytes]:
        """Yield what names a farmer, and its own lane; take in its runs."""
        identity = history.identity
        number = len(self._pids)
        yield from name_process(pid, identity.label, number + 1)
        yield from name_thread(pid, pid, "farmer", 0)
        for slot in range(identity.slots):
            yield from name_thread(pid, pid + 1 + slot, f"slot {slot}", slot + 1)
        lane = FarmerLane(identity, pid)
        first = len(self._runs)
        try:
            for item in history.happenings():
                if not isinstance(item, Attempt):
                    yield from lane.take(item)
                elif item.slot < identity.slots:
                    self._runs.append(number, item)
                else:
                    raise ValueError(f"slot {item.slot} of {identity.slots}")
        except OSError as error:
            self.troubles.append(f"{history.path}: cannot read: {error.strerror}")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            self.troubles.append(f"{history.path}: a record is not as farmers write them ({error}); read up to there")
        yield from lane.end()
        self._pids.append(pid)
        self._names.append(identity.farmer)
        self._reasons.append(lane.reason)
        self._runs.separate(first)
        yield from self._busy(first, pid)

    def _busy(self, first: int, pid: int) -> Iterator[bytes]:
        """Yield how many slots of a farmer were busy."""
        busy = Curve(POINTS)
        for _, _, _, begin, end, *_ in self._runs.rows(first):
            busy.add(begin, 1)
            if end != OPEN:
                busy.add(end, -1)
        for moment, value in busy.means():
            yield encode_count(pid, "slots", "busy", moment, value)

    def _slices(self) -> Iterator[bytes]:
        failure_word = choose_failure_word(self._some_finished())
        for row, values in enumerate(self._runs.rows()):
            farmer, slot, task, begin, end, number, code, cpu, max_rss, cause = values
            pid, outcome = self._pids[farmer], OUTCOMES[number]
            text, called = self._text_of(task), self._name_of(task)
            yield encode_slice(
                Slice(
                    pid=pid,
                    tid=pid + 1 + slot,
                    begin=begin,
                    end=end,
                    task=task,
                    name=name_run(outcome, task, text, failure_word, called),
                    text=text,
                    outcome=outcome,
                    code=code,
                    attempt=self._runs.attempt(row),
                    cpu=cpu,
                    max_rss=max_rss,
                    farmer=self._names[farmer],
                    reason=self._reasons[farmer],
                    cause=CAUSES[cause],
                    called=called,
                    log=self._log_of(task),
                )
            )
            if outcome in (Outcome.FINISHED, Outcome.FAILED):
                self._totals.end(end, is_finished=outcome is Outcome.FINISHED)
            if self._runs.previous(row) >= 0:
                yield from self._next_run(self._runs[self._runs.previous(row)], row, values)

    def _log_of(self, task: int) -> str:
        folder = self._workdir.log_folder(task)
        return f"logs/log_{task}" if folder is self._workdir.logs else f"logs/{folder.name}/log_{task}"

    def _text_of(self, task: int) -> str:
        return self._texts[task] if task < len(self._texts) else f"task {task}"

    def _some_finished(self) -> Iterator[str]:
        """Yield the names of some runs that finished, of all parts of the list."""
        for row in range(0, len(self._runs), len(self._runs) // SAMPLE + 1):
            _, _, task, _, _, number, *_ = self._runs[row]
            outcome = OUTCOMES[number]
            if outcome is Outcome.FINISHED:
                yield name_run(outcome, task, self._text_of(task), "", self._name_of(task))

    def _next_run(self, before: Row, row: int, values: Row) -> Iterator[bytes]:
        """Yield the arrow from a run that did not finish to the next one of its task; its task was not done after all."""
        _, _, _, _, end, number, *_ = before
        begin, outcome = values[3], OUTCOMES[number]
        if outcome in (Outcome.FINISHED, Outcome.FAILED):
            self._totals.end(begin, is_finished=outcome is Outcome.FINISHED, change=-1)
        if outcome is not Outcome.FINISHED and end != OPEN:
            yield from encode_arrow(row + 1, (*self._lane(before), end - 1), (*self._lane(values), begin))

    def _lane(self, values: Row) -> tuple[int, int]:
        farmer, slot, *_ = values
        return self._pids[farmer], self._pids[farmer] + 1 + slot

    def close(self) -> None:
        """Give up what it holds; nothing can be asked of it any more."""
        self._runs.close()

    def plain_part(self) -> PlainPart:
        """Return what adds the events of plain farmers, once `events` came to its end."""
        return PlainPart(self._totals.copy(), self._plain_outcomes)

    def _plain_outcomes(self) -> dict[str, bool]:
        """Return, by text, which tasks whose outcome is in no journal finished: the events of plain farmers do not tell."""
        outcomes = {}
        for path, outcome in ((self._workdir.failed, Outcome.FAILED), (self._workdir.finished, Outcome.FINISHED)):
            own = self._runs.tasks_with(outcome)
            with suppress(OSError), open(open_file(path, os.O_RDONLY), "rb") as file:
                for line in file:
                    task, text = split_line(line.rstrip(b"\n"))
                    if task is not None and not (task < len(own) and own[task]):
                        outcomes[text.decode("utf-8", "replace")] = outcome is Outcome.FINISHED
        return outcomes
