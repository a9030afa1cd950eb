"""The other farmers of a work directory, as one farmer sees them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from taskfarmer_mpi.workdir.journal_reading import open_journals

_COUNT_INTERVAL = 2.0
"""How old the number of farmers may be [s]."""


class Neighbours:
    """All farmers that have a journal here."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._clock = clock
        self._count = 1
        self._counted = -math.inf

    def count(self) -> int:
        """Return how many farmers share the list, this one included."""
        now = self._clock()
        if now - self._counted > _COUNT_INTERVAL:
            self._count = len(open_journals(self._folder))
            self._counted = now
        return self._count
