"""How many tasks with a limit farmers take, by what they all have in their hands."""

from __future__ import annotations

from pathlib import Path

from fakes import Caller, ids_in, make_farm

from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.policies.rules import read_rules
from taskfarmer_mpi.visits.visit import Visit
from taskfarmer_mpi.workdir.farm import Farm

LINES = ["free 0", "#TF limit=db", "db 1", "db 2", "db 3", "db 4", "#TF", "free 5", "free 6", "free 7"]


class One(Caller):
    """A farmer that keeps what it took."""

    def visit(self, count: int, startable: int) -> tuple[list[int], Visit]:
        return self.call(count, startable)


def _farm(tmp_path: Path, limit: str = "db=2") -> Farm:
    return replace(make_farm(tmp_path, LINES), rules=read_rules({"limit": limit}))


def test_no_more_are_taken_than_may_run_at_once_whoever_has_them(tmp_path: Path) -> None:
    farm = _farm(tmp_path)
    one, other = One(farm, "one"), One(farm, "other")
    assert one.visit(2, 2)[0] == [0, 1]
    taken, visit = other.visit(3, 3)
    assert (taken, visit.waiting, visit.shares_limits) == ([2, 5, 6], "", True)
    assert ids_in(farm.workdir.toprocess) == [7, 4, 3]
    taken, visit = other.visit(3, 3)
    assert (taken, visit.waiting) == ([7], "")
    taken, visit = other.visit(3, 3)
    assert (taken, visit.is_empty) == ([], False)
    assert visit.waiting == "tasks with limit=db wait, as 2 are in the hands of farmers (--limit)"
    one.end(1)  # another farmer need not visit the lists for it
    assert other.visit(3, 3)[0] == [3]
    assert other.visit(3, 3)[0] == []
    other.tasks.give_back_all()
    other.visit(0, 0)
    assert one.visit(4, 4)[0] == [2, 3, 5, 6]


def test_a_dead_farmer_keeps_its_permits_until_it_is_settled(tmp_path: Path) -> None:
    farm = _farm(tmp_path, "db=1,other=3")
    one, other = One(farm, "one"), One(farm, "other")
    assert one.visit(2, 2)[0] == [0, 1]
    one.hand.die()
    assert other.visit(9, 9)[0] == [5, 6, 7]
    assert other.visit(9, 9)[0] == []


def test_none_waits_for_a_slot_with_a_permit(tmp_path: Path) -> None:
    farm = _farm(tmp_path)
    one = One(farm, "one")
    assert one.visit(5, 1)[0] == [0]
    assert one.visit(5, 0)[0] == []
    assert one.visit(5, 1)[0] == [1]


def test_a_limit_that_this_farmer_does_not_know_is_said(tmp_path: Path) -> None:
    one = One(replace(make_farm(tmp_path, LINES), rules=read_rules({})), "one")
    assert one.visit(9, 9)[0] == [0, 5, 6, 7]
    assert one.visit(9, 9)[1].waiting == "tasks with limit=db wait: this farmer knows of no --limit db=N"


def test_added_tasks_behind_a_blocked_list_are_taken(tmp_path: Path) -> None:
    from taskfarmer_mpi.upkeep.added_tasks import add_tasks
    from taskfarmer_mpi.workdir.catalog import Origin

    farm = _farm(tmp_path, "db=1")
    one = One(farm, "one")
    assert one.visit(9, 9)[0] == [0, 1, 5, 6, 7]
    with farm.lock.held(5):
        add_tasks(farm, [b"late", b"late db"], Origin.USER, ((1, "limit=db"),))
    assert one.visit(9, 9)[0] == [8]
    assert one.visit(9, 9)[1].is_empty is False
