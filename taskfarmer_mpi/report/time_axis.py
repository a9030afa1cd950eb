"""The time axis of a report: the time in which farmers lived, without the gaps between their jobs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from taskfarmer_mpi.common.values import Value


class Session(Value):
    """A time without a gap in which at least one farmer lived."""

    begin: float
    """[s since the epoch]"""
    end: float
    """[s since the epoch]"""
    offset: float
    """Where it begins on the axis [s]."""

    @property
    def length(self) -> float:
        """How long it lasted [s]."""
        return self.end - self.begin


class Axis:
    """Maps moments to a line without gaps."""

    def __init__(self, lives: Iterable[tuple[float, float]]) -> None:
        """Make the axis.

        Parameters
        ----------
        lives
            Birth and end of each farmer [s since the epoch].
        """
        self.sessions: list[Session] = []
        begin = end = None
        for born, left in sorted(lives):
            if begin is None or end is None:
                begin, end = born, left
            elif born <= end:
                end = max(end, left)
            else:
                self._add(begin, end)
                begin, end = born, left
        if begin is not None and end is not None:
            self._add(begin, end)
        self._begins = [session.begin for session in self.sessions]

    def _add(self, begin: float, end: float) -> None:
        self.sessions.append(Session(begin, max(end, begin), self.length))

    @property
    def length(self) -> float:
        """How long farmers lived, all sessions together [s]."""
        return self.sessions[-1].offset + self.sessions[-1].length if self.sessions else 0.0

    def place(self, moment: float) -> float:
        """Return where a moment [s since the epoch] is on the axis [s]; one in a gap is where the gap is."""
        number = max(bisect_right(self._begins, moment) - 1, 0)
        session = self.sessions[number]
        return session.offset + min(max(moment - session.begin, 0.0), session.length)

    def moment(self, place: float) -> float:
        """Return the moment [s since the epoch] of a place on the axis [s]."""
        session = next((session for session in reversed(self.sessions) if session.offset <= place), self.sessions[0])
        return session.begin + place - session.offset
