"""The other farmers of a work directory, as one farmer sees them: how many share the list, and whether they fare better."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.errors import FarmError
from taskfarmer_mpi.workdir.journal_reading import open_journals, read_last_records, read_records
from taskfarmer_mpi.workdir.journal_records import Identity, read_identity

_COUNT_INTERVAL = 2.0
"""How old the number of farmers may be [s]: longer where they are many, who count 20 times a second together."""
_LOOKED_AT = 64
"""At how many other journals one comparison looks; with more of them at some that are chosen by chance."""
_SILENCE = 150.0
"""How much longer than this farmer another one may have written nothing [s]: a living one writes every minute."""


class Comparison(Value):
    """How farmers on other nodes fare with the same list."""

    is_anyone_there: bool
    """Whether farmers on other nodes are at work."""
    has_same_failures: bool
    """Whether one of them saw a failure of the same kind meanwhile."""
    success_on: str | None
    """A node where a task finished meanwhile."""


class Neighbours:
    """All farmers that have a journal here."""

    def __init__(self, own: Path, who: Identity, clock: Callable[[], float]) -> None:
        """Know the others by their journals.

        Parameters
        ----------
        own, who
            This farmer's own journal, and its first line.
        clock
            A clock that only goes forward [s].
        """
        self._own = own
        self._who = who
        self._clock = clock
        self._count = 1
        self._counted = -math.inf
        self._identities: dict[Path, Identity] = {}

    def count(self) -> int:
        """Return how many farmers share the list, this one included."""
        now = self._clock()
        if now - self._counted > max(_COUNT_INTERVAL, self._count / 20):
            with suppress(FarmError):  # how much is taken is not worth trouble
                self._count = len(open_journals(self._own.parent))
            self._counted = now
        return self._count

    def compare(self, returncode: int, since: float) -> Comparison:
        """See how farmers on other nodes fare.

        Parameters
        ----------
        returncode
            With what tasks fail here.
        since
            From when on their ends count, by this farmer's clock [s since the epoch].
        """
        moment = since + self._who.clock_offset
        is_anyone_there = has_same_failures = False
        success_on = None
        for path, who in self._on_other_nodes():
            is_anyone_there = True
            with suppress(OSError, KeyError, TypeError):
                ends = [record for record in read_last_records(path) if record["ev"] == "end" or "attempt" in record]
                codes = {record["rc"] for record in ends if record["end"] + who.clock_offset >= moment}
                has_same_failures = has_same_failures or returncode in codes
                success_on = who.host if 0 in codes else success_on
        return Comparison(is_anyone_there, has_same_failures, success_on)

    def _on_other_nodes(self) -> Iterator[tuple[Path, Identity]]:
        import random

        with suppress(FarmError, OSError):
            oldest = self._own.stat().st_mtime - _SILENCE
            paths = open_journals(self._own.parent)
            for path in random.sample(paths, min(len(paths), _LOOKED_AT)):
                with suppress(FarmError, OSError, StopIteration):  # it left this moment, or is none of ours
                    who = self._identities.get(path) or read_identity(next(read_records(path)), path)
                    self._identities[path] = who
                    if who.host != self._who.host and who.slots and path.stat().st_mtime >= oldest:
                        yield path, who
