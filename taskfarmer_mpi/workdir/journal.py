"""A farmer's own log: one JSON object a line, one writer, no lock.

What a line means. The last six are for the trace only, and recovery skips them; none of them may come between `taken`
and the cut of `toprocess`, as recovery looks whether `taken` is the last line:

=========  ==========================================================================================
kind       meaning
=========  ==========================================================================================
farmer     first line: who writes, in which format, and where its life locks are
taken      these tasks are in this farmer's hands; on disk before `toprocess` loses them
begin      a run starts in a slot
end        a run ended; written before the slot is used again, but for a death by a signal, which may be a shutdown's
killed     a run was cut short by a shutdown
recorded   every run that ended so far is in `finished` or `failed`
giving     these tasks are about to be appended to `toprocess`
given      these tasks are back in `toprocess`
start      the farmer is ready; `begin`: when its program began
visit      a visit to the lists: `begin`, time waited for the lock before it, how many tasks went each way
recovery   dead farmers were recovered: `begin`, `end`, how many farmers and tasks
alive      the farmer lives, and its tasks run; now and then
drain      no more tasks are started, and why; `stop`: running tasks are killed, and why
leave      the farmer left by itself
=========  ==========================================================================================
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from taskfarmer_mpi.errors import FarmError
from taskfarmer_mpi.tasklists.task import Run
from taskfarmer_mpi.workdir.files import open_file, write_all

FORMAT = 1
_decode = json.JSONDecoder().decode
_LAST = 16 * 1024
"""How much of a journal's end `read_last_records` looks at [bytes]."""
OPEN_SUFFIX = ".journal"
CLOSED_SUFFIX = ".closed"

Record = dict[str, Any]
_KINDS: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float)}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a farmer is; the first line of its journal."""

    farmer: str
    """Unique name of the farmer."""
    host: str
    pid: int
    rank: int
    """Rank in its MPI job; 0 for a plain farmer."""
    ranks: int
    """Number of ranks of its MPI job; 1 for a plain farmer."""
    job: str
    """The scheduler's name of the job, or an empty string."""
    slots: int
    alive_lock: str
    """Lock file that the farmer holds as long as it lives."""
    task_lock: str
    """Lock file that is held as long as any process of any of its tasks lives."""
    clock_offset: float = 0.0
    """What to add to this farmer's times to get those of rank 0 [s]."""

    @property
    def label(self) -> str:
        """The farmer in a few words."""
        return f"rank {self.rank} · {self.host} · pid {self.pid}"


def encode_record(kind: str, moment: float, fields: Record) -> bytes:
    """Encode one line of a journal."""
    return json.dumps({"ev": kind, "t": round(moment, 6), **fields}, separators=(",", ":")).encode() + b"\n"


def parse_record(line: bytes) -> Record | None:
    """Decode one line of a journal; None if it is torn."""
    try:
        record = _decode(line.decode())
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("ev"), str) else None


class Journal:
    """The writing end of a farmer's journal."""

    def __init__(self, folder: Path, identity: Identity) -> None:
        self.path = folder / f"{identity.farmer}.new"
        self._fd = open_file(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        self._pending: list[bytes] = []
        self.note("farmer", format=FORMAT, **asdict(identity))
        self.sync()
        self.path = self.path.rename(self.path.with_suffix(OPEN_SUFFIX))  # never seen without its first line

    def note(self, kind: str, **fields: Any) -> None:
        """Add a record; it reaches the file with the next `flush` or `sync`."""
        self._pending.append(encode_record(kind, time.time(), fields))

    def note_begin(self, task_id: int, slot: int) -> None:
        """Add the start of a run; formatted by hand, as is its end, since they come with every task."""
        self._pending.append(b'{"ev":"begin","t":%.6f,"id":%d,"slot":%d}\n' % (time.time(), task_id, slot))

    def note_run(self, kind: str, run: Run) -> None:
        """Add the end of a run: `end` with a final verdict, `killed` if its task is still to do."""
        self._pending.append(
            b'{"ev":"%s","t":%.6f,"id":%d,"slot":%d,"begin":%.6f,"end":%.6f,"rc":%d,"cpu":%.6f,"rss":%d}\n'
            % (
                kind.encode(),
                time.time(),
                run.task.id,
                run.slot,
                run.started,
                run.ended,
                run.returncode,
                run.cpu,
                run.max_rss,
            )
        )

    def flush(self) -> None:
        """Hand the records to the kernel: they survive this process."""
        if self._pending:
            data = b"".join(self._pending)
            self._pending.clear()
            try:
                write_all(self._fd, data)
            except OSError as error:
                raise FarmError(f"{self.path}: cannot write the journal: {error.strerror}") from error

    def sync(self) -> None:
        """Hand the records to the disk: they survive this node."""
        self.flush()
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise FarmError(f"{self.path}: cannot write the journal: {error.strerror}") from error

    def is_own(self) -> bool:
        """Whether the journal is still at its place; whoever declares a farmer dead moves it away."""
        try:
            named = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        opened = os.fstat(self._fd)
        return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)

    def close(self) -> None:
        """Write what is pending and close the file."""
        self.flush()
        os.close(self._fd)


@dataclass(slots=True)
class JournalState:
    """What a journal says about the tasks in its farmer's hands."""

    identity: Identity
    held: set[int] = field(default_factory=set)
    """Taken, not ended, not given back."""
    ended: dict[int, int] = field(default_factory=dict)
    """Return code by task, of runs whose outcome may not be in `finished` or `failed` yet."""
    suspect: set[int] = field(default_factory=set)
    """Tasks that the last record takes: the farmer may have died before `toprocess` lost them."""

    def apply(self, record: Record) -> None:
        """Take one record into account."""
        kind = record["ev"]
        self.suspect = set(record["ids"]) if kind == "taken" else set()
        if kind == "taken":
            self.held.update(record["ids"])
        elif kind == "end":
            self.held.discard(record["id"])
            self.ended[record["id"]] = record["rc"]
        elif kind == "recorded":
            self.ended.clear()
        elif kind == "given":
            self.held.difference_update(record["ids"])


def read_records(path: Path) -> Iterator[Record]:
    """Yield the whole records of a journal, also if it is closed meanwhile; a torn line is passed over."""
    try:
        fd = open_file(path, os.O_RDONLY)
    except FileNotFoundError:
        fd = open_file(path.with_suffix(CLOSED_SUFFIX), os.O_RDONLY)
    with open(fd, "rb") as file:
        for line in file:
            record = parse_record(line) if line.endswith(b"\n") else None
            if record is not None:
                yield record


def read_last_records(path: Path) -> list[Record]:
    """Return the last whole records of a journal, also if it is closed meanwhile, without reading all of it."""
    try:
        fd = open_file(path, os.O_RDONLY)
    except FileNotFoundError:
        fd = open_file(path.with_suffix(CLOSED_SUFFIX), os.O_RDONLY)
    with open(fd, "rb") as file:
        file.seek(max(0, os.fstat(fd).st_size - _LAST))
        lines = file.read().split(b"\n")[:-1]
    return [record for line in lines if (record := parse_record(line)) is not None]


def read_identity(record: Record, path: Path) -> Identity:
    """Return who wrote a journal, from its first record.

    Raises
    ------
    FarmError
        If it is no journal, or one of a newer version.
    """
    if record.get("ev") != "farmer" or record.get("format") != FORMAT:
        raise FarmError(f"{path}: not a journal of format {FORMAT}: written by a newer version?")
    wanted = {"t": "float", **{member.name: str(member.type) for member in fields(Identity)}}
    for name, kind in wanted.items():
        if not isinstance(record.get(name), _KINDS.get(kind, (object,))):
            raise FarmError(f"{path}: the journal's first line is damaged: {name!r} is no {kind}")
    return Identity(**{member.name: record[member.name] for member in fields(Identity)})


class JournalReader:
    """Follows a journal: each `advance` takes in what has come since, however long the file is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state: JournalState | None = None
        """None before the first `advance`."""
        self._offset = 0

    def advance(self) -> None:
        """Take in the whole lines that were added; a journal that was closed meanwhile is left as it was."""
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
        else:
            self.state.apply(record)


def open_journals(folder: Path) -> list[Path]:
    """Return the journals of farmers that live or died unnoticed, in the order of their names."""
    return sorted(folder.glob(f"*{OPEN_SUFFIX}"))


def all_journals(folder: Path) -> list[Path]:
    """Return the journals of all farmers that ever worked here, in the order of their births, each once.

    One that is open now can be closed, and so have another name, when it is read; `read_records` knows that.
    """
    journals = {path.stem: path for path in folder.glob(f"*{OPEN_SUFFIX}")}
    journals |= {path.stem: path for path in folder.glob(f"*{CLOSED_SUFFIX}")}
    return [journals[name] for name in sorted(journals)]  # names begin with the time of birth


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

    def held(self) -> set[int]:
        """Return the tasks in their hands."""
        states = [reader.state for reader in self._readers.values() if reader.state is not None]
        return {task_id for state in states for task_id in (*state.held, *state.ended)}


def held_tasks(folder: Path) -> set[int]:
    """Return the tasks in the hands of farmers, dead ones included, by their journals."""
    journals = OpenJournals(folder)
    journals.advance()
    return journals.held()


def close_journal(path: Path) -> None:
    """Declare all tasks of a journal settled: its farmer left, or was recovered."""
    path.rename(path.with_suffix(CLOSED_SUFFIX))


def append_record(path: Path, kind: str, **fields: Any) -> None:
    """Add a record to a dead farmer's journal, on disk; only for who holds that farmer's life lock."""
    fd = open_file(path, os.O_WRONLY | os.O_APPEND)
    try:
        write_all(fd, b"\n" + encode_record(kind, time.time(), fields))  # its last line may be torn
        os.fdatasync(fd)
    finally:
        os.close(fd)
