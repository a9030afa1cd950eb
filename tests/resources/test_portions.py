"""What ranks get of their nodes, and what is refused."""

from __future__ import annotations

import re

import pytest

from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.machine.devices import Device
from taskfarmer_mpi.machine.memory import Memory
from taskfarmer_mpi.machine.topology import Core
from taskfarmer_mpi.policies.resources import DeviceChoice, Resources
from taskfarmer_mpi.resources.holdings import Holdings
from taskfarmer_mpi.resources.portions import Seat, deal, neighbours

GIB = 1 << 30
CORES = tuple(Core(frozenset({i})) for i in range(4))
GPUS = tuple(Device(str(i), str(i)) for i in range(2))
PIN = Resources(is_pinned=True)
NODE = Memory(16 * GIB)


def _sizes(wanted: Resources, holdings: dict[int, Holdings], slots: int, *, is_auto: bool = False) -> list[int]:
    dealt = deal(wanted, holdings, dict.fromkeys(holdings, slots), is_auto=is_auto)
    return [len(dealt[rank].seats) for rank in holdings]


def test_memory_limits_slots_and_is_divided_among_the_ranks_of_a_node() -> None:
    wanted = Resources(memory_per_task=4 * GIB)
    one = Holdings("a", memory=NODE)
    assert _sizes(wanted, {0: one}, 8) == [4]
    assert _sizes(wanted, {0: one}, 3) == [3]
    assert _sizes(wanted, {0: one, 1: one, 2: replace(one, host="b")}, 8) == [2, 2, 4]
    assert _sizes(replace(wanted, memory_reserve=GIB), {0: one}, 8) == [3]


def test_a_limit_is_divided_among_the_ranks_of_its_control_group() -> None:
    wanted = Resources(memory_per_task=GIB)
    shared, own, other = Memory(16 * GIB, 6 * GIB, "/job"), Memory(16 * GIB, 6 * GIB, "/a"), Memory(16 * GIB, 6 * GIB, "/b")
    assert _sizes(wanted, {rank: Holdings("a", memory=shared) for rank in range(2)}, 8) == [3, 3]
    assert _sizes(wanted, {0: Holdings("a", memory=own), 1: Holdings("a", memory=other)}, 8) == [6, 6]


def test_slots_are_as_many_as_cores_and_gpus_if_nobody_says_how_many() -> None:
    wanted = Resources(is_pinned=True, devices=DeviceChoice())
    one = Holdings("a", CORES, GPUS, "CUDA_VISIBLE_DEVICES")
    assert _sizes(PIN, {0: replace(one, devices=None)}, 64, is_auto=True) == [4]
    assert _sizes(wanted, {0: one}, 64, is_auto=True) == [2]
    assert _sizes(wanted, {0: one, 1: one}, 64, is_auto=True) == [1, 1]
    dealt = deal(wanted, {0: one, 1: one}, {0: 1, 1: 1}, is_auto=False)
    assert [(sorted(seat.cpus), seat.devices) for rank in (0, 1) for seat in dealt[rank].seats] == [
        ([0, 1], ("0",)),
        ([2, 3], ("1",)),
    ]


@pytest.mark.parametrize(
    ("wanted", "holdings", "slots", "said"),
    [
        (PIN, Holdings("a", CORES), 5, "--pin: 10 slots of 2 ranks on a for 4 cores: --proc auto"),
        (Resources(devices=DeviceChoice()), Holdings("a", None, GPUS), 2, "--gpus: 4 slots of 2 ranks on a for 2 GPUs: "),
        (
            Resources(devices=DeviceChoice(), devices_per_task=2),
            Holdings("a", None, GPUS),
            1,
            "--gpus: 2 slots of 2 ranks with 2 each on a for 2 GPUs: ",
        ),
        (
            Resources(memory_per_task=10 * GIB),
            Holdings("a", memory=NODE),
            1,
            "--memory-per-task 10 GiB: a rank on a has 8 GiB for its tasks",
        ),
    ],
)
def test_what_cannot_be_dealt_is_refused_in_one_line(wanted: Resources, holdings: Holdings, slots: int, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as refusal:
        deal(wanted, {0: holdings, 1: holdings}, {0: slots, 1: slots}, is_auto=False)
    assert "\n" not in str(refusal.value)


def test_farmers_that_do_not_know_of_each_other_deal_alike() -> None:
    own = Holdings("a", CORES, GPUS, "CUDA_VISIBLE_DEVICES", NODE)
    wanted = Resources(is_pinned=True, devices=DeviceChoice(), memory_per_task=GIB)
    seats: list[Seat] = []
    for rank in range(2):
        there = neighbours(own, rank, 2, shares_cores=True, shares_devices=True)
        seats += deal(wanted, there, {0: 1, 1: 1}, is_auto=False)[rank].seats
    assert [(sorted(seat.cpus), seat.devices) for seat in seats] == [([0, 1], ("0",)), ([2, 3], ("1",))]
    there = neighbours(own, 1, 2, shares_cores=False, shares_devices=False)
    (seat,) = deal(wanted, there, {0: 1, 1: 1}, is_auto=False)[1].seats
    assert (len(seat.cpus), seat.devices) == (4, ("0", "1"))
