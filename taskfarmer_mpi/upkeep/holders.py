"""Farmers that have tasks in their hands while another one has nothing left: whether they are seen to work.

On a file system of several nodes a dead node's locks stay taken until its lease is over, so a lock that is taken does not
say that its holder lives. A journal that grows does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from taskfarmer_mpi.common.filesystems import is_local
from taskfarmer_mpi.common.wording import count_of, say_duration
from taskfarmer_mpi.errors import FarmError
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import open_file
from taskfarmer_mpi.workdir.journal_reading import JournalReader, OpenJournals, open_journals

SEEN = 60.0
"""How long a farmer whose journal grew counts as one that works [s]."""


class Holders:
    """The farmers of a work directory that have tasks, as far as their journals tell at each look."""

    def __init__(self, farm: Farm, clock: Callable[[], float] = time.monotonic) -> None:
        """Look at nothing yet.

        Parameters
        ----------
        farm
            The farm.
        clock
            A clock that only goes forward [s].
        """
        self._farmers = farm.workdir.farmers
        self._clock = clock
        self._is_needed = not is_local(farm.lock.paths[0])
        self._readers: dict[Path, JournalReader] = {}
        self._sizes: dict[Path, int] = {}
        self._grew: dict[Path, float] = {}
        self._first_look: dict[Path, float] = {}

    def unseen(self, own: Path) -> list[str]:
        """Return, in one line each, the other farmers that have tasks and were not seen to work within the last minute.

        `own` is the journal of the farmer that looks. Where a lock is free at once when its holder dies, on a file system of
        one node, there are none.
        """
        if not self._is_needed:
            return []
        return [line for path in open_journals(self._farmers) if path != own and (line := self._look(path))]

    def _look(self, path: Path) -> str | None:
        now = self._clock()
        size = _size(path)
        if size is None:
            return None  # it left
        if size > self._sizes.setdefault(path, size):
            self._sizes[path] = size
            self._grew[path] = now
        since = now - self._grew.get(path, self._first_look.setdefault(path, now))
        if path in self._grew and now - self._grew[path] < SEEN:
            return None
        reader = self._readers.setdefault(path, JournalReader(path))
        reader.advance()
        state = reader.state
        count = len(state.held) + len(state.ended) if state is not None else 0
        if state is None or not count:
            return None
        return (
            f"{state.identity.label} has {count_of(count, 'task')} and was not seen to work for {say_duration(since)}:"
            " its node may be lost or cut off"
        )


def is_at_work(farm: Farm, journal: Path) -> bool:
    """Whether a farmer lives whose locks are where this one has its own: most are, and this asks the least."""
    with suppress(OSError):  # it left this moment, or its journal says where they are
        return LifeLock.is_taken(farm.lock.life_path(journal.stem, "alive"))
    return False


def is_anyone_at_work(farm: Farm, own: Collection[Path]) -> bool:
    """Whether farmers of ours live here, but for those whose life locks are `own`."""
    names = {path.name for path in own}
    journals = open_journals(farm.workdir.farmers)
    others = (path for path in journals if farm.lock.life_path(path.stem, "alive").name not in names)
    return any(is_at_work(farm, path) for path in others)


def is_anyone_fitting(farm: Farm, own: Collection[Path]) -> bool:
    """Whether farmers live here that may have room for tasks on the list, but for those whose life locks are `own`."""
    names = {path.name for path in own}
    journals = OpenJournals(farm.workdir.farmers)
    try:
        journals.advance()
    except FarmError:
        return False  # recovery says more of it
    for who in journals.fitting():
        path = farm.lock.life_path(who.farmer, "alive")
        with suppress(OSError):
            if path.name not in names and LifeLock.is_taken(path):
                return True
    return False


def _size(path: Path) -> int | None:
    """Return the size of a file that is opened anew [bytes], as a network file system may remember an old one."""
    try:
        fd = open_file(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return os.fstat(fd).st_size
    finally:
        os.close(fd)
