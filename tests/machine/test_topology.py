"""Cores and NUMA nodes, as the kernel's files have them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taskfarmer_mpi.machine.topology import Core, find_cores


def _system(folder: Path, siblings: dict[int, str], nodes: dict[int, str], name: str = "core_cpus_list") -> Path:
    for cpu, text in siblings.items():
        place = folder / "cpu" / f"cpu{cpu}" / "topology"
        place.mkdir(parents=True)
        (place / name).write_text(f"{text}\n")
    for node, text in nodes.items():
        (folder / "node" / f"node{node}").mkdir(parents=True)
        (folder / "node" / f"node{node}" / "cpulist").write_text(f"{text}\n")
    return folder


@pytest.mark.parametrize("name", ["core_cpus_list", "thread_siblings_list"])
def test_hyperthreads_are_one_core_and_cores_are_in_the_order_of_their_numa_nodes(name: str, tmp_path: Path) -> None:
    threads = {0: "0,4", 4: "0,4", 1: "1,5", 5: "1,5", 2: "2,6", 6: "2,6", 3: "3,7", 7: "3,7"}
    system = _system(tmp_path, threads, {0: "0,2,4,6", 1: "1,3,5,7"}, name)
    found = find_cores(range(8), system)
    assert [(sorted(core.cpus), core.node) for core in found] == [([0, 4], 0), ([2, 6], 0), ([1, 5], 1), ([3, 7], 1)]


def test_of_a_core_only_those_hyperthreads_count_that_may_be_used(tmp_path: Path) -> None:
    system = _system(tmp_path, {0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}, {})
    assert find_cores({1, 2, 3}, system) == (Core(frozenset({1})), Core(frozenset({2, 3})))


def test_where_nobody_says_so_each_cpu_is_a_core(tmp_path: Path) -> None:
    assert find_cores({0, 1}, tmp_path) == (Core(frozenset({0})), Core(frozenset({1})))
    assert find_cores({0}, _system(tmp_path, {0: "none"}, {0: ""})) == (Core(frozenset({0})),)


def test_the_cores_of_this_node_have_all_of_its_cpus() -> None:
    own = os.sched_getaffinity(0)
    assert frozenset().union(*(core.cpus for core in find_cores(own))) == own
