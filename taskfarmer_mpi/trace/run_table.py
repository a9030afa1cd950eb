"""All runs of all farmers, as rows of 54 bytes: the last ones in memory, the others in a file without a name."""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.history.runs import Attempt, Outcome
from taskfarmer_mpi.workdir.files import open_file, write_all

OPEN = -1
"""End of a run that runs still."""
MAX_ID = 2**27
"""IDs beyond this one are not believed: a damaged journal must not cost gigabytes."""
OUTCOMES = tuple(Outcome)
CAUSES = (None, *Cause)
_ENDLESS = 2**62
_ROW = struct.Struct("<iiqqqBidqB")
_PART = _ROW.size * 20_000
"""How much is kept in memory, and read at once [bytes]."""

Row = tuple[int, int, int, int, int, int, int, float, int, int]
"""Farmer, slot, task, begin, end, outcome, return code, CPU time [s], peak memory [KiB], cause; begin and end are whole
microseconds since the epoch."""


class RunTable:
    """The runs, by row."""

    def __init__(self, folder: Path) -> None:
        """Begin without a run; many of them get a file in this folder, if that can be made."""
        self._folder = folder
        self._file: int | None = None
        self._in_file = 0
        """How many bytes of rows are there."""
        self._last = bytearray()
        self._next_look = _PART
        self._attempt = array("i")
        self._previous = array("q")
        self.size = 0
        """One more than the highest task ID."""

    def close(self) -> None:
        """Give the file up."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __len__(self) -> int:
        return (self._in_file + len(self._last)) // _ROW.size

    def append(self, farmer: int, run: Attempt) -> None:
        """Add a run.

        Raises
        ------
        ValueError
            If it cannot be one: the journal is damaged.
        OSError
            If the file cannot be written.
        """
        begin = round(run.begin * 1e6)
        if run.outcome is Outcome.RUNNING:
            end = OPEN
        else:
            end = max(round((run.seen if run.end is None else run.end) * 1e6), begin + 1)
        code = run.returncode or 0
        if not (
            0 <= run.task_id <= MAX_ID and 0 <= run.slot < MAX_ID and abs(code) < 2**31
            and 0 <= begin < _ENDLESS and end < _ENDLESS
            and 0 <= run.cpu < _ENDLESS and 0 <= run.max_rss < _ENDLESS
        ):  # fmt: skip
            raise ValueError(f"impossible run of task {run.task_id}")
        outcome, cause = OUTCOMES.index(run.outcome), CAUSES.index(run.cause)
        row = (farmer, run.slot, run.task_id, begin, end, outcome, code, run.cpu, run.max_rss, cause)
        try:
            self._last += _ROW.pack(*row)
        except struct.error as error:
            raise ValueError(f"impossible run of task {run.task_id}: {error}") from error
        self.size = max(self.size, run.task_id + 1)
        if len(self._last) >= self._next_look:
            self._put_into_file()

    def _put_into_file(self) -> None:
        if self._file is None:
            path = self._folder / f".runs.{os.urandom(8).hex()}"
            try:
                self._file = open_file(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
                path.unlink()
            except OSError:  # a directory that one can only read
                self._next_look += 1000 * _PART
                return
        write_all(self._file, bytes(self._last))
        self._in_file += len(self._last)
        self._last.clear()

    def __getitem__(self, row: int) -> Row:
        place = row * _ROW.size
        if self._file is not None and place < self._in_file:
            return _ROW.unpack(os.pread(self._file, _ROW.size, place))
        return _ROW.unpack_from(self._last, place - self._in_file)

    def _change(self, row: int, *, begin: int, end: int, outcome: int) -> None:
        farmer, slot, task, _, _, _, *rest = self[row]
        place, data = row * _ROW.size, _ROW.pack(farmer, slot, task, begin, end, outcome, *rest)
        if self._file is not None and place < self._in_file:
            os.pwrite(self._file, data, place)
        else:
            self._last[place - self._in_file : place - self._in_file + len(data)] = data

    def rows(self, first: int = 0) -> Iterator[Row]:
        """Yield the rows from one on; none is added meanwhile."""
        place = first * _ROW.size
        while self._file is not None and place < self._in_file:
            block = os.pread(self._file, min(_PART, self._in_file - place), place)
            yield from _ROW.iter_unpack(block)
            place += len(block)
        for start in range(place - self._in_file, len(self._last), _PART):
            yield from _ROW.iter_unpack(bytes(self._last[start : start + _PART]))

    def separate(self, first: int) -> None:
        """See to it that no two runs of a slot overlap, among those from row `first` on, which are of one farmer.

        They do only where a clock was set back, or a journal is damaged.
        """
        ends: dict[int, int] = {}
        for _, slot, _, begin, end, *_ in self.rows(first):
            if begin < ends.get(slot, 0):
                break
            ends[slot] = _ENDLESS if end == OPEN else end
        else:
            return
        begins = array("q", [row[3] for row in self.rows(first)])
        last: dict[int, int] = {}
        for row in sorted(range(first, len(self)), key=lambda row: begins[row - first]):
            slot = self[row][1]
            if slot in last:
                self._part(last[slot], row)
            last[slot] = row

    def _part(self, before: int, row: int) -> None:
        """Let one run end before the next one of its slot begins."""
        _, _, _, first_begin, first_end, first_outcome, *_ = self[before]
        _, _, _, begin, end, outcome, *_ = self[row]
        if first_end == OPEN:
            first_outcome = OUTCOMES.index(Outcome.LOST)
        elif first_end <= begin:
            return
        begin = max(begin, first_begin + 1)
        self._change(before, begin=first_begin, end=begin, outcome=first_outcome)
        self._change(row, begin=begin, end=end if end == OPEN else max(end, begin + 1), outcome=outcome)

    def number(self) -> None:
        """Find out which runs of a task came after which."""
        seen = bytearray(self.size)
        for _, _, task, *_ in self.rows():
            if seen[task] < 2:
                seen[task] += 1
        if 2 not in seen:
            return
        self._attempt = array("i", [1]) * len(self)
        self._previous = array("q", [-1]) * len(self)
        again = [
            task << 104 | begin << 40 | row for row, (_, _, task, begin, *_) in enumerate(self.rows()) if seen[task] > 1
        ]
        again.sort()
        for one, other in pairwise(again):
            if one >> 104 == other >> 104:
                before, row = one & 2**40 - 1, other & 2**40 - 1
                self._previous[row] = before
                self._attempt[row] = self._attempt[before] + 1

    def attempt(self, row: int) -> int:
        """Return 1 for the first run of a task, and so on; see `number`."""
        return self._attempt[row] if self._attempt else 1

    def previous(self, row: int) -> int:
        """Return the row of the run before of the same task, or -1; see `number`."""
        return self._previous[row] if self._previous else -1

    def tasks_with(self, outcome: Outcome) -> bytearray:
        """Return, for each task, whether a run of it ended so."""
        flags = bytearray(self.size)
        wanted = OUTCOMES.index(outcome)
        for _, _, task, _, _, number, *_ in self.rows():
            if number == wanted:
                flags[task] = 1
        return flags
