"""How ranks that work talk to each other: what a way to the others can do, and the one of a rank that is alone."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    from taskfarmer_mpi.rendezvous.communicator import Message

    class Channel(Protocol):
        """A way to the other ranks of a job that works."""

        rank: int

        def send(self, dest: int | None, kind: str, content: object = None) -> None:
            """Send a message to a rank, or to all others; do not wait for anything."""
            ...

        def receive(self) -> Iterator[Message]:
            """Yield the messages that have arrived."""
            ...


class NoChannel:
    """A rank alone: there is nobody to talk to."""

    rank = 0

    def send(self, dest: int | None, kind: str, content: object = None) -> None:
        """There is nobody to send to."""

    def receive(self) -> Iterator[Message]:
        """Nobody sends."""
        return iter(())
