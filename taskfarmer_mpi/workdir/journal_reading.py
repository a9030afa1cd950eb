"""What the journals of a work directory say: of one farmer, from its start or its end on, and of all that are open."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from taskfarmer_mpi.errors import FarmError, farm_error
from taskfarmer_mpi.workdir.files import open_file
from taskfarmer_mpi.workdir.journal_records import (
    CLOSED_SUFFIX,
    OPEN_SUFFIX,
    Identity,
    Record,
    parse_record,
    read_identity,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO, TypeGuard

_LAST = 16 * 1024
"""How much of a journal's end `read_last_records` looks at [bytes]."""


def open_journals(folder: Path) -> list[Path]:
    """Return the journals of farmers that live or died unnoticed, in the order of their names.

    Raises
    ------
    FarmError
        If the folder cannot be read: then nobody may believe that there are none.
    """
    return _journals(folder, OPEN_SUFFIX)


def all_journals(folder: Path) -> list[Path]:
    """Return the journals of all farmers that ever worked here, in the order of their births, each once.

    One that is open now can be closed, and so have another name, when it is read; `read_records` knows that.
    Errors are those of `open_journals`.
    """
    journals = {path.stem: path for suffix in (OPEN_SUFFIX, CLOSED_SUFFIX) for path in _journals(folder, suffix)}
    return [journals[name] for name in sorted(journals)]  # names begin with the time of birth


def _journals(folder: Path, suffix: str) -> list[Path]:
    try:
        return sorted(folder / name for name in os.listdir(folder) if name.endswith(suffix))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise farm_error(f"{folder}: cannot read", error) from error


class JournalState:
    """What a journal says about the tasks in its farmer's hands."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.held: set[int] = set()
        """Taken, not ended, not given back."""
        self.ended: dict[int, int] = {}
        """Return code by task, of runs whose outcome may not be in `finished` or `failed` yet."""
        self.running: dict[int, tuple[int, float]] = {}
        """Slot and start, by the farmer's clock [s since the epoch], of runs without an end, by task."""
        self.tried: list[tuple[int, int]] = []
        """Tasks that failed and were to be tried again, each with the number of the attempt."""
        self.suspect: set[int] = set()
        """Tasks that the last record takes: the farmer may have died before `toprocess` lost them."""
        self.reserved: tuple[int, float] | None = None
        """The task that its farmer keeps room for, and since when [s since the epoch]."""
        self.is_unfit = False
        """Whether it said last that it can run none of the tasks on the list."""

    def apply(self, record: Record) -> None:
        """Take one record into account.

        Raises
        ------
        FarmError
            If it is not as farmers write them: then what its farmer has in its hands is not known.
        """
        kind = record["ev"]
        ids = _task_ids(record) if kind in ("taken", "given") else set()
        self.suspect = ids if kind == "taken" else set()
        if kind == "taken":
            self.held |= ids
            self.is_unfit = False
        elif kind == "end":
            task_id, code = record.get("id"), record.get("rc")
            if not (_is_task_id(task_id) and isinstance(code, int)):
                raise FarmError("a record of an end is not as farmers write them")
            self.running.pop(task_id, None)
            self.held.discard(task_id)
            self.ended[task_id] = code
        elif kind == "recorded":
            self.ended.clear()
        elif kind == "given":
            self.held -= ids
        elif kind in ("begin", "killed"):
            self._apply_run(kind, record)
        elif kind in ("reserve", "unfit", "drain", "stop", "aside"):
            self._apply_plan(kind, record)

    def _apply_run(self, kind: str, record: Record) -> None:
        """Know what runs, and what was tried; nothing of this says where a task is."""
        task_id, slot, moment, attempt = (record.get(name) for name in ("id", "slot", "t", "attempt"))
        if not _is_task_id(task_id):
            return
        self.running.pop(task_id, None)
        if kind == "begin" and isinstance(slot, int) and isinstance(moment, int | float):
            self.running[task_id] = (slot, moment)
        elif kind == "killed" and isinstance(attempt, int):
            self.tried.append((task_id, attempt))

    def _apply_plan(self, kind: str, record: Record) -> None:
        """Know what the farmer means to take; who takes no more keeps room for nothing."""
        task_id, moment = record.get("id"), record.get("t")
        self.reserved = None
        if kind == "reserve" and _is_task_id(task_id) and isinstance(moment, int | float):
            self.reserved = (task_id, moment)
        self.is_unfit = kind != "reserve"


def _is_task_id(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and 0 <= value < 10**18


def _task_ids(record: Record) -> set[int]:
    ids = record.get("ids")
    if not (isinstance(ids, list) and all(map(_is_task_id, ids))):
        raise FarmError(f"a record of tasks {record['ev']} is not as farmers write them")
    return set(ids)


def open_journal(path: Path) -> BinaryIO:
    """Open a journal, also if it is closed meanwhile."""
    try:
        return open(open_file(path, os.O_RDONLY), "rb")
    except FileNotFoundError:
        return open(open_file(path.with_suffix(CLOSED_SUFFIX), os.O_RDONLY), "rb")


def read_records(path: Path) -> Iterator[Record]:
    """Yield the whole records of a journal, also if it is closed meanwhile; a torn line is passed over."""
    with open_journal(path) as file:
        for line in file:
            record = parse_record(line) if line.endswith(b"\n") else None
            if record is not None:
                yield record


def read_last_records(path: Path) -> list[Record]:
    """Return the last whole records of a journal, also if it is closed meanwhile, without reading all of it."""
    with open_journal(path) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _LAST))
        lines = file.read().split(b"\n")[:-1]
    return [record for line in lines if (record := parse_record(line)) is not None]


class JournalReader:
    """Follows a journal: each `advance` takes in what has come since, however long the file is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state: JournalState | None = None
        """None before the first `advance`."""
        self._offset = 0

    def advance(self) -> None:
        """Take in the whole lines that were added; a journal that was closed meanwhile is left as it was.

        Raises
        ------
        FarmError
            If it is no journal, or a record of what is in its farmer's hands is damaged.
        """
        try:
            fd = open_file(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return
        with open(fd, "rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                self._apply(line)

    def _apply(self, line: bytes) -> None:
        record = parse_record(line)
        if record is None:
            return
        if self.state is None:
            self.state = JournalState(read_identity(record, self.path))
            return
        try:
            self.state.apply(record)
        except FarmError as error:
            raise FarmError(f"{self.path}: {error}: taskfarmer-ctl repair mends it") from error


class OpenJournals:
    """The journals of farmers that may have tasks in their hands, dead ones included, followed as they grow.

    The first `advance` takes long where journals are; so it comes before the lock is taken, and another one after.
    """

    def __init__(self, folder: Path, without: Collection[Path] = ()) -> None:
        """Begin to follow the journals of a folder, without some of them."""
        self._folder = folder
        self._without = without
        self._readers: dict[Path, JournalReader] = {}

    def advance(self) -> None:
        """Take in what was written, also by farmers that were born meanwhile; those that left have nothing any more."""
        paths = [path for path in open_journals(self._folder) if path not in self._without]
        self._readers = {path: self._readers.get(path) or JournalReader(path) for path in paths}
        for reader in self._readers.values():
            reader.advance()

    def unended(self) -> set[int]:
        """Return the tasks that they took, and that have neither ended nor are back on the list."""
        return {task_id for reader in self._readers.values() if reader.state is not None for task_id in reader.state.held}

    def reservations(self, without: str) -> dict[int, float]:
        """Return the tasks that farmers but one keep room for, and since when the last one does [s since the epoch]."""
        states = [reader.state for reader in self._readers.values() if reader.state is not None]
        pairs = [state.reserved for state in states if state.reserved is not None and state.identity.farmer != without]
        return dict(sorted(pairs, key=lambda pair: pair[1]))

    def fitting(self) -> list[Identity]:
        """Return the farmers that did not say that they can run none of the tasks on the list."""
        states = [reader.state for reader in self._readers.values() if reader.state is not None]
        return [state.identity for state in states if not state.is_unfit]

    def held(self) -> set[int]:
        """Return the tasks in their hands."""
        states = [reader.state for reader in self._readers.values() if reader.state is not None]
        return {task_id for state in states for task_id in (*state.held, *state.ended)}


def held_tasks(folder: Path) -> set[int]:
    """Return the tasks in the hands of farmers, dead ones included, by their journals."""
    journals = OpenJournals(folder)
    journals.advance()
    return journals.held()
