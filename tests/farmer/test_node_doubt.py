"""A node is not the farm: tasks that fail on one node only do not eat the list there."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from fakes import Clock, ids_in, make_farm
from helpers import MPIEXEC, Site, accounted, settled, wait_for
from test_farmer import Stage

from taskfarmer_mpi.farmer.node_doubt import ENOUGH, NodeDoubt
from taskfarmer_mpi.tasklists.task import Run, Task
from taskfarmer_mpi.visits.neighbours import Comparison, Neighbours
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.journal import Journal
from taskfarmer_mpi.workdir.journal_reading import read_records
from taskfarmer_mpi.workdir.journal_records import Identity

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")
NOBODY = Comparison(is_anyone_there=False, has_same_failures=False, success_on=None)
NOTHING_YET = Comparison(is_anyone_there=True, has_same_failures=False, success_on=None)
SAME = Comparison(is_anyone_there=True, has_same_failures=True, success_on="n2")
BETTER = Comparison(is_anyone_there=True, has_same_failures=False, success_on="n2")


class Others:
    """Neighbours that fare as a test says."""

    def __init__(self) -> None:
        self.comparison = NOBODY
        self.looks: list[tuple[int, float]] = []

    def compare(self, returncode: int, since: float) -> Comparison:
        self.looks.append((returncode, since))
        return self.comparison


class Doubt:
    """A doubt, with its surroundings."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.others = Others()
        self.doubt = NodeDoubt(self.others, "n1", self.clock)  # type: ignore[arg-type]

    def see(self, *codes: int) -> None:
        for code in codes:
            self.doubt.see(Run(Task(0, "x"), 0, self.clock(), self.clock() + 1.0, code))
            self.clock.now += 2.0
        self.doubt.look()


@pytest.mark.parametrize(
    ("codes", "is_looked"),
    [
        ([1] * (ENOUGH - 1), False),
        ([1] * ENOUGH, True),
        ([1, 1, 1, 0, 1, 1], False),
        ([1, 1, 1, 2, 2, 2], False),
        ([1, 2, 2, 2, 2, 2], True),
        ([-9] * ENOUGH, True),
        ([127] * ENOUGH, True),
    ],
)
def test_others_are_looked_at_after_enough_failures_of_one_kind_in_a_row(codes: list[int], is_looked: bool) -> None:
    stage = Doubt()
    stage.see(*codes)
    assert bool(stage.others.looks) == is_looked


def test_what_fails_here_and_finishes_elsewhere_is_the_nodes_fault() -> None:
    stage = Doubt()
    stage.others.comparison = BETTER
    stage.see(0, *[3] * ENOUGH)
    assert stage.doubt.reason == "5 tasks in a row failed on n1 (exit code 3), while n2 finished others"
    assert stage.others.looks == [(3, 1002.0)], "meanwhile: since the first of these runs began"


@pytest.mark.parametrize("comparison", [NOBODY, SAME])
def test_the_only_node_and_failures_that_others_have_too_are_no_reason(comparison: Comparison) -> None:
    stage = Doubt()
    stage.others.comparison = comparison
    stage.see(*[1] * 50)
    assert not stage.doubt.reason
    assert stage.doubt.may_start


def test_as_long_as_nothing_is_known_of_the_others_tasks_are_started_one_by_one() -> None:
    stage = Doubt()
    stage.others.comparison = NOTHING_YET
    stage.see(*[1] * ENOUGH)
    starts = 0
    for _ in range(1200):
        stage.clock.now += 0.1
        stage.doubt.look()
        if stage.doubt.may_start:
            starts += 1
            stage.doubt.see_start()
            stage.doubt.see(Run(Task(0, "x"), 0, stage.clock(), stage.clock(), 1))
    assert 5 <= starts <= 9, "in two minutes"
    stage.see(0)
    assert stage.doubt.may_start


# -- the others' journals -------------------------------------------------------------------------


class Node:
    """A farmer on some node."""

    def __init__(self, farm: Farm, host: str, offset: float = 0.0) -> None:
        who = Identity(
            farmer=f"f-{host}-{os.urandom(4).hex()}",
            host=host,
            pid=1,
            rank=0,
            ranks=1,
            job="",
            slots=2,
            alive_lock="",
            task_lock="",
            clock_offset=offset,
        )
        self.journal = Journal(farm.workdir.farmers, who)

    def end(self, code: int, moment: float) -> None:
        self.journal.note_run("end", Run(Task(0, "x"), 0, moment - 1, moment, code))
        self.journal.flush()

    def compare(self, code: int, since: float) -> Comparison:
        return Neighbours(self.journal.path, self.journal.identity, Clock()).compare(code, since)


def test_only_what_ended_meanwhile_on_other_nodes_counts(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["x"])
    own, twin, other = Node(farm, "n1"), Node(farm, "n1"), Node(farm, "n2")
    twin.end(0, 2000.0)
    other.end(0, 999.0)
    other.end(1, 999.0)
    assert own.compare(1, 1000.0) == NOTHING_YET
    other.end(0, 1001.0)
    assert own.compare(1, 1000.0) == BETTER
    other.end(2, 1002.0)
    assert own.compare(1, 1000.0) == BETTER
    assert own.compare(2, 1000.0) == SAME


def test_the_clocks_of_other_nodes_are_corrected(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["x"])
    own, other = Node(farm, "n1", offset=5.0), Node(farm, "n2", offset=-100.0)
    other.end(0, 1104.0)
    assert own.compare(1, 1000.0) == NOTHING_YET
    other.end(0, 1106.0)
    assert own.compare(1, 1000.0) == BETTER


def test_who_has_been_silent_for_minutes_is_not_there(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["x"])
    own, other = Node(farm, "n1"), Node(farm, "n2")
    other.end(0, 1001.0)
    long_ago = time.time() - 600
    os.utime(other.journal.path, (long_ago, long_ago))
    assert own.compare(1, 1000.0) == NOBODY


def test_a_farmer_on_a_bad_node_gives_back_what_it_has_and_waits_for_the_others(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 200)
    other = Node(stage.farm, "elsewhere")
    for _ in range(4):
        stage.turn(0.05)
        other.end(0, stage.clock() + 100.0)
        for task_id in list(stage.pool.running):
            stage.pool.end(task_id, 3)
    stage.turn(3.0)
    failed = len(stage.lists()[2])
    assert ENOUGH <= failed <= ENOUGH + 3
    assert len(stage.lists()[0]) == 200 - failed
    assert stage.farmer.tally.aside.startswith(f"{failed} tasks in a row failed on here (exit code 3)")
    assert not stage.farmer.is_idle, "the others may yet leave"
    assert [record["reason"] for record in read_records(stage.hand.journal.path) if record["ev"] == "aside"] == [
        stage.farmer.tally.aside
    ]
    stage.farm.workdir.toprocess.write_text("")
    stage.turn(5.0)
    assert stage.farmer.is_idle


# -- whole farms ----------------------------------------------------------------------------------

TASK = '[ "$SLURMD_NODENAME" != bad ] || {{ echo "no disk {0}"; exit 3; }}; sleep 0.05'


def _settle_after_retry(site: Site, tasks: list[str]) -> None:
    workdir = site.path / "tasks_workdir"
    site.start(*CTL, "retry", workdir, "--host", "bad").succeed(30)
    site.farm("--workdir", workdir, "-n", "4", environ=site.environ(SLURMD_NODENAME="good")).succeed(60)
    assert settled(workdir, tasks).failed == []


def test_a_bad_node_does_not_eat_the_list_of_plain_farmers(site: Site) -> None:
    tasks = [TASK.format(number) for number in range(300)]
    tasklist = site.tasklist(tasks)
    good = site.farm("-n", "2", tasklist, environ=site.environ(SLURMD_NODENAME="good"))
    workdir = site.path / "tasks_workdir"
    wait_for(lambda: len(ids_in(workdir / "finished")) > 5, deadline=30, what="the good node works")
    bad = site.farm("-n", "2", tasklist, environ=site.environ(SLURMD_NODENAME="bad"))
    wait_for(lambda: "takes no more tasks" in bad.stderr, deadline=30, what="the bad node stops")
    status = site.start(*CTL, "status", workdir)
    status.succeed(30)
    assert "takes no more tasks: " in status.stdout
    good.succeed(60, code=1)
    bad.succeed(60, code=1)
    lists = accounted(workdir, tasks)
    assert len(lists.failed) <= 20
    assert "tasks in a row failed on bad (exit code 3), while good finished others: that farmer took no more" in bad.stdout
    assert f'{len(lists.failed)} on bad: exit code 3, "no disk ' in good.stdout
    assert '"set aside: ' in (workdir / "timeline.json").read_text()
    report = site.start(*CTL, "report", workdir, "-o", site.path / "report.html")
    report.succeed(60)
    assert "in a row failed on bad" in (site.path / "report.html").read_text()
    _settle_after_retry(site, tasks)


@pytest.mark.parametrize("order", [("bad", "good"), ("good", "bad")], ids=["the leader is bad", "another rank is bad"])
def test_a_bad_node_does_not_eat_the_list_of_a_job(order: tuple[str, str], site: Site) -> None:
    tasks = [TASK.format(number) for number in range(300)]
    tasklist = site.tasklist(tasks)
    own = (sys.executable, "-m", "taskfarmer_mpi", "-n", "2", tasklist)
    ranks = [("-n", "1", "env", f"SLURMD_NODENAME={name}", *own) for name in order]
    job = site.start(MPIEXEC, *ranks[0], ":", *ranks[1])
    job.succeed(120, code=1)
    lists = accounted(site.path / "tasks_workdir", tasks)
    assert len(lists.failed) <= 20
    assert "tasks in a row failed on bad (exit code 3), while good finished others: that farmer took no more" in job.stdout
    _settle_after_retry(site, tasks)


def test_tasks_that_fail_everywhere_are_run_on_all_nodes(site: Site) -> None:
    tasks = ["exit 3"] * 150
    tasklist = site.tasklist(tasks)
    farms = [site.farm("-n", "2", tasklist, environ=site.environ(SLURMD_NODENAME=name)) for name in ("one", "two")]
    for farm in farms:
        farm.succeed(60, code=1)
        assert "takes no more tasks" not in farm.stderr
    assert len(settled(site.path / "tasks_workdir", tasks).failed) == 150
