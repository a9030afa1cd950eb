"""Which tasks of different sizes a farmer takes, and for which it keeps room."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import Caller, ids_in, make_farm

from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.policies.rules import read_rules
from taskfarmer_mpi.policies.settings import GPU
from taskfarmer_mpi.resources.portions import Portion, Seat
from taskfarmer_mpi.resources.room import Room
from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.upkeep.added_tasks import add_tasks
from taskfarmer_mpi.visits import sizes
from taskfarmer_mpi.visits.visit import Visit
from taskfarmer_mpi.workdir.catalog import Origin
from taskfarmer_mpi.workdir.farm import Farm


class One(Caller):
    """A farmer that has room for some tasks, and starts what there is room for."""

    def __init__(self, farm: Farm, name: str, slots: int = 4, portion: Portion | None = None) -> None:
        super().__init__(farm, name, make_room=lambda: self.room)
        self.room = Room(slots, portion, {})

    def visit(self, count: int = 0) -> tuple[list[int], Visit]:
        """Visit the lists, for as many tasks as slots are free unless told, and start what there is room for."""
        free = self.room.spare([]).slots
        found = self.call(count or free, free)
        while self.tasks.queue and self.tasks.settings is not None:
            task = self.tasks.queue[0].id
            if not self.room.may_start(self.tasks.settings.of(task)):
                break
            self.room.give(task, self.tasks.settings.of(task))
            self.tasks.queue.popleft()
        return found

    def end(self, *tasks: int, code: int = 0) -> None:
        for task in tasks:
            self.room.end(task)
        super().end(*tasks, code=code)

    def leave(self) -> None:
        """Give back what was taken."""
        for task in self.room._given.copy():
            self.room.end(task)
            self.tasks.back.append(Task(task, self.farm.catalog[task]))
        self.call(0)


def test_a_farmer_takes_what_fits_and_keeps_room_for_what_does_not(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["#TF cpus=2", "a", "b", "#TF cpus=4", "big", "#TF cpus=1", *"cdefgh"])
    one = One(farm, "one")
    taken, visit = one.visit()
    assert (taken, visit.waiting) == ([0, 1], "")
    one.end(0)
    taken, visit = one.visit()
    assert (taken, visit.waiting) == ([], "task 2 waits for cpus=4"), "the small ones would keep it waiting"
    one.end(1)
    assert one.visit()[0] == [2]
    one.end(2)
    assert one.visit()[0] == [3, 4, 5, 6]


def test_small_tasks_run_beside_as_far_as_they_do_not_delay_the_large_one(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["#TF cpus=2", "a", "b", "#TF cpus=3", "big", "#TF cpus=1", *"cdef"])
    one = One(farm, "one")
    assert one.visit()[0] == [0, 1]
    one.end(0)
    assert one.visit()[0] == [3], "one slot is left beside the large one, for however long"
    assert one.visit()[0] == []
    one.end(3)
    assert one.visit()[0] == [4]
    one.end(1)
    assert one.visit()[0] == [2]


def test_parts_of_gpus_do_not_keep_a_whole_one_waiting_wherever_they_run(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["#TF gpus=0.5", *"abcd", "#TF gpus=1", "big", "#TF gpus=0.5", *"efghijklmn"])
    one = One(farm, "one", slots=9, portion=Portion((Seat(),) * 9, "CUDA_VISIBLE_DEVICES", pool=("0", "1")))
    assert one.visit()[0] == [0, 1, 2, 3]
    one.end(0)
    assert one.visit()[0] == [5], "it runs on the GPU of the second task, and the other one is for the large task"
    one.end(2)
    assert one.visit()[0] == []
    one.end(3)
    assert one.visit()[0] == [4]


def test_others_keep_no_room_for_the_same_task_but_take_it_if_it_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = make_farm(tmp_path, ["#TF cpus=2", "a", "b", "c", "d", "#TF cpus=4", "big", "#TF cpus=1", *"efgh"])
    one, other = One(farm, "one"), One(farm, "other")
    assert one.visit()[0] == [0, 1]
    assert other.visit()[0] == [2, 3]
    one.end(0)
    assert one.visit()[0] == []
    other.end(2)
    assert other.visit(2)[0] == [5, 6]
    other.end(3, 5)
    monkeypatch.setattr(sizes, "PATIENCE", -1.0)
    assert other.visit()[0] == [], "it has waited for long"
    other.end(6)
    assert other.visit()[0] == [4]
    assert one.visit()[0] == [7, 8], "nothing waits any more that room would be kept for"


def test_a_dead_or_drained_farmer_keeps_room_for_nothing(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["#TF cpus=2", *"abcd", "#TF cpus=4", "big", "#TF cpus=1", *"ef"])
    one, other = One(farm, "one"), One(farm, "other")
    assert one.visit()[0] == [0, 1]
    assert other.visit()[0] == [2, 3]
    one.end(0)
    assert one.visit()[0] == []
    one.hand.note("drain", reason="enough")
    other.end(2)
    assert other.visit()[0] == [], "now it keeps room itself"
    other.end(3)
    assert other.visit()[0] == [4]


def test_usual_tasks_may_wait_for_a_slot_in_hand_unless_room_is_kept(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, [*"abcdef", "#TF cpus=2", "g", "#TF", "h"])
    one = One(farm, "one")
    assert one.visit(6)[0] == [0, 1, 2, 3, 4, 5]
    assert len(one.tasks.queue) == 2
    assert one.visit()[0] == []
    assert ids_in(farm.workdir.toprocess) == [7, 6]


def test_usual_tasks_that_want_a_gpu_do_not_wait_for_it_in_hand(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "b", "c", "#TF gpus=0", *"defghi"])
    portion = Portion((Seat(),) * 4, "CUDA_VISIBLE_DEVICES", pool=("0",), usual_gpus=GPU)
    one = One(farm, "one", portion=portion)
    assert one.visit(6)[0] == [0, 3, 4, 5], "those without a GPU run beside"
    assert not one.tasks.queue
    one.end(0, 3)
    assert one.visit(4)[0] == [1, 6]
    assert not one.tasks.queue


def test_what_can_never_run_here_is_said_once_nothing_else_is_left(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["#TF cpus=5", "huge", "#TF cpus=1", "a"])
    one, other = One(farm, "one"), One(farm, "other", slots=8)
    taken, visit = one.visit()
    assert (taken, visit.unfit) == ([1], "")
    taken, visit = one.visit()
    assert (taken, visit.unfit, visit.waiting) == ([], "task 0 wants cpus=5, and this farmer has 4 slots for its tasks", "")
    assert other.visit()[0] == [0]


def test_sizes_and_limits_hold_together(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["#TF cpus=2 limit=db", "a", "b", "#TF", "#TF cpus=2", "c", "d"])
    farm = replace(farm, rules=read_rules({"limit": "db=1"}))
    one = One(farm, "one")
    assert one.visit()[0] == [0, 2]
    one.end(2)
    assert one.visit()[0] == [3]
    one.end(0, 3)
    assert one.visit()[0] == [1]


def test_room_is_kept_while_a_limit_keeps_the_task_from_being_taken(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "#TF cpus=2 limit=db", "big", "#TF", "#TF limit=db", "b", "#TF", *"cd"])
    farm = replace(farm, rules=read_rules({"limit": "db=1"}))
    one, other = One(farm, "one", slots=2), One(farm, "other", slots=1)
    assert one.visit(1)[0] == [0]
    assert one.visit()[0] == [], "room is kept for the large task"
    assert other.visit()[0] == [2]
    assert one.visit()[0] == []
    one.end(0)
    other.end(2)
    assert one.visit()[0] == [1]


def test_room_is_kept_for_an_added_task_while_others_come_from_the_list(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["#TF cpus=2", "a", "b", "#TF", "c", "d"])
    one, first, last = One(farm, "one"), One(farm, "first", slots=1), One(farm, "last", slots=1)
    assert [one.visit()[0], first.visit()[0], last.visit()[0]] == [[0, 1], [2], [3]]
    with farm.lock.held(5):
        add_tasks(farm, [b"big"], Origin.USER, ((0, "cpus=3"),))
    one.end(0)
    assert one.visit()[0] == [], "room is kept for the large task"
    last.leave()
    first.leave()
    assert one.visit()[0] == [2], "there is a slot beside it"
    assert one.visit()[0] == []
    one.end(1)
    assert one.visit()[0] == [4]


def test_a_visit_looks_past_a_bounded_number_of_tasks_that_have_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = make_farm(tmp_path, ["#TF cpus=3", *["large"] * 12, "#TF cpus=1", "small"])
    one, other = One(farm, "one"), One(farm, "other")
    monkeypatch.setattr(sizes, "MOST_REFUSED", 2)
    monkeypatch.setattr(sizes, "MOST_KNOWN", 4)
    assert one.visit(1)[0] == [0]
    taken, visit = one.visit()
    assert (taken, visit.waiting, visit.unfit) == ([], "task 1 waits for cpus=3", "")
    assert other.visit(1)[0] == [1]
    taken, visit = one.visit()
    assert (taken, visit.waiting) == ([], "task 2 waits for cpus=3"), "what was taken by another is not waited for"
    one.end(0)
    assert one.visit(1)[0] == [2]
    monkeypatch.undo()
    assert one.visit()[0] == [12], "below what is not too much"


def test_tasks_that_are_too_large_for_a_farmer_hide_none_below_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    farm = make_farm(tmp_path, ["#TF cpus=5", *["huge"] * 12, "#TF cpus=1", "small"])
    monkeypatch.setattr(sizes, "MOST_REFUSED", 2)
    monkeypatch.setattr(sizes, "MOST_KNOWN", 4)
    assert One(farm, "one").visit()[0] == [12]
