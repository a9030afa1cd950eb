"""Which tasks behind barriers a farmer takes, by what has ended."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import Caller, make_farm, run

from taskfarmer_mpi.upkeep.added_tasks import add_tasks
from taskfarmer_mpi.upkeep.recovery import recover
from taskfarmer_mpi.visits import barriers
from taskfarmer_mpi.visits.visit import Visit
from taskfarmer_mpi.workdir import stack
from taskfarmer_mpi.workdir.catalog import Origin


class One(Caller):
    """A farmer that has started all that it took."""

    def visit(self, most: int = 9) -> tuple[list[int], Visit]:
        found = self.call(most, most)
        self.tasks.queue.clear()
        return found


def test_what_is_behind_a_barrier_waits_for_all_before_it_whoever_has_them(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "b", "#TF barrier", "c", "d", "#TF barrier", "e"])
    one, other = One(farm, "one"), One(farm, "other")
    assert one.visit()[0] == [0, 1]
    taken, visit = other.visit()
    assert (taken, visit.unfit, visit.is_empty) == ([], "", False)
    assert visit.waiting == "the tasks behind a barrier wait for those before it, like task 0"
    one.end(0)
    assert one.visit()[1].waiting.endswith("like task 1")
    one.end(1, code=3)
    assert one.visit()[0] == [2, 3], "a failure is an end, too"
    one.end(2, 3)
    assert other.visit()[0] == [], "the outcomes are not on the lists"
    assert one.visit()[0] == [4]


def test_nothing_behind_a_check_is_run_if_something_failed(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "b", "#TF barrier check", "#TF barrier", "c"])
    one = One(farm, "one")
    assert one.visit()[0] == [0, 1]
    one.end(0, 1, code=3)
    taken, visit = one.visit()
    assert (taken, visit.waiting) == ([], "")
    assert (
        visit.unfit
        == "the tasks behind #TF barrier check are not run, as task 0 and 1 more failed: to go on, taskfarmer-ctl retry"
    )


def test_a_check_that_nothing_failed_before_is_passed(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "#TF barrier", "b", "#TF barrier check", "c", "#TF barrier", "d"])
    one = One(farm, "one")
    for task in range(4):
        assert one.visit()[0] == [task]
        one.end(task, code=int(task == 2))


def test_tasks_that_are_done_again_close_barriers_that_were_not_passed(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "b", "#TF barrier", "c"])
    one = One(farm, "one")
    assert one.visit()[0] == [0, 1]
    one.end(0, code=1)
    assert one.visit()[0] == []
    farm.workdir.failed.write_text("")
    with farm.workdir.toprocess.open("a") as file:
        file.write("0 a\n")
    one.end(1)
    assert one.visit()[0] == [0]
    one.end(0)
    assert one.visit()[0] == [2]


def test_what_is_awaited_is_found_below_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(barriers, "SEARCH", -1.0)
    monkeypatch.setattr(stack, "_DEPTH", 1)
    monkeypatch.setattr(stack, "_SORTABLE", 0)  # as on a long list
    farm = make_farm(tmp_path, ["a", "b", "#TF barrier", "c", "d"])
    one = One(farm, "one")
    farm.workdir.toprocess.write_text("1 b\n0 a\n3 d\n2 c\n")  # c and d came back to the list after a and b
    assert one.visit()[0] == [0, 1]
    assert farm.workdir.toprocess.read_text() == "3 d\n2 c\n"
    one.end(0, 1)
    monkeypatch.setattr(stack, "_DEPTH", 9)
    assert one.visit()[0] == [2, 3]


def test_tasks_that_are_added_are_before_all_barriers(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "#TF barrier check", "b", "c"])
    one = One(farm, "one")
    assert one.visit(1)[0] == [0]
    one.end(0)
    assert one.visit(1)[0] == [1]
    with farm.lock.held(5):
        add_tasks(farm, [b"more"], Origin.USER)
    assert one.visit(1)[0] == [3]
    assert one.visit(1)[0] == [], "c waits for it"
    one.end(3, code=1)
    assert one.visit(1)[1].unfit.startswith("the tasks behind #TF barrier check are not run, as task 3 failed")


def test_a_task_that_waits_for_another_attempt_has_not_ended(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "#TF barrier", "b"])
    one, other = One(farm, "one"), One(farm, "other")
    assert one.visit()[0] == [0]
    one.hand.end(0, 1)
    assert other.visit()[0] == []
    one.tasks.back = [run(farm, 0, 1).task]
    assert one.visit(0)[1].back == 1
    taken, visit = other.visit()
    assert (taken, visit.is_empty) == ([0], False)
    assert one.visit()[0] == []


def test_a_barrier_waits_for_a_dead_farmers_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(barriers, "SEARCH", -1.0)
    farm = make_farm(tmp_path, ["a", "#TF barrier", "b"])
    one, other = One(farm, "one"), One(farm, "other")
    assert one.visit()[0] == [0]
    one.hand.end(0, 0)
    one.hand.die()
    assert other.visit()[1].waiting == "the tasks behind a barrier wait for those before it, like task 0"
    assert recover(farm, [other.hand.journal.path], 5.0).farmers
    assert other.visit()[0] == [1]


def test_a_barrier_does_not_wait_for_what_is_in_nobodys_hands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(barriers, "SEARCH", -1.0)
    farm = make_farm(tmp_path, ["a", "b", "#TF barrier", "c"])
    one = One(farm, "one")
    farm.workdir.toprocess.write_text("2 c\n1 b\n")
    assert one.visit()[0] == [1]
    assert one.visit()[1].unfit == "the tasks behind a barrier wait for task 0, which is in nobody's hands: see --reclaim"


def test_a_pytaskfarmer_that_comes_later_keeps_barriers_closed(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "#TF barrier", "c"])
    one = One(farm, "one")
    assert one.visit()[0] == [0]
    one.end(0)
    farm.workdir.timeline.write_text('[{"name": "x"}]')
    assert one.visit()[1].unfit.startswith("a PyTaskFarmer is at work here, which does not heed #TF barrier")
