"""What one farmer does with the logs of its tasks once their outcomes are recorded."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.logs.earlier import keep_log
from taskfarmer_mpi.logs.limit import HolePuncher, read_within
from taskfarmer_mpi.logs.packs import PackWriter
from taskfarmer_mpi.policies.rules import Rules
from taskfarmer_mpi.tasklists.task import Run
from taskfarmer_mpi.workdir.files import Workdir, open_file, temporary_file, write_all

log = Log(__name__)

LARGEST = 16 * 1024 * 1024
"""A log that is larger stays a file [bytes]: to copy it would keep the farmer from its tasks."""
_LOOK = 1.0
"""How often the logs of running tasks are looked at [s]."""
_BATCH = 8 * 1024 * 1024
"""How much is packed at once [bytes]."""


class _Ended(Value):
    task: int
    number: int
    """Of the attempt."""
    file: tuple[int, int]
    """Device and inode of its log: a run that follows has another one."""
    is_finished: bool


class LogKeeper:
    """Removes, packs and cuts logs, as the rules say; what it cannot do is said once, and the logs stay as they are."""

    def __init__(self, workdir: Workdir, rules: Rules, farmer: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._workdir = workdir
        self._form, self._limit = rules.log_form, rules.log_limit
        self._packs = rules.packs_logs
        self._farmer = farmer
        self._clock = clock
        self._ended: list[_Ended] = []
        self._pack: PackWriter | None = None
        self._holes = HolePuncher(rules.log_limit)
        self._next_look = 0.0
        self._has_complained = False

    def look(self, tasks: Iterable[int]) -> None:
        """Have the logs of running tasks take no more room on the disk than they may, if it is time to look."""
        if not self._limit or self._clock() < self._next_look:
            return
        self._next_look = self._clock() + _LOOK
        try:
            self._holes.look([str(self._workdir.log(task)) for task in tasks])
        except OSError as error:
            self._complain(error)

    def note_end(self, run: Run, number: int) -> None:
        """Know that a run has ended, the `number`-th attempt, and is about to be recorded."""
        try:
            status = self._workdir.log(run.task.id).lstat()
        except OSError:
            return
        if stat.S_ISREG(status.st_mode):
            self._ended.append(_Ended(run.task.id, number, (status.st_dev, status.st_ino), run.is_finished))

    def settle(self, unrecorded: Collection[Run]) -> None:
        """Do what is to be done with the logs of the runs that are recorded now; some are not."""
        if not self._ended:
            return
        waiting = {run.task.id for run in unrecorded}
        ready = [ended for ended in self._ended if ended.task not in waiting]
        self._ended = [ended for ended in self._ended if ended.task in waiting]
        try:
            self._settle(ready)
        except (OSError, UserError) as error:
            self._complain(error)

    def keep_attempt(self, task: int, number: int) -> None:
        """Keep the log of an attempt that is followed by another one; the task is on no list yet.

        Raises
        ------
        OSError
            If that cannot be done.
        """
        if self._packs:
            status = self._workdir.log(task).lstat()
            self._store([_Ended(task, number, (status.st_dev, status.st_ino), is_finished=False)], is_last=False)
        kept = keep_log(self._workdir, task)
        if kept is not None and self._limit:
            self._cut(str(kept), None)

    def _settle(self, ready: list[_Ended]) -> None:
        if self._packs:
            self._store(ready, is_last=True)
            return
        for ended in ready:
            path = str(self._workdir.log(ended.task))
            if self._form == "failed" and ended.is_finished:
                self._remove(path, ended.file)
            elif self._limit:
                self._cut(path, ended.file)

    def _store(self, ready: Iterable[_Ended], *, is_last: bool) -> None:
        """Pack logs, and remove their files."""
        batch: list[tuple[_Ended, bytes]] = []
        size = 0
        for ended in ready:
            content = self._read(ended)
            if content is None:
                continue
            batch.append((ended, content))
            size += len(content)
            if size >= _BATCH:
                self._store_batch(batch, is_last=is_last)
                batch, size = [], 0
        self._store_batch(batch, is_last=is_last)

    def _store_batch(self, batch: list[tuple[_Ended, bytes]], *, is_last: bool) -> None:
        if not batch:
            return
        if self._pack is None:
            self._pack = PackWriter(self._workdir, self._farmer, is_compressed=self._form == "packed-gzip")
        self._pack.add((ended.task, ended.number, content, is_last) for ended, content in batch)
        for ended, _ in batch:
            self._remove(str(self._workdir.log(ended.task)), ended.file)

    def _read(self, ended: _Ended) -> bytes | None:
        """Return what is to be packed of a log; None if it is another run's, or too large: then it is cut at most."""
        path = str(self._workdir.log(ended.task))
        try:
            fd = open_file(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) != ended.file:
                return None
            if min(status.st_size, self._limit or status.st_size) <= LARGEST:
                return read_within(fd, self._limit)
        finally:
            os.close(fd)
        if self._limit:
            self._cut(path, ended.file)
        return None

    def _cut(self, path: str, file: tuple[int, int] | None) -> None:
        """Put the head and the tail of a log in its place, at once, if it is too long."""
        fd = open_file(path, os.O_RDONLY)
        try:
            status = os.fstat(fd)
            is_other = file is not None and (status.st_dev, status.st_ino) != file
            if is_other or status.st_size <= self._limit or not stat.S_ISREG(status.st_mode):
                return
            with temporary_file(Path(path)) as (new, temporary):
                write_all(new, read_within(fd, self._limit))
                temporary.replace(path)
        finally:
            os.close(fd)

    @staticmethod
    def _remove(path: str, file: tuple[int, int]) -> None:
        """Remove a log unless it is another run's: a user can have had the task tried again meanwhile."""
        try:
            status = os.lstat(path)
            if (status.st_dev, status.st_ino) == file:
                os.unlink(path)
        except FileNotFoundError:
            pass

    def _complain(self, error: OSError | UserError) -> None:
        if not self._has_complained:
            log.warning("%s: logs stay as they are: %s", self._workdir.logs, error)
        self._has_complained = True
