"""Cores are dealt so that no two slots share one."""

from __future__ import annotations

import random

import pytest

from taskfarmer_mpi.machine.topology import Core
from taskfarmer_mpi.resources.cores import deal_cores, most_slots


def _node(*nodes: int, threads: int = 1) -> list[Core]:
    """Return cores with so many hyperthreads, so many on each NUMA node."""
    numa = [number for number, count in enumerate(nodes) for _ in range(count)]
    return [Core(frozenset(range(i * threads, (i + 1) * threads)), node) for i, node in enumerate(numa)]


def _dealt(holders: dict[int, list[Core]], slots: dict[int, int]) -> dict[int, list[list[int]]] | None:
    dealt = deal_cores(holders, slots)
    if dealt is None:
        return None
    return {rank: [sorted(cpus) for cpus in own] for rank, own in dealt.items()}


def test_each_slot_has_whole_cores_of_one_numa_node() -> None:
    cores = _node(2, 2, threads=2)
    assert _dealt({0: cores}, {0: 2}) == {0: [[0, 1, 2, 3], [4, 5, 6, 7]]}
    assert _dealt({0: cores}, {0: 3}) == {0: [[0, 1], [4, 5], [2, 3]]}
    assert _dealt({0: cores}, {0: 1}) == {0: [[0, 1, 2, 3, 4, 5, 6, 7]]}
    assert _dealt({0: _node(3, 3)}, {0: 2}) == {0: [[0, 1, 2], [3, 4, 5]]}
    assert _dealt({0: _node(3, 3)}, {0: 3}) == {0: [[0, 1], [3, 4], [2, 5]]}  # the last one has no choice


def test_ranks_with_the_same_cpus_share_them_out_and_bound_ones_keep_theirs() -> None:
    cores = _node(4)
    assert _dealt({0: cores, 1: cores}, {0: 2, 1: 2}) == {0: [[0], [1]], 1: [[2], [3]]}
    assert _dealt({0: cores[:1], 1: cores[1:]}, {0: 1, 1: 1}) == {0: [[0]], 1: [[1, 2, 3]]}
    assert _dealt({0: cores, 1: cores[:2]}, {0: 1, 1: 1}) == {0: [[2, 3]], 1: [[0, 1]]}


def test_more_slots_than_cores_cannot_be_dealt() -> None:
    assert _dealt({0: _node(2, threads=2)}, {0: 3}) is None
    assert _dealt({0: _node(2), 1: _node(2)}, {0: 2, 1: 1}) is None
    assert _dealt({0: _node(4), 1: _node(4)[:1]}, {0: 1, 1: 2}) is None


def test_as_many_slots_as_cores_are_shared_out() -> None:
    cores = _node(4, threads=2)
    assert most_slots({0: cores}) == {0: 4}
    assert most_slots({0: cores, 1: cores, 2: cores}) == {0: 1, 1: 1, 2: 1}
    assert most_slots({0: cores[:1], 1: cores[1:]}) == {0: 1, 1: 3}
    assert most_slots({}) == {}


@pytest.mark.parametrize("seed", range(40))
def test_no_cpu_is_dealt_twice_and_none_that_a_rank_may_not_use(seed: int) -> None:
    chance = random.Random(seed)
    cores = _node(*(chance.randint(1, 8) for _ in range(chance.randint(1, 4))), threads=chance.choice((1, 2)))
    holders = {rank: chance.sample(cores, chance.randint(1, len(cores))) for rank in range(chance.randint(1, 4))}
    slots = {rank: chance.randint(1, 3) for rank in holders}
    dealt = deal_cores(holders, slots)
    if dealt is None:
        return
    every = [cpu for own in dealt.values() for cpus in own for cpu in cpus]
    assert len(every) == len(set(every))
    for rank, own in dealt.items():
        assert len(own) == slots[rank]
        assert all(own)
        assert frozenset().union(*own) <= frozenset().union(*(core.cpus for core in holders[rank]))
