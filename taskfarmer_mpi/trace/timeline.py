"""`timeline.json`: the trace of a work directory, made anew while farmers of all kinds go on with their work.

The lock is held only to copy what a plain farmer wrote, and to put the new file in its place: what plain farmers appended
meanwhile, and the counters of a few thousand points, are all that is written under it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import closing, nullcontext
from itertools import count
from pathlib import Path

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.history.pytaskfarmer_events import Snapshot
from taskfarmer_mpi.trace.builder import Texts, Trace
from taskfarmer_mpi.workdir.files import Workdir, temporary_file, write_all
from taskfarmer_mpi.workdir.locks import WorkLock

PLAIN_LIMIT = 8 * 1024 * 1024
"""How much may be added to a timeline that a plain farmer writes [bytes]: it reads and writes it all for each task, with the
lock held, at some 10 MB/s, and other plain farmers give up after 10 s."""
_BUFFER = 1024 * 1024
_COMPRESSION = 4
"""Higher levels take much longer and save little."""


class Merged(Value):
    """What came of a merge."""

    path: Path
    """Where the trace is."""
    troubles: list[str]
    """What could not be read, or is not as it was asked for, and why."""


class _Writer:
    """Writes a JSON list of events, one a line, in blocks."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._buffer = bytearray(b"[")
        self._separator = b"\n"
        self.size = 0
        """Bytes that were handed on."""

    def extend(self, events: Iterable[bytes]) -> None:
        for event in events:
            self._buffer += self._separator
            self._buffer += event
            self._separator = b",\n"
            if len(self._buffer) > _BUFFER:
                self.flush()

    def flush(self) -> None:
        self._write(bytes(self._buffer))
        self.size += len(self._buffer)
        self._buffer.clear()

    def end(self, last: Iterable[bytes]) -> None:
        self.extend(last)
        self._buffer += b"\n]\n"
        self.flush()


def merge_timeline(workdir: Workdir, lock: WorkLock, texts: Texts, patience: float, *, is_forced: bool = False) -> Merged:
    """Write all farmers' events to `timeline.json`, and keep those of plain farmers; merging again changes nothing.

    A timeline that is damaged is kept under another name. One that plain farmers write does not get many events of ours, as
    they would choke on it: then the trace goes to `timeline.merged.json`, unless `is_forced`.

    Parameters
    ----------
    workdir, lock, texts
        The work directory, its lock, which is not held, and the texts of its tasks.
    patience
        How long to wait for the lock [s].

    Raises
    ------
    LockBusyError
        If others held the lock for longer than `patience`.
    OSError
        If the trace cannot be written.
    """
    with closing(Trace(workdir, texts)) as trace, temporary_file(workdir.timeline) as (fd, temporary):
        writer = _Writer(lambda data: write_all(fd, data))
        writer.extend(trace.events())
        writer.flush()
        own = writer.size
        while True:
            with lock.held(patience):
                snapshot = Snapshot(workdir.timeline)
            try:
                plain = trace.plain_part()
                writer.extend(event for known in snapshot.events() for event in plain.take(known))
                if snapshot.is_plain and own > PLAIN_LIMIT and not is_forced:
                    writer.end(plain.counters())
                    temporary.replace(workdir.merged)
                    return Merged(workdir.merged, [*trace.troubles, *_troubles(snapshot), _reason(workdir)])
                writer.flush()
                os.fsync(fd)  # so that nothing written under the lock has to wait for the disk
                with lock.held(patience):
                    more = snapshot.changes()
                    if more is not None:
                        writer.extend(event for new in more for event in plain.take(new))
                        writer.end(plain.counters())
                        return Merged(workdir.timeline, [*trace.troubles, *_put(workdir.timeline, temporary, snapshot)])
            finally:
                snapshot.close()
            os.ftruncate(fd, own)
            os.lseek(fd, own, os.SEEK_SET)


def _reason(workdir: Workdir) -> str:
    return f"{workdir.timeline}: a PyTaskFarmer that is at work would choke on the trace, which is in {workdir.merged.name}"


def _troubles(snapshot: Snapshot) -> list[str]:
    return [] if snapshot.trouble is None else [snapshot.trouble]


def _put(path: Path, temporary: Path, snapshot: Snapshot) -> list[str]:
    """Put the new timeline in its place, with the lock held; return what was wrong with the old one."""
    troubles = [f"{trouble}; the old file is now {_keep(path).name}" for trouble in _troubles(snapshot)]
    temporary.replace(path)
    return troubles


def _keep(path: Path) -> Path:
    """Give a damaged file a second name, and return it."""
    for number in count():
        kept = path.with_name(f"{path.name}.damaged{number or ''}")
        try:
            os.link(path, kept)
        except FileExistsError:
            continue
        except OSError:  # a file system without hard links
            path.replace(kept)
        return kept
    raise AssertionError("unreachable: there is always another name")


def write_trace(
    workdir: Workdir, lock: WorkLock | None, texts: Texts, patience: float, path: Path, *, is_gzip: bool
) -> list[str]:
    """Write the trace to a file, and change nothing else; return what could not be read and why.

    Parameters
    ----------
    workdir, lock
        The work directory and its lock; None to do without, as in a directory that one can only read. If a plain farmer
        writes its events this very moment, they are missing.
    texts
        The tasks.
    patience
        How long to wait for the lock before doing without [s].
    path, is_gzip
        The file, and whether it is compressed; the same trace gives the same bytes.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    import gzip

    with (
        closing(Trace(workdir, texts)) as trace,
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", _COMPRESSION, raw, 0.0) if is_gzip else nullcontext(raw) as file,
    ):
        writer = _Writer(file.write)
        writer.extend(trace.events())
        snapshot, troubles = _take_snapshot(workdir, lock, patience)
        try:
            plain = trace.plain_part()
            writer.extend(event for known in snapshot.events() for event in plain.take(known))
        finally:
            snapshot.close()
        writer.end(plain.counters())
    return [*trace.troubles, *troubles, *_troubles(snapshot)]


def _take_snapshot(workdir: Workdir, lock: WorkLock | None, patience: float) -> tuple[Snapshot, list[str]]:
    try:
        with lock.held(patience) if lock is not None else nullcontext():
            return Snapshot(workdir.timeline), []
    except UserError as error:
        return Snapshot(workdir.timeline), [f"{error}; so some events of PyTaskFarmer may be missing"]
