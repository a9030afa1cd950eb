"""Tasks that failed under a farmer and are tried again: others take them first, as long as there is other work."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import Caller, Clock, ids_in, make_farm
from helpers import Site, settled
from past import runs_of

from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.history.attempts import Attempts
from taskfarmer_mpi.policies.rules import read_rules
from taskfarmer_mpi.visits import handover
from taskfarmer_mpi.visits.handover import PREFERENCE, Handover
from taskfarmer_mpi.workdir.farm import Farm


class One(Caller):
    """A farmer whose tasks can fail and are tried again."""

    def __init__(self, farm: Farm, name: str) -> None:
        super().__init__(farm, name, attempts=Attempts(farm.workdir.attempts))

    def visit(self, count: int, *, alone: bool = False) -> list[int]:
        return self.call(count, count, has_neighbours=not alone)[0]

    def fail(self, task: int) -> None:
        """Have a task that is in the queue fail, and be tried again at once."""
        (found,) = [one for one in self.tasks.queue if one.id == task]
        self.tasks.queue.remove(found)
        self.tasks.try_again(found, 0.0)
        self.tasks.bring_back(1.0)


def _farm(tmp_path: Path, lines: list[str], **rules: str) -> Farm:
    return replace(make_farm(tmp_path, lines), rules=read_rules({"retries": "3", **rules}))


def test_another_farmer_takes_it_first(tmp_path: Path) -> None:
    farm = _farm(tmp_path, ["true"] * 6)
    one, other = One(farm, "1-one"), One(farm, "2-other")
    assert one.visit(1) == [0]
    one.fail(0)
    assert one.visit(0) == []  # it goes back
    assert one.visit(2) == [1, 2]
    assert ids_in(farm.workdir.toprocess) == [5, 4, 3, 0]
    assert other.visit(2) == [0, 3]
    assert (one.visit(9), ids_in(farm.workdir.toprocess)) == ([4, 5], [])


def test_where_nothing_else_or_nobody_else_is_it_is_taken_at_once(tmp_path: Path) -> None:
    farm = _farm(tmp_path, ["true"] * 3)
    one = One(farm, "1-one")
    assert one.visit(1) == [0]
    one.fail(0)
    one.visit(0)
    assert one.visit(1, alone=True) == [0]
    one.fail(0)
    one.visit(0)
    assert one.visit(2) == [1, 2]
    assert one.visit(1) == [0]


def test_a_limit_holds_meanwhile(tmp_path: Path) -> None:
    farm = _farm(tmp_path, ["#TF limit=db", "a", "b", "c", "#TF", "d"], limit="db=1")
    one, other = One(farm, "1-one"), One(farm, "2-other")
    assert one.visit(1) == [0]
    one.fail(0)
    one.visit(0)
    assert one.visit(2) == [1, 3]
    assert other.visit(3) == []
    assert ids_in(farm.workdir.toprocess) == [2, 0]


def test_it_is_left_to_others_for_a_while_and_not_on_a_long_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    left = Handover(clock)
    left.see_back([3])
    assert not left.is_needed()
    left.see_failed([3, 4])
    left.see_back([3])
    assert left.is_needed()
    clock.now += PREFERENCE + 1
    assert not left.is_needed()
    farm = _farm(tmp_path, ["true"] * 3)
    one = One(farm, "1-one")
    one.visit(1)
    one.fail(0)
    one.visit(0)
    monkeypatch.setattr(handover, "LARGEST", 5)
    assert one.visit(1) == [0]


def test_a_node_that_cannot_run_a_task_leaves_it_to_the_other_one(site: Site) -> None:
    """One of two farmers lacks a file that the tasks need: each task has two attempts, and no more are needed."""
    go = site.path / "go"
    wait = f"while [ ! -e {go} ]; do sleep 0.02; done; sleep 3"  # farmers count each other every 2 s
    lines = [f'{wait}; [ -n "$GOOD" ]'] * 4 + ["sleep 0.3"] * 150
    tasks = site.tasklist(lines)
    options = ("--mpi", "off", "-n", "4", "--retries", "1", "--progress", "none")
    bad = site.farm(*options, tasks)
    from helpers import wait_for

    logs = Path(f"{tasks}_workdir") / "logs"
    wait_for(lambda: len(list(logs.glob("log_*"))) >= 4, deadline=60, what="the farmer that cannot run them")
    good = site.farm(*options, "--workdir", f"{tasks}_workdir", environ=site.environ(GOOD="yes"))
    wait_for(lambda: len(list(logs.glob("log_*"))) >= 8, deadline=60, what="the other one at work")
    go.touch()
    bad.succeed(120)
    good.succeed(120)
    assert settled(Path(f"{tasks}_workdir"), lines).failed == []
    assert [len(runs_of(Path(f"{tasks}_workdir"))[task]) for task in range(4)] == [2] * 4
