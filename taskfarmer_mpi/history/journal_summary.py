"""A journal in short: counts, what is in the farmer's hands, and its last runs, without decoding each line.

A journal of a million runs is 200 MB, and decoding it takes five seconds; this takes half a second. All it knows of the
format is that a line begins with its kind and its time, and that a run which finished has ``"rc":0`` (see `journal`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from taskfarmer_mpi.workdir.files import open_file
from taskfarmer_mpi.workdir.journal_records import CLOSED_SUFFIX, Record, parse_record

_BLOCK = 4 * 1024 * 1024
_TAIL = 256 * 1024
_MOVES = (b'{"ev":"taken"', b'{"ev":"given"', b'{"ev":"leave"', b'{"ev":"aside"', b'{"ev":"waiting"', b'{"ev":"gone"')
_RUNS = re.compile(rb'\{"ev":"(begin|end|killed)"[^\n]*?"id":(\d+),"slot":(\d+)[^\n]*\n')
_ENDS = re.compile(rb'\{"ev":"end","t":([\d.]+)')


class Started(NamedTuple):
    """A run whose end the journal does not have."""

    task_id: int
    slot: int
    begin: float
    """By the farmer's clock [s since the epoch]."""


class JournalSummary:
    """Follows a journal: each `advance` takes in what has come since."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.begun = 0
        self.ended = 0
        """Runs that came to their end."""
        self.finished = 0
        """Those of them with exit code 0."""
        self.killed = 0
        """Runs that a shutdown cut short, or that failed and are followed by another attempt."""
        self.retried = 0
        """Those of them that failed."""
        self.held: set[int] = set()
        """Tasks taken and not given back; those that ended and are recorded are still among them."""
        self.aside = ""
        """Why the farmer takes no more tasks, if tasks fail on its node only."""
        self.waiting = ""
        """Why the farmer starts no task now, if so."""
        self.has_left = False
        """Whether the farmer left by itself."""
        self.is_lost = False
        """Whether its node died with it."""
        self.has_damage = False
        """Whether a line is not as farmers write them; it does not count."""
        self.failures: dict[int, Record] = {}
        """The last ends of those tasks for which `advance` was asked and which failed."""
        self._offset = 0

    @property
    def is_open(self) -> bool:
        """Whether what the farmer held may still be in its hands: all tasks of a closed journal are settled."""
        return self.path.suffix != CLOSED_SUFFIX

    def advance(self, wanted: Collection[int] = ()) -> None:
        """Take in the whole lines that were added; a journal may be closed meanwhile.

        Parameters
        ----------
        wanted
            Tasks whose failures are kept.

        Raises
        ------
        OSError
            If the journal cannot be read.
        """
        with self._opened() as file:
            file.seek(self._offset)
            while block := file.read(_BLOCK):
                whole = block.rfind(b"\n") + 1
                if not whole:
                    rest = file.readline()
                    if not rest.endswith(b"\n"):
                        return
                    block += rest
                    whole = len(block)
                self._take(block[:whole], wanted)
                self._offset += whole
                file.seek(self._offset)

    def _take(self, block: bytes, wanted: Collection[int]) -> None:
        self.has_damage |= not block.count(b'{"ev":"') == block.count(b"}\n") == block.count(b"\n")
        ended = block.count(b'{"ev":"end"')
        finished = block.count(b',"rc":0,')
        self.begun += block.count(b'{"ev":"begin"')
        self.killed += block.count(b'{"ev":"killed"')
        self.retried += block.count(b',"attempt":')
        self.ended += ended
        self.finished += finished
        for place in sorted(place for kind in _MOVES for place in _places(block, kind)):
            self._move(_record_at(block, place))
        if wanted and ended > finished:
            for match in re.finditer(rb'"id":(?:%s)[,}]' % b"|".join(b"%d" % task for task in wanted), block):
                record = _record_at(block, match.start())
                if record is not None and record["ev"] == "end" and record.get("rc"):
                    self.failures[record["id"]] = record

    def _move(self, record: Record | None) -> None:
        if record is None:
            return
        ids = record.get("ids", ())
        if record["ev"] == "leave":
            self.has_left = True
        elif record["ev"] == "gone":
            self.is_lost = True
        elif record["ev"] == "aside":
            self.aside = str(record.get("reason", ""))
        elif record["ev"] == "waiting":
            self.waiting = str(record.get("reason", ""))
        elif not isinstance(ids, list | tuple) or not all(isinstance(task_id, int) and task_id >= 0 for task_id in ids):
            self.has_damage = True
        elif record["ev"] == "taken":
            self.held.update(ids)
        else:
            self.held.difference_update(ids)

    def running(self) -> list[Started]:
        """Return the runs without an end, the youngest first: the journal is read from its end until all are found.

        A run whose slot was used again is not among them: it ended, and how it counts is about to be recorded.
        """
        count = self.begun - self.ended - self.killed
        ended: set[int] = set()
        used: set[bytes] = set()
        found: list[Started] = []
        for block in self._blocks_from_the_end():
            if count <= 0:
                break
            for match in reversed(list(_RUNS.finditer(block))):
                task_id = int(match[2])
                if match[1] != b"begin":
                    ended.add(task_id)
                elif task_id in ended:
                    ended.discard(task_id)
                    used.add(match[3])
                elif count > 0 and (record := parse_record(match[0])) is not None:
                    count -= 1
                    if match[3] not in used:
                        found.append(Started(task_id, int(match[3]), record.get("t", 0.0)))
                    used.add(match[3])
        return found

    def recent_ends(self) -> tuple[list[float], bool]:
        """Return when the last runs ended, by the farmer's clock, and whether these are all; the oldest first."""
        block = next(self._blocks_from_the_end(_TAIL), b"")
        return [float(match[1]) for match in _ENDS.finditer(block)], len(block) == self._offset

    def _blocks_from_the_end(self, size: int = _BLOCK) -> Iterator[bytes]:
        """Yield blocks of whole lines, the last one first, of what `advance` has seen."""
        with self._opened() as file:
            end = self._offset
            while end > 0:
                start = max(0, end - size)
                file.seek(start)
                block = file.read(end - start)
                cut = block.find(b"\n") + 1 if start else 0
                if start and cut == len(block):  # one line longer than a block
                    size *= 2
                    continue
                yield block[cut:]
                end = start + cut

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        try:
            fd = open_file(self.path, os.O_RDONLY)
        except FileNotFoundError:
            self.path = self.path.with_suffix(CLOSED_SUFFIX)
            fd = open_file(self.path, os.O_RDONLY)
        with open(fd, "rb") as file:
            yield file


def _places(block: bytes, kind: bytes) -> Iterator[int]:
    """Yield where something is in a block; many times as fast as a regular expression where it is rare."""
    place = block.find(kind)
    while place >= 0:
        yield place
        place = block.find(kind, place + 1)


def _record_at(block: bytes, place: int) -> Record | None:
    """Return the record of a line in a block of whole lines."""
    return parse_record(block[block.rfind(b"\n", 0, place) + 1 : block.find(b"\n", place) + 1])
