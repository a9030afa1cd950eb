"""The logs of tasks, whether they are files or in packs."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Collection
from pathlib import Path

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.workdir.files import Workdir, open_file, read_file

_HEAD = 512
_TAIL = 8 * 1024


def read_log(path: Path) -> tuple[bytes, bytes]:
    """Return the first and the last bytes of a task's log; nothing if it cannot be read."""
    try:
        fd = open_file(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return b"", b""
            return os.pread(fd, _HEAD, 0), os.pread(fd, _TAIL, max(0, status.st_size - _TAIL))
        finally:
            os.close(fd)
    except OSError:
        return b"", b""


class PackedLog(Value):
    """A log in a pack."""

    pack: Path
    number: int
    """Of the attempt, from 1 on."""
    offset: int
    """[bytes]"""
    length: int
    """[bytes]"""
    is_last: bool
    """Whether it is the last attempt's."""
    packed_length: int | None = None
    """How long it is in the pack, if it is compressed there [bytes]."""

    def read(self, offset: int = 0, size: int = -1) -> bytes:
        """Return a part of it: nothing if it cannot be read, or the pack is shorter than its index says."""
        if self.packed_length is not None:
            whole = _unpack(self.pack, self.offset, self.packed_length)
            return whole[offset:] if size < 0 else whole[offset : offset + size]
        size = self.length - offset if size < 0 else min(size, self.length - offset)
        try:
            return read_file(self.pack, self.offset + offset, size) or b"" if size > 0 else b""
        except OSError:
            return b""


def _unpack(pack: Path, offset: int, length: int) -> bytes:
    import zlib

    try:
        return zlib.decompress(read_file(pack, offset, length) or b"", wbits=31)
    except (OSError, zlib.error):
        return b""


class Logs:
    """The logs of some tasks. What packs have of them is read once, when it is asked for."""

    def __init__(self, workdir: Workdir, tasks: Collection[int]) -> None:
        self._workdir = workdir
        self._tasks = frozenset(tasks)
        self._has_packs = workdir.packs.exists()
        self._packed: dict[int, dict[int, PackedLog]] | None = None
        """By task and number of the attempt."""

    def ends(self, task: int) -> tuple[bytes, bytes]:
        """Return the first and the last bytes of the log of a task's last run; nothing if there is none."""
        packed = self._instead(task)
        if packed is None:
            return read_log(self._workdir.log(task))
        return packed.read(0, _HEAD), packed.read(max(0, packed.length - _TAIL))

    def name(self, task: int, farmer: str | None = None) -> str:
        """Return the file in which a log is, or would be; of tasks that were not announced the farmer tells it."""
        if farmer is not None and self._has_packs and task not in self._tasks and not self._workdir.log(task).exists():
            return str(self._workdir.packs / f"{farmer}.pack")
        packed = self._instead(task)
        return str(self._workdir.log(task) if packed is None else packed.pack)

    def where(self, task: int) -> str:
        """Say where somebody finds the log of a task's last run."""
        path = self._workdir.log(task)
        if os.path.lexists(path) or not os.path.isdir(self._workdir.logs):
            return f"see {path}"
        if self.last_packed(task) is not None:
            return f"see: taskfarmer-ctl log {shlex.quote(str(self._workdir.path))} {task}"
        return "there is no log"

    def _instead(self, task: int) -> PackedLog | None:
        """Return what packs have of a task that has no file."""
        packed = self.last_packed(task)
        return None if packed is None or os.path.lexists(self._workdir.log(task)) else packed

    def last_packed(self, task: int) -> PackedLog | None:
        """Return the log of a task's last attempt as packs have it; None if they have none of it, or only earlier ones."""
        attempts = self.packed(task)
        last = attempts[max(attempts)] if attempts else None
        return last if last is not None and last.is_last else None

    def packed(self, task: int) -> dict[int, PackedLog]:
        """Return the logs of a task's attempts that packs have, by number."""
        if self._packed is None:
            self._packed = _read_packs(self._workdir, self._tasks) if self._has_packs else {}
        return self._packed.get(task, {})


def _read_packs(workdir: Workdir, tasks: frozenset[int]) -> dict[int, dict[int, PackedLog]]:
    from taskfarmer_mpi.logs.packs import pack_of, parse_earlier, parse_places

    found: dict[int, dict[int, PackedLog]] = {}
    try:
        names = sorted(os.listdir(workdir.packs))  # a farmer's name begins with its birth: the later one counts
    except OSError:
        return found
    earlier = parse_earlier(read_file(workdir.packs_earlier) or b"")
    for name in names:
        if name.endswith(".index"):
            index = workdir.packs / name
            for place in parse_places(read_file(index) or b"", tasks):
                is_last = place.is_last and (place.task, place.number) not in earlier
                length, packed = (place.length, None) if place.size is None else (place.size, place.length)
                log = PackedLog(pack_of(index), place.number, place.offset, length, is_last, packed)
                found.setdefault(place.task, {})[place.number] = log
    return found
