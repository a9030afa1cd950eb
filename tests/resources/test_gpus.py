"""GPUs are dealt so that no two slots share one, unless that is asked for."""

from __future__ import annotations

from collections import Counter

import pytest

from taskfarmer_mpi.machine.devices import Device
from taskfarmer_mpi.resources.gpus import deal_gpus, most_slots


def _gpus(*names: str) -> list[Device]:
    return [Device(name, f"uuid {name}") for name in names]


FOUR = _gpus("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("slots", "each", "expected"),
    [
        (4, 0.0, ["0", "1", "2", "3"]),
        (2, 0.0, ["0,1", "2,3"]),
        (3, 0.0, ["0", "1", "2"]),
        (2, 1.0, ["0", "1"]),
        (2, 2.0, ["0,1", "2,3"]),
        (8, 0.5, ["0", "1", "2", "3", "0", "1", "2", "3"]),
        (3, 0.5, ["0", "1", "2"]),
        (5, 0.0, None),
        (3, 2.0, None),
        (9, 0.5, None),
    ],
)
def test_each_slot_has_its_own(slots: int, each: float, expected: list[str] | None) -> None:
    dealt = deal_gpus({0: FOUR}, {0: slots}, each)
    assert (dealt and [",".join(names) for names in dealt[0]]) == expected


def test_ranks_share_what_all_may_use_and_keep_what_is_their_own() -> None:
    assert deal_gpus({0: FOUR, 1: FOUR}, {0: 2, 1: 2}, 1.0) == {0: [("0",), ("1",)], 1: [("2",), ("3",)]}
    own = {0: [Device("0", "GPU-a")], 1: [Device("0", "GPU-b")]}  # each sees only its own, as number 0
    assert deal_gpus(own, {0: 1, 1: 1}, 1.0) == {0: [("0",)], 1: [("0",)]}
    assert deal_gpus({0: FOUR, 1: FOUR[:2]}, {0: 2, 1: 2}, 1.0) == {1: [("0",), ("1",)], 0: [("2",), ("3",)]}


def test_as_many_slots_as_gpus_are_shared_out() -> None:
    assert most_slots({0: FOUR}, 0.0) == {0: 4}
    assert most_slots({0: FOUR, 1: FOUR}, 0.5) == {0: 4, 1: 4}
    assert most_slots({0: FOUR}, 2.0) == {0: 2}


@pytest.mark.parametrize(("each", "most"), [(1.0, 1), (0.5, 2), (0.34, 2), (0.3, 3), (0.25, 4), (0.1, 10)])
def test_a_part_of_a_gpu_is_shared_by_no_more_tasks_than_fit(each: float, most: int) -> None:
    dealt = deal_gpus({0: FOUR}, {0: 4 * most}, each)
    assert dealt is not None
    assert set(Counter(dealt[0]).values()) == {most}
    assert deal_gpus({0: FOUR}, {0: 4 * most + 1}, each) is None
