"""The start of a job, rank by rank, without MPI: each rank is a thread, messages go through boxes."""

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import Post, make_farm
from helpers import Stopwatch

from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.machine.cpus import Cpus
from taskfarmer_mpi.rendezvous.exchange import DismissedError, SilenceError
from taskfarmer_mpi.rendezvous.patience import STOP_PATIENCE, Patience
from taskfarmer_mpi.rendezvous.startup import Hello, Limits, Orders, follow_startup, lead_startup, refuse
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.locks import WorkLock

HELLO = Hello("farmer", "node", Cpus(frozenset({0, 1})))


class LyingLock(WorkLock):
    """A lock on a file system that lets every node have it."""

    def try_acquire(self, *, is_deep: bool = True) -> bool:  # noqa: ARG002
        return True

    def release(self) -> None:
        pass


def own_lock(farm: Farm) -> WorkLock:
    return WorkLock(farm.workdir, farm.lock.paths, "another rank")


def startup(farm: Farm, prepares: list[Callable[[Any], WorkLock]], hellos: list[Hello] | None = None) -> list[Any]:
    """Start rank 0 and one rank for each of `prepares`; return what came of each, an exception as a value."""
    size = len(prepares) + 1
    hellos = hellos or [HELLO] * size
    post = Post(size)
    results: list[Any] = [None] * size

    def follow(rank: int) -> None:
        try:
            results[rank] = follow_startup(post.comm(rank), hellos[rank], prepares[rank - 1], Patience(20.0))
        except Exception as error:
            results[rank] = error

    threads = [threading.Thread(target=follow, args=(rank,)) for rank in range(1, size)]
    for thread in threads:
        thread.start()
    try:
        results[0] = lead_startup(post.comm(0), hellos[0], farm.lock, "plan", Limits(5.0), job_end=123.0)
    except UserError as error:
        refuse(post.comm(0), error)
        results[0] = error
    for thread in threads:
        thread.join(30)
    return results


def test_ranks_get_the_plan_and_their_orders(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a"])
    plans = []

    def prepare(plan: object) -> WorkLock:
        plans.append(plan)
        return own_lock(farm)

    hellos = [
        replace(HELLO, farmer=f"f{rank}", cpus=Cpus(frozenset(range(rank // 2 * 4, rank // 2 * 4 + 4)))) for rank in range(3)
    ]
    leader, *others = startup(farm, [prepare, prepare], hellos)
    names = {0: "f0", 1: "f1", 2: "f2"}
    hosts = dict.fromkeys(names, "node")
    expected = Orders(names, {0: 2, 1: 2, 2: 4}, 123.0, hosts, {"node": 8})
    assert [leader, *(orders for orders, _ in others)] == [expected] * 3
    assert all(abs(offset) < 0.5 for _, offset in others)
    assert plans == ["plan", "plan"]


def test_a_lock_that_does_not_exclude_ends_the_job_for_all(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a"])
    liar = LyingLock(farm.workdir, farm.lock.paths, "liar")
    leader, *others = startup(farm, [lambda _: own_lock(farm), lambda _: liar])
    assert "locks do not exclude between nodes: rank 2 on node" in str(leader)
    assert all(isinstance(other, DismissedError) for other in others)


def test_ranks_that_would_lock_another_file_end_the_job_for_all(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a"])
    other = WorkLock(farm.workdir, [tmp_path / "elsewhere"], "x")
    leader, follower = startup(farm, [lambda _: other])
    assert "set SCRATCH alike" in str(leader)
    assert isinstance(follower, DismissedError)


def test_a_rank_that_cannot_work_ends_the_job_for_all(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a"])

    def fail(_: object) -> WorkLock:
        raise UserError("tasks: cannot read the tasklist")

    leader, follower = startup(farm, [fail])
    assert str(leader) == "rank 1 on node: tasks: cannot read the tasklist"
    assert isinstance(follower, DismissedError)


def test_a_refusal_before_the_first_word_reaches_rank_0(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a"])
    post = Post(2)
    refuse(post.comm(1), UserError("farm.ini: damaged"))
    with pytest.raises(UserError, match=r"rank 1 on .*: farm\.ini: damaged"):
        lead_startup(post.comm(0), HELLO, farm.lock, "plan", Limits(5.0))


def test_rank_0_names_the_ranks_that_it_goes_on_without_and_makes_ready_before_the_others_go(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    farm = make_farm(tmp_path, ["a"])
    post = Post(4)
    ready: list[tuple[dict[int, str], int]] = []

    def make_ready(farmers: dict[int, str]) -> None:
        ready.append((farmers, sum(kind == "go" for _, _, kind in post.log)))

    limits = Limits(5.0, 0.5)
    follower = threading.Thread(target=follow_startup, args=(post.comm(2), HELLO, lambda _: own_lock(farm), Patience(20.0)))
    follower.start()
    orders = lead_startup(post.comm(0), HELLO, farm.lock, "plan", limits, make_ready=make_ready)
    follower.join(30)
    assert not follower.is_alive()
    assert sorted(orders.farmers) == [0, 2]
    assert ready == [(orders.farmers, 0)]
    assert "no word from ranks 1, 3 of 4: the others go on without" in caplog.messages


def test_a_rank_does_not_wait_for_a_silent_rank_0_for_ever() -> None:
    post = Post(2)
    with pytest.raises(SilenceError, match=r"rank 1 on .*: no word from rank 0 for 0 s"):
        follow_startup(post.comm(1), HELLO, lambda _: pytest.fail("no plan came"), Patience(0.2))


def test_a_rank_that_is_told_to_stop_waits_for_others_no_longer_than_a_moment() -> None:
    post = Post(2)
    watch = Stopwatch()
    patience = Patience(600.0, lambda: watch.read() > 0.2)
    with pytest.raises(SilenceError):
        follow_startup(post.comm(1), HELLO, lambda _: pytest.fail("no plan came"), patience)
    assert patience.is_cut
    assert watch.read() < STOP_PATIENCE + 2.0


@pytest.mark.parametrize(
    ("hosts", "slots", "before"),
    [
        ("aaaa", 2, [0, 2, 4, 6]),
        ("abab", 3, [0, 0, 3, 3]),
        ("aabb", 1, [0, 1, 0, 1]),
        ("aaba", None, [0, 5, 0, 11]),
    ],
)
def test_slots_are_numbered_through_on_each_node(hosts: str, slots: int | None, before: list[int]) -> None:
    orders = Orders({}, {0: 5, 1: 6, 2: 7, 3: 8}, hosts=dict(enumerate(hosts)))
    assert [orders.slots_before(rank, slots) for rank in range(4)] == before


def _orders(hosts: list[str], cpus: dict[str, int], share: int = 0) -> Orders:
    """Return orders with so many slots for each rank, or its part of the CPUs."""
    shares = {rank: share or max(1, cpus[host] // hosts.count(host)) for rank, host in enumerate(hosts)}
    return Orders({}, shares, hosts=dict(enumerate(hosts)), cpus=cpus)


@pytest.mark.parametrize(
    ("hosts", "slots", "warning"),
    [
        (["n1", "n2"], 8, None),
        (["n1"], 8, None),
        (["n1", "n1"], 2, None),
        (["n1", "n1"], None, None),
        (["n1", "n1"], 3, "2 ranks on n1 have 6 slots for 4 CPUs: start one rank per node"),
        (["n1", "n1", "n2", "n2"], 8, r"2 ranks on n1 \(as on 1 more\) have 16 slots for 4 CPUs"),
        (["n1"] * 5, None, "5 ranks on n1 have 5 slots for 4 CPUs"),
    ],
)
def test_ranks_of_a_node_with_more_slots_than_cpus_are_warned_of(
    hosts: list[str], slots: int | None, warning: str | None
) -> None:
    found = _orders(hosts, {"n1": 4, "n2": 4}).crowding(slots)
    assert (found is None) == (warning is None)
    if warning is not None:
        assert re.match(warning, str(found))


def test_slots_that_were_dealt_count_as_they_are() -> None:
    assert str(_orders(["n1", "n1"], {"n1": 4}, share=3).crowding(None)).startswith("2 ranks on n1 have 6 slots for 4 CPUs")


@pytest.mark.parametrize(
    ("narrow", "slots", "warning"),
    [
        ({}, 8, None),
        ({"n1": 32}, 1, None),
        ({"n1": 32}, None, "the rank on n1 and all its tasks may use 1 of the 32 CPUs that the job has there: give it all"),
        ({"n1": 32, "n2": 32}, 8, r"the rank on n1 \(as on 1 more\) .*\(srun --cpus-per-task=32, mpiexec --bind-to none\)$"),
    ],
)
def test_ranks_that_are_bound_to_one_cpu_of_many_are_warned_of(
    narrow: dict[str, int], slots: int | None, warning: str | None
) -> None:
    found = Orders({}, {}, narrow=narrow).narrowness(slots)
    assert (found is None) == (warning is None)
    if warning is not None:
        assert re.match(warning, str(found))
