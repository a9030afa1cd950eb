"""Messages of ranks that die while these are on their way: what a rank makes of the errors that its library then reports."""

from __future__ import annotations

import pickle
from collections import deque
from types import SimpleNamespace

import pytest

from taskfarmer_mpi.job import communicator
from taskfarmer_mpi.job.communicator import MpiComm


class LibraryError(Exception):
    """What the library raises."""


class Envelope:
    """A message that has arrived."""

    def __init__(self, message: tuple[str, object], size: int | None, *, is_sender_dead: bool) -> None:
        self.data = pickle.dumps(message)
        self._size = len(self.data) if size is None else size
        self._is_sender_dead = is_sender_dead

    def Recv(self, place: tuple[bytearray, object]) -> None:  # noqa: N802
        place[0][: self._size] = self.data[: self._size]
        if self._is_sender_dead:
            raise LibraryError("Other error, error stack:\ninject failed")


class World:
    """Ranks whose messages are given."""

    rank = 1
    size = 2

    def __init__(self) -> None:
        self.messages: deque[Envelope] = deque()
        self.arrival = SimpleNamespace(Test=lambda: True)

    def add(self, kind: str, content: object, size: int | None = None, *, is_sender_dead: bool = False) -> None:
        self.messages.append(Envelope((kind, content), size, is_sender_dead=is_sender_dead))

    def Set_errhandler(self, _handler: object) -> None:  # noqa: N802
        pass

    def Improbe(self, status: SimpleNamespace) -> Envelope | None:  # noqa: N802
        if not self.messages:
            return None
        envelope = self.messages.popleft()
        status.source = 0
        status.Get_count = lambda _type: len(envelope.data)
        return envelope

    def Ibarrier(self) -> SimpleNamespace:  # noqa: N802
        return self.arrival


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a world that a started library has."""
    world = World()
    library = SimpleNamespace(
        COMM_WORLD=world,
        BYTE=None,
        ERRORS_RETURN=None,
        Exception=LibraryError,
        Finalize=lambda: None,
        Is_initialized=lambda: True,
        Status=SimpleNamespace,
        pickle=pickle,
    )
    monkeypatch.setattr(communicator, "load_mpi", lambda: library)
    return world


def test_a_message_whose_sender_is_dead_is_received(world: World) -> None:
    world.add("idle", 1)
    world.add("stop", "SIGUSR1", is_sender_dead=True)
    world.add("wake", None)
    assert [*MpiComm().receive()] == [(0, "idle", 1), (0, "stop", "SIGUSR1"), (0, "wake", None)]


@pytest.mark.parametrize("size", [0, 1, 10])
def test_a_message_that_a_dead_sender_did_not_send_whole_is_lost_and_later_ones_are_not(size: int, world: World) -> None:
    world.add("stop", "SIGUSR1", size, is_sender_dead=True)
    world.add("wake", None)
    comm = MpiComm()
    assert [message for _ in range(2) for message in comm.receive()] == [(0, "wake", None)]


def test_a_rank_that_dies_at_the_end_does_not_stop_the_others_from_leaving(world: World) -> None:
    comm = MpiComm()
    assert comm.leave(are_all_alive=True)

    def fail() -> bool:
        raise LibraryError("Other error")

    world.arrival.Test = fail
    assert not comm.leave(are_all_alive=True)
