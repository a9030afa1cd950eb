"""The mark by which the events of a trace that were made here are told from those of plain farmers."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeGuard
else:
    Any = object


Event = dict[str, Any]

MARK = "taskfarmer_mpi"
"""An argument of each event, or its category where arguments have another meaning."""

_MARKED = (b'"taskfarmer_mpi":', b'"cat":"taskfarmer_mpi"')


def is_marked(line: bytes) -> bool:
    """Whether a line that was written here holds an event that was made here."""
    return _MARKED[0] in line or _MARKED[1] in line


def is_own(event: Event) -> bool:
    """Whether an event was made here; a plain farmer may have written it anew."""
    args = event.get("args")
    return (isinstance(args, dict) and MARK in args) or event.get("cat") == MARK


def is_time(value: object) -> TypeGuard[float]:
    """Return whether this can be a time or a duration in a trace [µs]."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -(2**62) < value < 2**62
