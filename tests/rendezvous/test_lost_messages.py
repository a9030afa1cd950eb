"""What the process that speaks MPI makes of errors that its library reports, and of a farmer that goes away."""

from __future__ import annotations

import pickle
import socket
import time
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from taskfarmer_mpi.rendezvous.frames import Frames
from taskfarmer_mpi.rendezvous.mpi_comm import MpiComm
from taskfarmer_mpi.rendezvous.mpi_process import Relay


class LibraryError(Exception):
    """What the library raises."""


class Envelope:
    """A message that has arrived."""

    def __init__(self, data: bytes, size: int, *, is_sender_dead: bool) -> None:
        self.data = data
        self._size = size
        self._is_sender_dead = is_sender_dead

    def Recv(self, place: tuple[bytearray, object]) -> None:  # noqa: N802
        place[0][: self._size] = self.data[: self._size]
        if self._size < len(self.data) or self._is_sender_dead:
            raise LibraryError("Other error, error stack:\ninject failed")


class World:
    """Ranks whose messages are given."""

    rank = 1
    size = 2

    def __init__(self) -> None:
        self.messages: deque[Envelope] = deque()
        self.arrival = SimpleNamespace(Test=lambda: True)
        self.sent: list[bytes] = []
        self.is_received = True
        self.is_finalized = False

    def add(self, data: bytes, size: int | None = None, *, is_sender_dead: bool = False) -> None:
        self.messages.append(Envelope(data, len(data) if size is None else size, is_sender_dead=is_sender_dead))

    def Improbe(self, status: SimpleNamespace) -> Envelope | None:  # noqa: N802
        if not self.messages:
            return None
        envelope = self.messages.popleft()
        status.source = 0
        status.Get_count = lambda _type: len(envelope.data)
        return envelope

    def Issend(self, place: tuple[bytes, object], dest: int) -> SimpleNamespace:  # noqa: N802
        if dest == 9:
            raise LibraryError("no such rank any more")
        self.sent.append(bytes(place[0]))
        return SimpleNamespace(Test=lambda: self.is_received)

    def Ibarrier(self) -> SimpleNamespace:  # noqa: N802
        return self.arrival

    def finalize(self) -> None:
        self.is_finalized = True


@pytest.fixture
def world() -> World:
    """Return a world that a started library has."""
    return World()


def relay(world: World, *frames: object) -> tuple[bool, list[Any]]:
    """Run a relay to which a farmer says this; return whether MPI ended in order, and what the farmer got."""
    library: Any = SimpleNamespace(
        COMM_WORLD=world, BYTE=None, Exception=LibraryError, Finalize=world.finalize, Status=SimpleNamespace
    )
    own, other = socket.socketpair()
    with own, other:
        farmer = Frames(own)
        for frame in frames:
            farmer.put(frame)
        return Relay(library, Frames(other)).run(), list(farmer.take())


def test_messages_are_handed_on_in_their_order(world: World) -> None:
    for data in (b"one", b"two", b"three"):
        world.add(data)
    is_in_order, got = relay(world, ("send", 0, b"mine"), ("leave", 5.0))
    assert is_in_order
    assert world.is_finalized
    assert world.sent == [b"mine"]
    assert got == [("up", 1, 2), *(("message", 0, data) for data in (b"one", b"two", b"three"))]


def test_a_message_whose_sender_is_dead_is_handed_on(world: World) -> None:
    world.add(b"stop", is_sender_dead=True)
    _, got = relay(world, ("send", 9, b"to the dead"), ("leave", 5.0))
    assert got[1:] == [("message", 0, b"stop")]


@pytest.mark.parametrize("size", [0, 1, 10])
def test_a_message_that_a_dead_rank_did_not_send_whole_is_lost_and_later_ones_are_not(size: int, world: World) -> None:
    world.add(pickle.dumps(("stop", "SIGUSR1")), size)
    world.add(pickle.dumps(("wake", None)))
    own, other = socket.socketpair()
    with own, other:
        farmer = Frames(other)
        for frame in relay(world, ("leave", 5.0))[1]:
            farmer.put(frame)
        assert list(MpiComm(Frames(own), 1, 2).receive()) == [(0, "wake", None)]


def test_mpi_is_not_ended_while_a_message_is_under_way(world: World) -> None:
    world.is_received = False
    started = time.monotonic()
    is_in_order, _ = relay(world, ("send", 0, b"mine"), ("leave", 0.3))
    assert (is_in_order, world.is_finalized) == (False, False)
    assert time.monotonic() - started >= 0.3


def test_a_rank_that_dies_at_the_end_does_not_stop_the_others_from_leaving(world: World) -> None:
    def fail() -> bool:
        raise LibraryError("Other error")

    world.arrival.Test = fail
    assert relay(world, ("leave", 5.0))[0] is False
    assert not world.is_finalized


def test_a_farmer_that_is_gone_ends_the_relay(world: World) -> None:
    own, other = socket.socketpair()
    library: Any = SimpleNamespace(COMM_WORLD=world, BYTE=None, Exception=LibraryError, Status=SimpleNamespace)
    own.close()
    with other:
        assert Relay(library, Frames(other)).run() is False
