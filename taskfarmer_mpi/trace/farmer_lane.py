"""A farmer's own lane of the trace: its start, its waiting for the lock, its visits, recovery and shutdown."""

from __future__ import annotations

from collections.abc import Iterator

from taskfarmer_mpi.trace.events import encode_span
from taskfarmer_mpi.workdir.journal_records import Identity, Record

_ENDINGS = {"aside": "set aside", "drain": "drain", "stop": "shutdown"}
"""What ends the taking of tasks, by the journal's word for it."""
SHOWN_WAIT = 1000
"""Shortest wait for the lock that is shown [µs]."""


class FarmerLane:
    """Turns the notes of one journal, in their order, into slices that lie beside or within each other."""

    def __init__(self, identity: Identity, pid: int) -> None:
        self._offset = identity.clock_offset
        self._pid = pid
        self._first: int | None = None
        self._free = 0
        """No slice that is still to come begins before this time [µs], but one that encloses all."""
        self._open: list[tuple[int, str]] = []
        self.reason = ""
        """Why the farmer killed its tasks, if it did."""

    def take(self, record: Record) -> Iterator[bytes]:
        """Yield the slices that a note makes.

        Raises
        ------
        KeyError, TypeError
            If it is not what a farmer writes.
        """
        kind = record["ev"]
        now = self._time(record["t"])
        if kind == "start":
            begin = min(self._time(record["begin"]), self._first or now)
            self._free = max(now, self._free, begin + 1)
            yield encode_span(self._pid, self._pid, begin, self._free, "start", {})
        elif kind == "recovery":
            args = {"farmers": record["farmers"], "tasks": record["tasks"]}
            yield self._span(self._time(record["begin"]), self._time(record["end"]), "recovery", args)
        elif kind == "visit":
            begin = self._time(record["begin"])
            wait = round(record["wait"] * 1e6)
            if wait >= SHOWN_WAIT:
                yield self._span(begin - wait, begin, "waiting for the lock", {})
            yield self._span(begin, now, "visit", {name: record[name] for name in ("recorded", "back", "taken")})
        elif kind in _ENDINGS:
            self._free = max(now, self._free)
            self._open.append((self._free, f"{_ENDINGS[kind]}: {record['reason']}"))
            if kind == "stop":
                self.reason = str(record["reason"])

    def end(self) -> Iterator[bytes]:
        """Yield what lasted to the end: up to the last thing that the farmer did."""
        end = max([self._free, *(begin + 1 for begin, _ in self._open)])
        for begin, name in self._open:
            yield encode_span(self._pid, self._pid, begin, end, name, {})

    def _span(self, begin: int, end: int, name: str, args: Record) -> bytes:
        begin = max(begin, self._free)
        self._free = max(end, begin + 1)
        if self._first is None:
            self._first = begin
        return encode_span(self._pid, self._pid, begin, self._free, name, args)

    def _time(self, moment: float) -> int:
        return round((moment + self._offset) * 1e6)
