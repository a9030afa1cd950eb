"""The writing end of a farmer's own log: one writer, no lock; `journal_records` says what its lines mean."""

from __future__ import annotations

import os
import time
from pathlib import Path

from taskfarmer_mpi.common.filesystems import is_at
from taskfarmer_mpi.common.values import as_dict
from taskfarmer_mpi.errors import FarmError
from taskfarmer_mpi.tasklists.task import Run
from taskfarmer_mpi.workdir.files import close_lost, lock_for_writing, node_name, open_file, share, write_all
from taskfarmer_mpi.workdir.journal_records import CLOSED_SUFFIX, FORMAT, OPEN_SUFFIX, Identity, encode_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def new_name() -> str:
    """Return the name of a new farmer: its time of birth, node and process, and a number by chance."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{node_name()}-{os.getpid()}-{os.urandom(3).hex()}"


class Journal:
    """The writing end of a farmer's journal."""

    def __init__(self, folder: Path, identity: Identity) -> None:
        self.identity = identity
        self.path = folder / f"{identity.farmer}.new"
        self._fd = open_file(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        share(self._fd, folder)
        lock_for_writing(self._fd)
        self._inode = os.fstat(self._fd).st_ino
        self._pending: list[bytes] = []
        self.note("farmer", format=FORMAT, **as_dict(identity))
        self.sync()
        self.path = self.path.rename(self.path.with_suffix(OPEN_SUFFIX))  # never seen without its first line

    def note(self, kind: str, **fields: Any) -> None:
        """Add a record; it reaches the file with the next `flush` or `sync`."""
        self._pending.append(encode_record(kind, time.time(), fields))

    def note_begin(self, task_id: int, slot: int) -> None:
        """Add the start of a run; formatted by hand, as is its end, since they come with every task."""
        self._pending.append(b'{"ev":"begin","t":%.6f,"id":%d,"slot":%d}\n' % (time.time(), task_id, slot))

    def note_run(self, kind: str, run: Run, attempt: int = 0) -> None:
        """Add the end of a run: `end` with a final verdict, `killed` if its task is still to do.

        It has the number of the attempt where the task failed by itself and is tried again.
        """
        cause = run.cause
        more = b"" if cause is None else b',"cause":"%s"' % cause.encode()
        if attempt:
            more += b',"attempt":%d' % attempt
        self._pending.append(
            b'{"ev":"%s","t":%.6f,"id":%d,"slot":%d,"begin":%.6f,"end":%.6f,"rc":%d,"cpu":%.6f,"rss":%d%s}\n'
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
                more,
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
        """Whether the journal is still at its place; whoever declares a farmer dead moves it away.

        Its status is not asked for: on NFS that would bring all that was noted to the server first.
        """
        return is_at(self.path, self._inode)

    def describe_loss(self) -> str:
        """Say why a farmer whose journal or locks are not its own any more may write nothing."""
        if self.path.exists() and not self.is_own():
            return f"{self.path}: another file is in the place of this farmer's journal: the work directory was replaced"
        return "others declared this farmer dead and took its tasks over"

    def abandon(self) -> None:
        """Close the file as it is, as the kernel does at death: others may write to it now."""
        close_lost(self._fd)

    def close(self) -> None:
        """Write what is pending and close the file."""
        self.flush()
        os.close(self._fd)


def close_journal(path: Path) -> None:
    """Declare all tasks of a journal settled: its farmer left, or was recovered."""
    path.rename(path.with_suffix(CLOSED_SUFFIX))


def append_record(path: Path, kind: str, **fields: Any) -> None:
    """Add a record to a dead farmer's journal, on disk; only for who holds that farmer's life lock."""
    fd = open_file(path, os.O_WRONLY | os.O_APPEND)
    try:
        lock_for_writing(fd)
        write_all(fd, b"\n" + encode_record(kind, time.time(), fields))  # its last line may be torn
        os.fdatasync(fd)
    finally:
        os.close(fd)
