"""Who of a job's ranks lives, works and leads, as far as one rank knows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from taskfarmer_mpi.lives.life_locks import LifeLock

DEATH_DELAY = 1.0
"""How long a rank must be without its life lock before it is taken for dead [s]: its last message may be on its way."""


class Ranks:
    """The ranks of one job."""

    def __init__(self, rank: int, life_paths: dict[int, Path], clock: Callable[[], float] = time.monotonic) -> None:
        """Believe that all live.

        Parameters
        ----------
        rank
            This process.
        life_paths
            The life lock file of each rank that came up.
        clock
            A clock that only goes forward [s].
        """
        self.rank = rank
        self.life_paths = life_paths
        self.dead: set[int] = set()
        self.broken: set[int] = set()
        """Ranks that gave up: they take no tasks and do not lead, but their processes live."""
        self.left: set[int] = set()
        """Ranks that left in order before the job's end."""
        self._clock = clock
        self._suspected: dict[int, float] = {}

    @property
    def present(self) -> list[int]:
        """The ranks that live and have not left."""
        return [rank for rank in self.life_paths if rank not in self.dead and rank not in self.left]

    @property
    def others(self) -> list[int]:
        """The present ones without this one."""
        return [rank for rank in self.present if rank != self.rank]

    @property
    def leader(self) -> int:
        """The lowest rank that is present and works; if there is none, the lowest that is present."""
        present = self.present or [self.rank]
        return min([rank for rank in present if rank not in self.broken] or present)

    def is_dead(self, rank: int) -> bool:
        """Whether a rank has been without its life lock for a while: one that left in order has said so by then."""
        if self.holds_life(rank):
            self._suspected.pop(rank, None)
            return False
        return self._clock() - self._suspected.setdefault(rank, self._clock()) >= DEATH_DELAY

    def is_suspect(self, rank: int) -> bool:
        """Whether a rank was without its life lock when it was last looked at."""
        return rank in self._suspected

    def wait_for_departures(self, patience: float) -> bool:
        """Wait for the other ranks to leave, a time [s] at most; return whether they have."""
        deadline = self._clock() + patience
        while any(map(self.holds_life, self.others)):
            if self._clock() >= deadline:
                return False
            time.sleep(0.02)
        return True

    def is_last(self) -> bool:
        """Whether no other rank lives, as far as that can be known; to be asked once this one's own life lock is gone.

        Of ranks that gave up that cannot be known.
        """
        try:
            os.close(os.open(self.life_paths[self.rank].parent, os.O_RDONLY | os.O_DIRECTORY))  # NFS forgets what it knew
        except OSError:
            return False  # the directory was moved away, or the server does not answer
        first = sorted(self.life_paths, key=lambda rank: (rank <= self.rank, rank))  # not all ranks ask rank 0 first
        return not any(self.holds_life(rank) for rank in first if rank != self.rank)

    def holds_life(self, rank: int) -> bool:
        """Whether a rank has its life lock, as far as that can be known."""
        try:
            return LifeLock.is_taken(self.life_paths[rank])
        except FileNotFoundError:
            return False  # it was recovered already, or left
        except OSError:
            return True  # nothing is known
