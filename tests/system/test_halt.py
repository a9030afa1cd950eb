"""Real farms that stop by themselves, and stay so until they are told otherwise."""

from __future__ import annotations

import time
from pathlib import Path

from helpers import Site, accounted, contents, processes_with, settled, wait_for


def test_a_halt_holds_for_the_next_run_until_told_otherwise(site: Site) -> None:
    lines = ["exit 1"] * 3 + ["sleep 0.2"] * 40
    tasks = site.tasklist(lines)
    workdir = Path(f"{tasks}_workdir")
    farm = site.farm("--proc", "2", "--halt", "soon,fail=2", "--progress", "none", tasks)
    farm.succeed(90, code=75)
    assert "tasks failed (--halt soon,fail=2); to go on: --halt never" in farm.stdout
    assert accounted(workdir, lines).toprocess
    before = contents(workdir)
    refused = site.farm("--progress", "none", "--workdir", workdir)
    refused.succeed(30, code=2)
    assert "halted: " in refused.stderr
    assert contents(workdir) == before
    site.farm("--halt", "soon,fail=2", "--progress", "none", "--workdir", workdir).succeed(30, code=75)
    site.farm("--halt", "never", "--proc", "8", "--progress", "none", "--workdir", workdir).succeed(60, code=1)
    assert len(settled(workdir, lines).failed) == 3


def test_now_ends_running_tasks_of_all_farmers(site: Site) -> None:
    lines = [f"echo up >>{site.path}/up; sleep 100"] * 4 + [
        f"while [ $(grep -c up {site.path}/up) -lt 4 ]; do sleep 0.1; done"
    ]
    tasks = site.tasklist(lines)
    workdir = Path(f"{tasks}_workdir")
    options = ("--proc", "3", "--halt", "now,success=1", "--progress", "none")
    farms = [site.farm(*options, tasks) for _ in range(2)]
    wait_for(lambda: (site.path / "up").exists(), deadline=30, what="a task")
    begin = time.monotonic()
    for farm in farms:
        farm.succeed(90, code=75)
    assert time.monotonic() - begin < 80
    lists = accounted(workdir, lines)
    assert (lists.finished, lists.failed) == ([4], [])
    assert processes_with(site.mark) == []


def test_a_list_that_is_done_is_not_halted(site: Site) -> None:
    lines = ["exit 1", "exit 1"]
    tasks = site.tasklist(lines)
    site.farm("--halt", "now,fail=2", "--progress", "none", tasks).succeed(60, code=1)
    site.farm("--progress", "none", tasks).succeed(60, code=1)


def test_all_ranks_of_a_job_halt(site: Site) -> None:
    lines = ["exit 1", *["sleep 100"] * 9]
    tasks = site.tasklist(lines)
    begin = time.monotonic()
    farm = site.farm("--proc", "2", "--halt", "now,fail=1", "--progress", "none", tasks, ranks=2)
    farm.succeed(90, code=75)
    assert time.monotonic() - begin < 80  # a task lasts 100 s
    assert accounted(Path(f"{tasks}_workdir"), lines).failed == [0]
