"""Where the ranks of a job leave messages for each other while they work: a directory whose file names are the messages.

Messages to all lie in the board itself, those to one rank in a folder with its number. Files are empty: to send is to make
one, at once and without a lock, also on a full disk; to look is to open the directory and to list it if it has changed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.errors import FarmError
from taskfarmer_mpi.job.messages import Letter, encode_name, parse_name
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.rendezvous.communicator import Message
from taskfarmer_mpi.workdir.files import Workdir, make_folder, open_file, read_file, refuse_link, replace_file
from taskfarmer_mpi.workdir.locks import WorkLock

log = Log(__name__)

SETTLE = 3.0
"""How long a directory is listed at each look after it changed [s]: many file systems note the second of a change only."""
EXIT_LEFT = 75
"""With what a rank ends that gave up, and cannot learn what the others end with."""
_FARMERS = "farmers"
_KEPT = frozenset(["left"])
"""Kinds of which each message counts; of others, a sender's new one takes the place of the old one."""


class Folder:
    """One directory of messages, and what was seen of it."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self.path = path
        self._clock = clock
        self._mtime = -1
        self._listed_until = 0.0
        self._seen: frozenset[str] = frozenset()

    def look(self) -> list[str]:
        """Return the names that are new since the last look.

        The directory is opened each time: on NFS, this alone shows what others have done in it.
        """
        fd = open_file(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            mtime = os.fstat(fd).st_mtime_ns
            if mtime != self._mtime:
                self._mtime = mtime
                self._listed_until = self._clock() + SETTLE
            elif self._clock() > self._listed_until:
                return []
            names = frozenset(os.listdir(fd))
        finally:
            os.close(fd)
        new = names - self._seen
        self._seen = names
        return list(new)


class Board:
    """One rank's view of the board of its job."""

    def __init__(self, path: Path, rank: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Look at nothing yet.

        Parameters
        ----------
        path
            The directory, which rank 0 has made.
        rank
            Which rank this is.
        clock
            A clock that only goes forward [s].
        """
        self.path = path
        self.rank = rank
        self._all = Folder(path, clock)
        self._own = Folder(path / str(rank), clock)
        self._has_own = False
        self._number = 0
        self._last: dict[tuple[int | None, str], Path] = {}
        self._unsent: list[tuple[int | None, str, object]] = []
        self._is_in_trouble = False

    def send(self, dest: int | None, kind: str, content: object = None) -> None:
        """Send a message to a rank, or to all others; what cannot be sent now is sent before the next look."""
        self._unsent.append((dest, kind, content))
        self._send()

    def receive(self) -> Iterator[Message]:
        """Yield the messages that have arrived; `gone` of this rank itself where there is no board any more."""
        self._send()
        try:
            names = self._all.look()
            self._has_own |= str(self.rank) in names
            if self._has_own:
                names += self._own.look()
        except OSError as error:
            self._note_trouble("cannot be read", error)
            if isinstance(error, FileNotFoundError):
                yield self.rank, "gone", EXIT_LEFT
            return
        letters = [letter for letter in map(parse_name, names) if letter is not None and letter.sender != self.rank]
        for letter in sorted(letters, key=lambda letter: (letter.sender, letter.number)):
            yield letter.sender, letter.kind, letter.content

    def _send(self) -> None:
        while self._unsent:
            dest, kind, content = self._unsent[0]
            try:
                self._post(dest, kind, content)
            except OSError as error:
                self._note_trouble("cannot be written", error)
                return
            del self._unsent[0]

    def _post(self, dest: int | None, kind: str, content: object) -> None:
        folder = self.path if dest is None else self.path / str(dest)
        if dest is not None and (dest, kind) not in self._last:
            make_folder(folder)
        self._number += 1
        path = folder / encode_name(Letter(self.rank, self._number, kind, content))
        os.close(open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        old = self._last.get((dest, kind))
        self._last[dest, kind] = path
        if old is not None and kind not in _KEPT:
            with suppress(OSError):
                old.unlink()

    def _note_trouble(self, what: str, error: OSError) -> None:
        if not self._is_in_trouble:
            log.warning("%s: messages of the ranks %s: %s", self.path, what, error.strerror)
        self._is_in_trouble = True


# -- boards that come and go ----------------------------------------------------------------------


def make_board(workdir: Workdir, farmers: Mapping[int, str]) -> None:
    """Make the board of a job, as rank 0.

    Parameters
    ----------
    workdir
        The work directory.
    farmers
        The farmer of each rank.
    """
    path = board_path(workdir, farmers)
    for folder in (workdir.jobs, path, path / "0"):
        make_folder(folder)
    replace_file(path / _FARMERS, json.dumps(sorted(farmers.values())).encode() + b"\n")


def board_path(workdir: Workdir, farmers: Mapping[int, str]) -> Path:
    """Return the board of a job: it has the name of rank 0's farmer."""
    return workdir.jobs / farmers[0]


def remove_dead_boards(workdir: Workdir, lock: WorkLock) -> None:
    """Remove the boards of jobs of which no rank lives."""
    with suppress(FileNotFoundError):
        refuse_link(workdir.jobs)  # or another directory would be emptied
        for path in workdir.jobs.iterdir():
            if not any(_lives(lock.life_path(farmer, "alive")) for farmer in _farmers_of(path)):
                remove_board(path)


def remove_board(path: Path) -> None:
    """Remove a board and what is on it; others may do so at the same time."""
    import shutil

    shutil.rmtree(path, ignore_errors=True)


def _farmers_of(path: Path) -> list[str]:
    """Return the farmers of a job, first the one that it is named after: it may have died before it named the others."""
    listed: Any = []
    with suppress(OSError, FarmError, ValueError, RecursionError):
        listed = json.loads(read_file(path / _FARMERS) or b"[]")
    names = listed if isinstance(listed, list) else []
    return [path.name, *(name for name in names if isinstance(name, str) and "/" not in name)]


def _lives(path: Path) -> bool:
    try:
        return LifeLock.is_taken(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # nothing is known
