"""Messages of ranks that die while these are on their way: what a rank makes of the errors that its library then reports."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace

import pytest

from taskfarmer_mpi import mpi
from taskfarmer_mpi.mpi import MpiComm


class LibraryError(Exception):
    """What the library raises."""


class World:
    """Ranks whose messages are given; an error in the place of one is raised when it is received."""

    rank = 1
    size = 2

    def __init__(self) -> None:
        self.messages: deque[tuple[str, object] | LibraryError] = deque()
        self.arrival = SimpleNamespace(Test=lambda: True)

    def Set_errhandler(self, _handler: object) -> None:  # noqa: N802
        pass

    def iprobe(self, status: SimpleNamespace) -> bool:
        status.source, status.tag = 0, 0
        return bool(self.messages)

    def recv(self, source: int, tag: int) -> tuple[str, object]:
        assert (source, tag) == (0, 0)
        message = self.messages.popleft()
        if isinstance(message, LibraryError):
            raise message
        return message

    def Ibarrier(self) -> SimpleNamespace:  # noqa: N802
        return self.arrival


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a world that a started library has."""
    world = World()
    library = SimpleNamespace(
        COMM_WORLD=world,
        ERRORS_RETURN=None,
        Exception=LibraryError,
        Finalize=lambda: None,
        Is_initialized=lambda: True,
        Status=SimpleNamespace,
    )
    monkeypatch.setattr(mpi, "load_mpi", lambda: library)
    return world


def test_a_message_whose_sender_is_dead_is_lost_and_later_ones_are_not(world: World) -> None:
    world.messages += [("idle", 1), LibraryError("Other error, error stack:\ntinject failed"), ("wake", None)]
    comm = MpiComm()
    assert [message for _ in range(2) for message in comm.receive()] == [(0, "idle", 1), (0, "wake", None)]


def test_a_rank_that_dies_at_the_end_does_not_stop_the_others_from_leaving(world: World) -> None:
    comm = MpiComm()
    assert comm.leave(are_all_alive=True)

    def fail() -> bool:
        raise LibraryError("Other error")

    world.arrival.Test = fail
    assert not comm.leave(are_all_alive=True)
