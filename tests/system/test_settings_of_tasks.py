"""Real farms whose tasklists have `#TF` lines."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from helpers import Site, accounted, settled, wait_for
from past import runs_of

from taskfarmer_mpi.common.causes import Cause


def ctl(site: Site, *words: str | Path) -> str:
    process = site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", *words)
    process.succeed(30)
    return process.stdout


def test_tasks_have_what_the_lines_before_them_say(site: Site) -> None:
    commands = ["sleep 30", "sleep 1.5", "exit 3", 'echo "name $TASKFARMER_NAME"', 'echo "name ${TASKFARMER_NAME-none}"']
    lines = ["#TF timeout=0.5 retries=0", commands[0], "#TF timeout=0", commands[1], "#TF", "#TF retries=2 name=fit"]
    tasks = site.tasklist([*lines, *commands[2:4], "#TF", commands[4]])
    workdir = Path(f"{tasks}_workdir")
    farm = site.farm("--proc", "5", "--task-timeout", "1", "--retries", "1", "--progress", "none", tasks)
    farm.succeed(40, code=1)
    assert sorted(settled(workdir, commands).failed) == [0, 2]
    runs = runs_of(workdir)
    assert [run.cause for run in runs[0]] == [Cause.TIME_LIMIT]
    assert [len(runs[task]) for task in range(5)] == [1, 1, 3, 1, 1]
    said = [(workdir / "logs" / f"log_{task}").read_text() for task in (3, 4)]
    assert said == ["name fit\n", "name none\n"]
    assert "by #TF lines: retries=2 name=fit" in ctl(site, "show", workdir, "2")


@pytest.mark.parametrize("word", ["colour=red", "timeout=soon", "what"])
def test_what_means_nothing_ends_a_farm_before_anything_is_touched(site: Site, word: str) -> None:
    tasks = site.tasklist(["true", f"#TF retries=1 {word}", "true"])
    farm = site.farm(tasks)
    farm.succeed(30, code=2)
    assert f"{tasks}:2: #TF {word.partition('=')[0]}" in farm.stderr
    assert "allowed: timeout=SECONDS, retries=N" in farm.stderr
    assert len(farm.stderr.splitlines()) == 1
    assert not Path(f"{tasks}_workdir").exists()


def test_they_hold_for_the_next_farmer_when_one_is_killed_and_for_lines_that_come_later(site: Site) -> None:
    commands = ["touch up; while [ ! -e go ]; do sleep 0.05; done; exit 5", "sleep 30", "echo $TASKFARMER_NAME"]
    tasks = site.tasklist(["#TF retries=1", commands[0]])
    workdir = Path(f"{tasks}_workdir")
    farm = site.farm("--proc", "1", "--progress", "none", tasks)
    wait_for((site.path / "up").exists, deadline=30, what="a task")
    with tasks.open("a") as file:
        file.write(f"#TF\n#TF timeout=0.5 name=late\n{commands[1]}\n")
    wait_for((workdir / "tasks.added").exists, deadline=30, what="the new line")
    farm.kill(signal.SIGKILL)
    farm.wait(20)
    more = site.path / "more"
    more.write_text(f"#TF name=added\n{commands[2]}\n")
    assert "added 1 task: 2" in ctl(site, "add", workdir, "-f", more)
    (site.path / "go").touch()
    site.farm("--progress", "none", "--workdir", workdir).succeed(40, code=1)
    assert sorted(accounted(workdir, commands).failed) == [0, 1]
    runs = runs_of(workdir)
    assert [run.returncode for run in runs[0] if run.returncode is not None] == [5, 5]
    assert [run.cause for run in runs[1]] == [Cause.TIME_LIMIT]
    assert (workdir / "logs" / "log_2").read_text() == "added\n"
