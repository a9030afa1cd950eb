"""What tasks of different sizes take of what a farmer has."""

from __future__ import annotations

import pytest

from taskfarmer_mpi.policies.settings import GPU, Settings, read_settings
from taskfarmer_mpi.resources.portions import Portion, Seat
from taskfarmer_mpi.resources.room import Need, Room

GIB = 1 << 30


def _room(slots: int = 4, *, width: int = 0, gpus: int = 0, memory: int = 8 * GIB, **environ: str) -> Room:
    seats = tuple(Seat(frozenset(range(i * width, (i + 1) * width))) for i in range(slots))
    portion = Portion(
        seats, "CUDA_VISIBLE_DEVICES", memory=GIB, room=memory, pool=tuple(map(str, range(gpus))), usual_gpus=0
    )
    return Room(slots, portion, environ)


def test_a_task_without_a_size_takes_a_slot_and_the_usual_memory() -> None:
    room = _room()
    assert room.need_of(Settings(name="fit", retries=3)) == Need(1, GIB, 0)
    assert room.give(0) == (1, {})
    assert (room.spare([]).slots, room.spare([]).memory) == (3, 7 * GIB)


def test_a_task_sees_what_it_has() -> None:
    room = _room(gpus=2)
    given = room.give(7, read_settings("cpus=3 mem=2G gpus=2"))
    assert given == (
        3,
        {
            "TASKFARMER_CPUS": "3",
            "OMP_NUM_THREADS": "3",
            "TASKFARMER_MEMORY": "2048",
            "CUDA_VISIBLE_DEVICES": "0,1",
        },
    )
    assert room.give(8, read_settings("cpus=1"))[1]["CUDA_VISIBLE_DEVICES"] == "-1", "GPUs are others' here"
    assert not room.may_start(read_settings("gpus=1"))
    room.end(7)
    assert room.may_start(read_settings("gpus=2"))


def test_a_task_that_wants_no_memory_is_told_of_none() -> None:
    room = _room()
    assert room.give(0, read_settings("mem=0")) == (1, {"TASKFARMER_MEMORY": ""}), "the slot may have some by default"
    assert room.give(1, read_settings("cpus=1"))[1].get("TASKFARMER_MEMORY") is None


def test_a_number_of_threads_that_the_user_set_stays() -> None:
    assert "OMP_NUM_THREADS" not in _room(OMP_NUM_THREADS="1").give(0, read_settings("cpus=2"))[1]


@pytest.mark.parametrize(("cpus", "slots"), [(1, 1), (2, 1), (3, 2), (8, 4), (9, 5)])
def test_a_pinned_task_takes_as_many_slots_as_have_its_cpus(cpus: int, slots: int) -> None:
    room = _room(width=2)
    need = room.need_of(Settings(cpus=cpus))
    assert need.slots == slots
    assert room.whole.fits(need) is (slots <= 4)


def test_parts_of_gpus_share_one_and_leave_the_others_whole() -> None:
    room = _room(slots=9, gpus=2)
    half = read_settings("gpus=0.5")
    seen = [room.give(task, half)[1]["CUDA_VISIBLE_DEVICES"] for task in range(2)]
    assert seen == ["0", "0"]
    assert room.give(2, read_settings("gpus=1"))[1]["CUDA_VISIBLE_DEVICES"] == "1"
    assert not room.may_start(half)
    room.end(0)
    assert room.may_start(half)
    assert not room.may_start(read_settings("gpus=1"))
    assert room.need_of(read_settings("gpus=0.333")).gpus * 3 <= GPU


def test_memory_that_nobody_knows_is_no_limit_and_what_was_not_dealt_is_none() -> None:
    assert Room(2, Portion((), room=0), {}).whole.fits(Need(1, 1 << 60))
    assert not Room(2, None, {}).whole.fits(Need(1, 1))
    assert Room(2, None, {}).whole.fits(Need(2))


def test_what_waits_is_not_free() -> None:
    room = _room()
    space = room.spare([Need(3, GIB)])
    assert (space.slots, space.memory) == (1, 7 * GIB)
    assert str(room.whole) == "4 slots, 8 GiB of memory"
