"""The system calls of simulated processes in one real one: counted, and made to fail at a given one.

A process can be killed at any call that changes or locks a file, also in the middle of a write; its node can be cut off
there, so that others have its locks and what it writes through their descriptors is an error; the power can fail, so that
what was not synced is lost in part. Renames are durable at once, as on file systems with a journal.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import pytest


class Killed(BaseException):
    """The process of the acting one is dead."""


class Fate(Enum):
    """What happens at a call."""

    KILLED = "killed"
    CUT_OFF = "cut off"
    POWER = "power fails"


@dataclass(frozen=True)
class Fault:
    """What happens at which of the calls of an operation."""

    fate: Fate
    call: int
    """Number of the call, from 0 on."""
    share: float
    """Which part of a write is done."""


class Kernel:
    """Stands between the modules and the real kernel."""

    def __init__(self) -> None:
        self.actor = ""
        self.fault: Fault | None = None
        self.calls = 0
        self.last_calls = 0
        """How many calls the last one to act has made."""
        self.meanwhile: Callable[[], None] = lambda: None
        """What the others do while the acting node is cut off."""
        self._is_dead = False
        self._locked: dict[int, str] = {}
        """Descriptors by which locks are held, and whose they are."""
        self._lost: dict[int, str] = {}
        """Descriptors whose lock was lost, and not taken again."""
        self.was_cut: set[str] = set()
        """Processes whose node was cut off."""
        self._unsynced: dict[int, list[bytes]] = {}
        """What a file was before each of its changes that are not on disk, by inode."""
        self._paths: dict[int, str] = {}
        self._real = {name: getattr(os, name) for name in ("write", "pwrite", "ftruncate", "fdatasync", "fsync", "close")}
        self._flock = fcntl.flock

    @contextmanager
    def patched(self) -> Iterator[None]:
        """Have all modules call this kernel."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("write", "pwrite"):
                patch.setattr(os, name, partial(self._write, name))
            for name in ("ftruncate", "fdatasync", "fsync"):
                patch.setattr(os, name, getattr(self, f"_{name}"))
            for name in ("rename", "replace", "link", "unlink"):
                patch.setattr(os, name, partial(self._change_name, getattr(os, name), name))
            patch.setattr(os, "close", self._close)
            patch.setattr(fcntl, "flock", self._lock)
            yield

    @contextmanager
    def acting(self, actor: str, fault: Fault | None = None) -> Iterator[None]:
        """Let one process act; raise `Killed` where it dies."""
        before = (self.actor, self.fault, self.calls, self._is_dead)
        self.actor, self.fault, self.calls, self._is_dead = actor, fault, 0, False
        try:
            yield
        finally:
            self.last_calls = self.calls
            self.actor, self.fault, self.calls, self._is_dead = before

    def bury(self, actor: str) -> None:
        """Close the descriptors of a process that died by which it held locks; it closed all others on its way out."""
        for fd in [fd for fd, owner in (self._locked | self._lost).items() if owner == actor]:
            self._close(fd)

    def cut_off(self, actor: str) -> None:
        """Give the locks of a node's process to others; its descriptors stay open."""
        self.was_cut.add(actor)
        for fd in [fd for fd, owner in self._locked.items() if owner == actor]:
            self._flock(fd, fcntl.LOCK_UN)
            self._lost[fd] = self._locked.pop(fd)

    def lose_power(self, seed: int) -> None:
        """Take away what was not synced: all (0), nothing (1), of journals (2), of outcomes (3), part of each (a seed)."""
        chance = random.Random(seed)
        for inode, before in self._unsynced.items():
            path = Path(self._paths[inode])
            if seed == 1 or not path.exists() or path.stat().st_ino != inode:
                continue
            is_outcomes, is_journal = path.name in ("finished", "failed"), path.parent.name == "farmers"
            is_kept = (seed == 2 and not is_journal) or (seed == 3 and not is_outcomes)
            if not is_kept:
                path.write_bytes(before[0] if seed in (0, 2, 3) else chance.choice([*before, path.read_bytes()]))
        self._unsynced.clear()

    # -- the calls ----------------------------------------------------------------------------------

    def _tick(self, *, can_be_late: bool = False) -> Fault | None:
        """Count a call; return the fault that makes it the last one."""
        if self._is_dead:
            raise Killed
        self.calls += 1
        fault = self.fault
        if fault is None or self.calls <= fault.call:
            return None
        if fault.fate is not Fate.CUT_OFF:
            self._is_dead = True
            return fault
        if not can_be_late:  # a rename is not tied to a lock: docs/design.md says what that means
            self.fault = None
            self.cut_off(self.actor)
            self.meanwhile()
        return None

    def _require_lock(self, fd: int) -> None:
        if fd in self._lost:
            raise OSError(errno.EIO, "the lock of this descriptor was lost")

    def _remember(self, fd: int) -> None:
        status = os.fstat(fd)
        path = os.readlink(f"/proc/self/fd/{fd}")
        self._paths[status.st_ino] = path
        self._unsynced.setdefault(status.st_ino, []).append(Path(path).read_bytes())

    def _write(self, name: str, fd: int, data: bytes, *offset: int) -> int:
        fault = self._tick()
        self._require_lock(fd)
        self._remember(fd)
        if fault is None:
            return int(self._real[name](fd, data, *offset))
        self._real[name](fd, data[: round(len(data) * fault.share)], *offset)
        raise Killed

    def _ftruncate(self, fd: int, size: int) -> None:
        if self._tick():
            raise Killed
        self._require_lock(fd)
        self._remember(fd)
        self._real["ftruncate"](fd, size)

    def _fdatasync(self, fd: int) -> None:
        if self._tick():
            raise Killed
        self._require_lock(fd)
        self._unsynced.pop(os.fstat(fd).st_ino, None)

    _fsync = _fdatasync

    def _change_name(self, real: Callable[..., None], name: str, *paths: Any, **options: Any) -> None:
        is_rename = name in ("rename", "replace")
        if self._tick(can_be_late=is_rename):
            raise Killed
        if name != "link" and os.path.lexists(paths[-1]):
            self._unsynced.pop(os.lstat(paths[-1]).st_ino, None)  # the number of what is gone is given to another file
        real(*paths, **options)
        if is_rename:
            self._paths[os.lstat(paths[1]).st_ino] = os.fspath(paths[1])

    def _close(self, fd: int) -> None:
        self._locked.pop(fd, None)
        self._lost.pop(fd, None)
        self._real["close"](fd)

    def _lock(self, fd: int, operation: int) -> None:
        if operation == fcntl.LOCK_UN:
            self._locked.pop(fd, None)
        elif self._tick():
            raise Killed
        self._flock(fd, operation)
        if operation & fcntl.LOCK_EX:
            self._locked[fd] = self.actor
            self._lost.pop(fd, None)
