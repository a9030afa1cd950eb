"""Real farms some of whose tasks may run only a few at a time, wherever they run."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import pytest
from helpers import Site, settled, wait_for
from past import most_at_once


def test_a_limit_holds_over_farmers_and_others_run_meanwhile(site: Site) -> None:
    limited, free = ["sleep 0.4"] * 8, ["sleep 0.1"] * 12
    tasks = site.tasklist(["#TF limit=db", *limited, "#TF", *free])
    workdir = Path(f"{tasks}_workdir")
    options = ("--proc", "3", "--progress", "none")
    first = site.farm(*options, "--limit", "other=1", "--limit", "db=2", tasks)
    wait_for((workdir / "farm.ini").exists, deadline=30, what="a farm")
    second = site.farm(*options, "--workdir", workdir)
    for farm in (first, second):
        farm.succeed(60)
    assert len(settled(workdir, [*limited, *free]).finished) == 20
    assert most_at_once(workdir, range(8)) == 2
    assert most_at_once(workdir, range(20)) > 2
    assert re.search(r"^limit = other=1,db=2$", (workdir / "farm.ini").read_text(), re.MULTILINE)


def test_a_limit_survives_a_farmer_that_is_killed_with_the_tasks(site: Site) -> None:
    up = "echo >> up; "
    lines = [f"{up}[ -e go ] || sleep 60", f"{up}[ -e go ] || sleep 60", "sleep 0.3", "sleep 0.3", "sleep 0.3"]
    tasks = site.tasklist(["#TF limit=db", *lines])
    workdir = Path(f"{tasks}_workdir")
    first = site.farm("--proc", "3", "--limit", "db=2", "--progress", "none", tasks)
    wait_for(lambda: (site.path / "up").exists() and len((site.path / "up").read_text()) == 2, deadline=30, what="two tasks")
    second = site.farm("--proc", "3", "--progress", "none", "--workdir", workdir)

    def is_waiting() -> bool:
        said = site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", "status", workdir)
        said.wait(30)
        return "starts no task: tasks with limit=db wait" in said.stdout

    wait_for(is_waiting, deadline=30, what="a farmer that waits")
    (site.path / "go").touch()
    first.kill(signal.SIGKILL)
    first.wait(20)
    second.succeed(60)
    assert len(settled(workdir, lines).finished) == 5
    assert most_at_once(workdir, range(5)) == 2


@pytest.mark.parametrize(("options", "said"), [((), "there is no --limit db=N"), (("--limit", "d=1"), "=N; there is: d")])
def test_a_limit_that_is_none_is_refused_before_anything_is_touched(site: Site, options: tuple[str, ...], said: str) -> None:
    tasks = site.tasklist(["true", "", "#TF retries=1 limit=db", "true"])
    farm = site.farm(*options, tasks)
    farm.succeed(30, code=2)
    assert f"{tasks}:3: #TF limit=db: there is no" in farm.stderr
    assert said in farm.stderr
    assert len(farm.stderr.splitlines()) == 1
    assert not Path(f"{tasks}_workdir").exists()
