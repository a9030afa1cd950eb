"""What a way to the other ranks is while they come together.

No call here waits for another rank: messages are sent without waiting for their receipt, and looked for without waiting for
their arrival.
"""

from __future__ import annotations

from collections.abc import Iterator

from taskfarmer_mpi.errors import FarmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol
else:
    Any = Protocol = object

PATIENCE = 120.0
"""How long to wait for the other ranks, and for MPI to come up [s]."""

Message = tuple[int, str, Any]
"""Rank of the sender, kind, and content."""


class MpiError(Exception):
    """MPI does not come up; the message says why."""


class MissingRankError(MpiError):
    """MPI waits for a rank."""


class StoppedError(FarmError):
    """A farmer was told to stop before the ranks came together."""


class Comm(Protocol):
    """A way to the other ranks of the job."""

    rank: int
    size: int

    def send(self, dest: int, kind: str, content: object = None) -> None:
        """Send a message; do not wait for anything."""

    def receive(self) -> Iterator[Message]:
        """Yield the messages that have arrived."""

    def leave(self) -> None:
        """End MPI, together with all other ranks if they come in time; nothing happens the second time."""


class SerialComm:
    """A job of one rank, without MPI."""

    rank = 0
    size = 1

    def send(self, dest: int, kind: str, content: object = None) -> None:
        """There is nobody to send to."""

    def receive(self) -> Iterator[Message]:
        """Nobody sends."""
        return iter(())

    def leave(self) -> None:
        """Nothing was started."""
