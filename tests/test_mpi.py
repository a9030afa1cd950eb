"""What ranks say to each other: ``mpiexec -n 5 python -m mpi4py -m pytest --only-mpi tests/test_mpi.py``.

Every claim is about values gathered on all ranks, so a failure on one is a failure on all, and none waits for another.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from fakes import make_farm

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.farmer.farmer import Farmer
from taskfarmer_mpi.farmer.tally import Tally
from taskfarmer_mpi.job.board import Board, board_path, make_board
from taskfarmer_mpi.job.coordination import Coordinator
from taskfarmer_mpi.job.leader_duties import LeaderDuties
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.rendezvous import startup
from taskfarmer_mpi.rendezvous.exchange import DismissedError
from taskfarmer_mpi.rendezvous.frames import Frames
from taskfarmer_mpi.rendezvous.mpi_comm import MpiComm
from taskfarmer_mpi.rendezvous.mpi_library import start_mpi
from taskfarmer_mpi.rendezvous.mpi_process import Relay
from taskfarmer_mpi.rendezvous.patience import Patience
from taskfarmer_mpi.rendezvous.startup import Limits, Orders
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.locks import WorkLock

pytestmark = pytest.mark.mpi

PATIENCE = 30.0
MESSAGES = 20


class World:
    """All ranks of the test, and how they compare what they found."""

    def __init__(self) -> None:
        from mpi4py import MPI

        self._world = MPI.COMM_WORLD.Dup()
        self._ends = socket.socketpair()
        own, other = map(Frames, self._ends)
        self._relay = threading.Thread(target=Relay(start_mpi(), other).run, daemon=True)
        self._relay.start()
        while (word := next(own.take(), None)) is None:
            own.wait(PATIENCE)
        _, self.rank, self.size = word
        self._own = own
        self.comm = MpiComm(own, self.rank, self.size)

    def close(self) -> None:
        """Let the relay go, which is a process of its own where farmers work."""
        self._ends[0].close()
        self._relay.join(PATIENCE)
        self._ends[1].close()

    def meet(self) -> None:
        """Wait for all ranks with pauses: a thread that waits inside of MPI leaves the relay's no time."""
        arrival = self._world.Ibarrier()
        while not arrival.Test():
            time.sleep(0.001)

    def gather(self, value: object) -> list[Any]:
        """Return every rank's value on all ranks."""
        self.meet()
        return self._world.allgather(value)

    def share(self, value: Any) -> Any:
        """Return rank 0's value on all ranks."""
        self.meet()
        return self._world.bcast(value)

    def drain(self) -> None:
        """Throw away what nobody asked for: the next test starts with silence. Messages of a rank keep their order.

        What the socket to the relay has not taken yet is sent while messages are received.
        """
        others = set(range(self.size)) - {self.rank}
        for rank in others:
            self.comm.send(rank, "last", None)
        end = time.monotonic() + PATIENCE
        while (others or not self._own.is_flushed) and time.monotonic() < end:
            others -= {sender for sender, kind, _ in self.comm.receive() if kind == "last"}
        assert not others, f"no last message from ranks {others}"
        self.meet()

    def receive_until(self, is_enough: Callable[[list[Any]], bool]) -> list[Any]:
        """Return the messages that came until there are enough of them, or time is over."""
        messages: list[Any] = []
        end = time.monotonic() + PATIENCE
        while not is_enough(messages) and time.monotonic() < end:
            messages += self.comm.receive()
            time.sleep(0.001)
        return messages


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Return all ranks."""
    world = World()
    yield world
    world.close()


@pytest.fixture(autouse=True)
def _silence(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let no message of one test reach the next one."""
    yield
    if "world" in request.fixturenames:
        request.getfixturevalue("world").drain()


@pytest.fixture
def shared(world: World) -> Iterator[Path]:
    """Return a directory that all ranks share."""
    path = Path(world.share(tempfile.mkdtemp() if world.rank == 0 else None))
    yield path
    world.gather(None)
    if world.rank == 0:
        shutil.rmtree(path)


def test_each_message_arrives_once_and_in_order(world: World) -> None:
    others = [rank for rank in range(world.size) if rank != world.rank]
    for number in range(MESSAGES):
        for rank in others:
            world.comm.send(rank, "count", (number, b"x" * 100))
    messages = world.receive_until(lambda found: len(found) >= MESSAGES * len(others))
    by_sender = {rank: [content[0] for sender, _, content in messages if sender == rank] for rank in others}
    for received in world.gather(by_sender):
        assert all(numbers == list(range(MESSAGES)) for numbers in received.values())
        assert len(received) == world.size - 1


@pytest.mark.mpi(min_size=2)
def test_a_large_message_arrives_although_nobody_waits_for_it(world: World) -> None:
    size = 5_000_000
    if world.rank == 0:
        for rank in range(1, world.size):
            world.comm.send(rank, "large", bytes(size))
    received = 0
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and not all(world.gather(received == size or world.rank == 0)):
        for _, _, content in world.comm.receive():
            received = len(content)
    assert world.gather(received) == [0] + [size] * (world.size - 1)


def test_sending_does_not_wait_for_the_receiver(world: World) -> None:
    started = time.monotonic()
    for rank in range(world.size):
        if rank != world.rank:
            world.comm.send(rank, "nothing", bytes(1_000_000))
    took = time.monotonic() - started
    assert max(world.gather(took)) < 5.0
    # nobody has received anything so far


def test_each_rank_knows_its_place(world: World) -> None:
    assert world.gather(world.rank) == list(range(world.size))
    assert set(world.gather(world.size)) == {world.size}


# -- the start --------------------------------------------------------------------------------------


def _work_lock(folder: Path, name: str = "lock") -> WorkLock:
    workdir = Workdir(folder / "work")
    return WorkLock(workdir, [workdir.path / name], "a test")


def _start_together(world: World, lock: WorkLock) -> Orders | str:
    """Bring this rank to the start; return its orders, or how the start was called off."""
    own = startup.hello(f"farmer-{world.rank}")
    try:
        if world.rank == 0:
            return startup.lead_startup(world.comm, own, lock, "plan", Limits(PATIENCE, PATIENCE))
        return startup.follow_startup(world.comm, own, lambda _plan: lock, Patience(PATIENCE))[0]
    except DismissedError:
        return "dismissed"
    except UserError as error:
        startup.refuse(world.comm, error)
        return str(error)


def _make_workdir(world: World, shared: Path) -> None:
    if world.rank == 0:
        Workdir(shared / "work").create()
    world.gather(None)


def test_all_ranks_come_to_the_start(world: World, shared: Path) -> None:
    _make_workdir(world, shared)
    orders = world.gather(_start_together(world, _work_lock(shared)))
    names = {rank: f"farmer-{rank}" for rank in range(world.size)}
    assert [order.farmers for order in orders] == [names] * world.size
    cpus = len(os.sched_getaffinity(0))
    assert [order.shares for order in orders] == [dict.fromkeys(range(world.size), max(1, cpus // world.size))] * world.size


def test_clocks_of_one_machine_agree(world: World, shared: Path) -> None:
    _make_workdir(world, shared)
    lock = _work_lock(shared)
    own = startup.hello(f"farmer-{world.rank}")
    if world.rank == 0:
        startup.lead_startup(world.comm, own, lock, "plan", Limits(PATIENCE, PATIENCE))
        offset = 0.0
    else:
        _, offset = startup.follow_startup(world.comm, own, lambda _plan: lock, Patience(PATIENCE))
    assert max(map(abs, world.gather(offset))) < 0.25


@pytest.mark.mpi(min_size=2)
def test_nobody_starts_if_a_rank_gets_a_lock_that_is_held(world: World, shared: Path) -> None:
    """The last rank locks another file than it says, as if its file system kept locks to itself."""
    _make_workdir(world, shared)
    lock = _work_lock(shared)
    if world.rank == world.size - 1:
        liar = _work_lock(shared, "another")
        liar.paths = lock.paths
        lock = liar
    answers = world.gather(_start_together(world, lock))
    assert "locks do not exclude" in answers[0]
    assert f"rank {world.size - 1}" in answers[0]
    assert answers[1:] == ["dismissed"] * (world.size - 1)


@pytest.mark.mpi(min_size=2)
def test_nobody_starts_if_a_rank_would_lock_another_file(world: World, shared: Path) -> None:
    _make_workdir(world, shared)
    answers = world.gather(_start_together(world, _work_lock(shared, "lock" if world.rank == 0 else "another")))
    assert "another" in answers[0]
    assert "SCRATCH" in answers[0]
    assert answers[1:] == ["dismissed"] * (world.size - 1)


@pytest.mark.mpi(min_size=2)
def test_nobody_starts_if_a_rank_cannot_prepare_itself(world: World, shared: Path) -> None:
    _make_workdir(world, shared)
    lock = _work_lock(shared)

    def refuse(_plan: object) -> WorkLock:
        raise UserError("tasks: no such file here")

    own = startup.hello(f"farmer-{world.rank}")
    try:
        if world.rank == 0:
            startup.lead_startup(world.comm, own, lock, "plan", Limits(PATIENCE, PATIENCE))
        else:
            startup.follow_startup(world.comm, own, refuse if world.rank == 1 else lambda _plan: lock, Patience(PATIENCE))
        answer = "started"
    except DismissedError:
        answer = "dismissed"
    except UserError as error:
        startup.refuse(world.comm, error)
        answer = str(error)
    answers = world.gather(answer)
    assert "rank 1" in answers[0]
    assert "no such file here" in answers[0]
    assert answers[1:] == ["dismissed"] * (world.size - 1)


# -- the end ----------------------------------------------------------------------------------------


class _Farmer:
    """A farmer that always works until it is told to stop."""

    def __init__(self) -> None:
        self.stop_reason: str | None = None
        self.drain_reason: str | None = None
        self.trouble = None
        self.sees_more = True
        self.shares_limits = False
        self.unfit = ""
        self.tally = Tally(1)
        self.stops = 0

    @property
    def is_idle(self) -> bool:
        return self.stop_reason is not None

    @property
    def takes_tasks(self) -> bool:
        return self.stop_reason is None

    def stop(self, reason: str) -> None:
        self.stop_reason = reason
        self.stops += 1

    def look_again(self) -> None:
        pass


def _coordinator(world: World, farm: Farm, farmer: _Farmer) -> Coordinator:
    """Return this rank's coordinator, once each rank has its life lock."""
    farmers = {rank: f"farmer-{rank}" for rank in range(world.size)}
    paths = {rank: farm.lock.life_path(name, "alive") for rank, name in farmers.items()}
    LifeLock.create(paths[world.rank], 0o600)  # held to the end of the process
    if world.rank == 0:
        make_board(farm.workdir, farmers)
    world.gather(None)
    return Coordinator(
        channel=Board(board_path(farm.workdir, farmers), world.rank),
        farmer=cast(Farmer, farmer),
        duties=LeaderDuties(farm, cast(Farmer, farmer), PATIENCE),
        life_paths=paths,
    )


def _shared_farm(world: World, shared: Path) -> Farm:
    """Return a farm that rank 0 has made."""
    if world.rank == 0:
        make_farm(shared, ["true"])
    world.gather(None)
    return make_farm(shared, ["true"], is_prepared=False)


@pytest.mark.parametrize("origin", ["first", "last"])
def test_a_stop_of_one_rank_reaches_all_and_the_leader_hears_of_it(origin: str, world: World, shared: Path) -> None:
    farm = _shared_farm(world, shared)
    farmer = _Farmer()
    coordinator = _coordinator(world, farm, farmer)
    stopped = 0 if origin == "first" else world.size - 1
    if world.rank == stopped:
        coordinator.spread_stop("SIGUSR1")
        farmer.stop("SIGUSR1")
    end = time.monotonic() + PATIENCE
    while coordinator.end is None and time.monotonic() < end:
        coordinator.step()
        if coordinator.is_leader and coordinator.end is not None:
            coordinator.spread("end", 75)
        time.sleep(0.002)
    assert world.gather((farmer.stop_reason, farmer.stops)) == [("SIGUSR1", 1)] * world.size
    assert world.gather(coordinator.end) == [0] + [75] * (world.size - 1)
    assert world.gather(sorted(coordinator.reports)) == [list(range(1, world.size))] + [[]] * (world.size - 1)
    assert world.gather(sorted(coordinator.ranks.dead)) == [[]] * world.size
