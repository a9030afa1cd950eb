"""Tasks that come later have their place in the order."""

from __future__ import annotations

import math
import os
import signal
import sys
from pathlib import Path

import pytest
from fakes import Caller
from helpers import Site, settled, wait_for
from past import runs_of

from taskfarmer_mpi.ordering.insertion import merge_longest
from taskfarmer_mpi.ordering.order_file import read_order
from taskfarmer_mpi.upkeep.reopening import reopen_farm
from taskfarmer_mpi.workdir.files import Workdir

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")
QUIET = ("-n", "1", "--progress", "none")
TABLE = "[points]\nTaskList = taskfarmer_mpi.tasklists.TableTaskList\ncommand = echo {mass}\n"


def joblog(site: Site) -> Path:
    """Return a joblog that tells how long three programs take."""
    path = site.path / "joblog"
    times = {"echo 1": 100.0, "true 1": 50.0, "printf 1": 1.0}
    lines = [f"{i}\t:\t1.0\t{seconds:.3f}\t0\t0\t0\t0\t{command}\n" for i, (command, seconds) in enumerate(times.items())]
    path.write_text("Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n" + "".join(lines))
    return path


def order_of_begins(workdir: Path) -> list[int]:
    return sorted(runs := runs_of(workdir), key=lambda task: runs[task][-1].begin)


def test_each_new_task_comes_before_the_first_shorter_one() -> None:
    old = [(0, 9.0), (1, 5.0), (2, 1.0)]
    new = [(3, 5.0), (4, 10.0), (5, 0.5), (6, math.nan), (7, 6.0)]
    assert [task for task, _ in merge_longest(old, new)] == [4, 0, 7, 1, 3, 2, 5, 6]
    assert merge_longest(old, []) == old


def test_added_and_appended_tasks_are_taken_in_their_place(site: Site) -> None:
    commands = ["true 1", "printf 1", "true 2", "echo 1", "printf 2"]
    tasks = site.tasklist(commands)
    workdir = Path(f"{tasks}_workdir")
    site.farm(*QUIET, "--order", "longest", "--durations", joblog(site), "--timeout", "0.001", tasks).succeed(60, code=75)
    farm = reopen_farm(Workdir(workdir), os.environ)
    farm.catalog.advance()
    one, other = Caller(farm, "one"), Caller(farm, "other")
    assert one.call(1)[0] == [3]
    site.start(*CTL, "add", workdir, "printf new", "echo new", "true new").succeed(60)
    with tasks.open("a") as file:
        file.write("echo late\n")
    assert [caller.call(1)[0] for caller in (one, other, one)] == [[6], [0], [2]]
    one.hand.die()
    other.hand.die()
    site.farm(*QUIET, "--then", "true then", tasks).succeed(60)
    assert list(read_order(Workdir(workdir))) == [3, 6, 8, 0, 2, 7, 1, 4, 5]
    settled(workdir, [*commands, "printf new", "echo new", "true new", "echo late", "true then"])


def test_a_farmer_at_work_takes_a_long_task_that_is_added_next_also_after_a_kill(site: Site) -> None:
    commands = ["echo 0; echo >>up; while [ ! -e go ]; do sleep 0.05; done", "true 1", "printf 1"]
    tasks = site.tasklist(commands)
    workdir = Path(f"{tasks}_workdir")
    farm = site.farm(*QUIET, "--order", "longest", "--durations", joblog(site), tasks)
    wait_for((site.path / "up").exists, deadline=60, what="the first task")
    site.start(*CTL, "add", workdir, "printf new", "echo new").succeed(60)
    farm.kill(signal.SIGKILL)
    farm.wait(30)
    (site.path / "go").touch()
    site.farm(*QUIET, "--workdir", workdir).succeed(60)
    assert order_of_begins(workdir) == [0, 4, 1, 2, 3]


def test_added_rows_go_by_their_costs(site: Site) -> None:
    (site.path / "points.ini").write_text(TABLE)
    tasks = site.tasklist(["mass,TF:cost", "1,10", "2,30"], "points.csv")
    workdir = Path(f"{tasks}_workdir")
    site.farm(*QUIET, "--order", "longest", "-t", "points", "--timeout", "0.001", tasks).succeed(60, code=75)
    site.start(*CTL, "add", workdir, "3,20", "4,40", "5,").succeed(60)
    assert list(read_order(Workdir(workdir))) == [3, 1, 2, 4, 0]
    site.farm(*QUIET, tasks).succeed(60)
    assert order_of_begins(workdir) == [3, 1, 2, 4, 0]


@pytest.mark.parametrize("order", ["shuffle", "given"])
def test_another_order_has_all_tasks_once(site: Site, order: str) -> None:
    commands = ["true"] * 40
    tasks = site.tasklist(commands)
    workdir = Path(f"{tasks}_workdir")
    site.farm(*QUIET, "--order", order, "--timeout", "0.001", tasks).succeed(60, code=75)
    site.start(*CTL, "add", workdir, *["true"] * 40).succeed(60)
    if order == "shuffle":
        places = list(read_order(Workdir(workdir)))
        assert sorted(places) == list(range(80))
        assert places[40:] != list(range(40, 80))
    site.farm(*QUIET, tasks).succeed(60)
    assert len(settled(workdir, ["true"] * 80).finished) == 80
