"""Real farms on tables whose columns say what tasks take and last."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from helpers import Process, Site, settled, wait_for

from taskfarmer_mpi.history.runs import read_histories
from taskfarmer_mpi.workdir.files import Workdir

INI = """\
[points]
TaskList = taskfarmer_mpi.tasklists.TableTaskList
command = echo {mass} CPUS=$TASKFARMER_CPUS NAME=$TASKFARMER_NAME; sleep 0.1
"""


def _table(site: Site, *rows: str, name: str = "points.csv") -> Path:
    (site.path / "points.ini").write_text(INI)
    return site.tasklist(rows, name=name)


def _farm(site: Site, *words: str | Path, ranks: int = 0) -> Process:
    return site.farm("-n", "2", "--progress", "none", *words, ranks=ranks)


def _log(workdir: Path, task: int) -> str:
    return (workdir / "logs" / f"log_{task}").read_text().strip()


@pytest.mark.parametrize("ranks", [0, 5])
def test_rows_are_run_with_what_their_columns_say(site: Site, ranks: int) -> None:
    rows = [f"{mass},{1 + mass % 2},n{mass}" for mass in range(20)]
    path = _table(site, "mass,TF:cpus,TF:name", *rows)
    _farm(site, "-t", "points", path, ranks=ranks).succeed(90)
    workdir = Path(f"{path}_workdir")
    settled(workdir, rows)
    assert [_log(workdir, task) for task in range(20)] == [f"{task} CPUS={1 + task % 2} NAME=n{task}" for task in range(20)]


def test_rows_that_are_added_or_appended_keep_theirs_also_after_a_kill(site: Site) -> None:
    rows = [f"{mass},1," for mass in range(12)]
    path = _table(site, "mass,TF:cpus,TF:name", *rows)
    workdir = Path(f"{path}_workdir")
    farm = _farm(site, "-t", "points", path)
    wait_for((workdir / "farm.ini").exists, deadline=60, what="a farm")
    add = site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", "add", workdir, "77,2,late")
    add.succeed(30)
    bad = site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", "add", workdir, "78,none,late")
    bad.succeed(30, code=2)
    assert "'78,none,late': TF:cpus: 'none' is not a number" in bad.stderr
    farm.kill(signal.SIGKILL)
    farm.wait(20)
    with path.open("a") as file:
        file.write("99,2,last\n")
    others = [_farm(site, "--workdir", workdir) for _ in range(2)]
    for other in others:
        other.succeed(90)
    settled(workdir, [*rows, "77,2,late", "99,2,last"])
    assert (_log(workdir, 12), _log(workdir, 13)) == ("77 CPUS=2 NAME=late", "99 CPUS=2 NAME=last")


def test_the_column_of_costs_says_which_tasks_are_the_longest(site: Site) -> None:
    costs = [1, 5, 3, 9, 7]
    path = _table(site, "mass,TF:cost", *(f"{task},{cost}" for task, cost in enumerate(costs)))
    site.farm("-n", "1", "--order", "longest", "--progress", "none", "-t", "points", path).succeed(60)
    (history,) = read_histories(Workdir(f"{path}_workdir"))[0]
    assert [run.task_id for run in sorted(history.attempts(), key=lambda run: run.begin)] == [3, 4, 1, 2, 0]
    _farm(site, "--workdir", f"{path}_workdir").succeed(60)


def test_the_longest_first_are_refused_where_no_column_says_which_they_are(site: Site) -> None:
    path = _table(site, "mass", "1", "2")
    farm = site.farm("--order", "longest", "-t", "points", path)
    farm.succeed(30, code=2)
    assert f"{path}: --order longest needs --durations" in farm.stderr
    assert "or a column TF:cost of a table" in farm.stderr
    assert not Path(f"{path}_workdir").exists()


@pytest.mark.parametrize(("column", "value", "option"), [("limit", "db", "no --limit db=N"), ("gpus", "1", "--gpus auto")])
def test_what_a_column_asks_for_in_vain_is_named_with_its_row(site: Site, column: str, value: str, option: str) -> None:
    path = _table(site, f"mass,TF:{column}", "1,", f"2,{value}")
    farm = _farm(site, "-t", "points", path)
    farm.succeed(30, code=2)
    assert f"points.csv:3: column TF:{column}: {value}: " in farm.stderr
    assert option in farm.stderr
    assert len(farm.stderr.splitlines()) == 1
