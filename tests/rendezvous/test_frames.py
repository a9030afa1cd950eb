"""Objects through a socket, without waiting."""

import fcntl
import os
import resource
import socket
import time
from collections.abc import Iterator

import pytest

from taskfarmer_mpi.rendezvous.frames import Frames


@pytest.fixture
def ends() -> Iterator[tuple[Frames, Frames]]:
    one, other = socket.socketpair()
    with one, other:
        yield Frames(one), Frames(other)


def test_objects_arrive_in_their_order(ends: tuple[Frames, Frames]) -> None:
    one, other = ends
    for number in range(100):
        one.put(("count", number, b"x" * number))
    assert list(other.take()) == [("count", number, b"x" * number) for number in range(100)]
    assert list(other.take()) == []


def test_what_the_socket_does_not_take_is_sent_later(ends: tuple[Frames, Frames]) -> None:
    one, other = ends
    one.put(bytes(20_000_000))
    one.put("after it")
    assert not one.is_flushed
    got: list[object] = []
    while len(got) < 2:
        got += other.take()
        one.flush()
    assert (len(got[0]), got[1]) == (20_000_000, "after it")  # type: ignore[arg-type]
    assert one.is_flushed


def test_both_ends_can_send_much_at_the_same_time(ends: tuple[Frames, Frames]) -> None:
    for end in ends:
        end.put(bytes(5_000_000))
    got: list[int] = []
    while len(got) < 2:
        got += [len(frame) for end in ends for frame in end.take()]
    assert got == [5_000_000] * 2


def test_an_end_that_is_gone_is_noticed_after_its_last_words(ends: tuple[Frames, Frames]) -> None:
    one, other = ends
    one.put("last")
    one.close()
    assert list(other.take()) == ["last"]
    assert other.is_closed
    other.put("nobody hears it")
    assert other.is_flushed


def test_a_socket_whose_number_is_above_1023_is_waited_for() -> None:
    """A parent may leave so many descriptors open; `select` takes none of these numbers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4000, hard), hard))
    one, other = socket.socketpair()
    try:
        high = socket.socket(fileno=fcntl.fcntl(one.fileno(), fcntl.F_DUPFD_CLOEXEC, 1100))
        with one, other, high:
            frames = Frames(high)
            begin = time.monotonic()
            frames.wait(0.05)
            assert time.monotonic() - begin >= 0.05
            assert os.write(other.fileno(), b"x") == 1
            frames.wait(60)
            assert time.monotonic() - begin < 30
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
