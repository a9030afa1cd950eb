"""Real farms on lists with barriers."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest
from helpers import Site, accounted, settled, wait_for
from past import runs_of

UP = "echo >> up; while [ ! -e go ]; do sleep 0.05; done"
AGAIN = "[ -e again.$TASKFARMER_TASK ] || { touch again.$TASKFARMER_TASK; exit 3; }; sleep 0.05"


def ctl(site: Site, *words: str | Path, code: int = 0) -> str:
    process = site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", *words)
    process.succeed(60, code=code)
    return process.stdout


def ups(site: Site) -> int:
    return len((site.path / "up").read_text()) if (site.path / "up").exists() else 0


def check_stages(workdir: Path, *stages: range) -> None:
    """Check that no task of a stage began before all tasks of those before had ended, at last."""
    runs = runs_of(workdir)
    for number, stage in enumerate(stages[1:], 1):
        first = min(run.begin for task in stage for run in runs[task])
        for task in (task for before in stages[:number] for task in before):
            last = runs[task][-1]
            assert last.end is not None, f"task {task}"
            assert last.end <= first, f"task {task} ended after one behind its barrier began"


def test_a_barrier_holds_over_farmers_one_of_which_is_killed(site: Site) -> None:
    commands = [UP, UP, *["sleep 0.05"] * 6, *["sleep 0.1"] * 8, *["true"] * 4]
    tasks = site.tasklist([*commands[:8], "#TF barrier", *commands[8:16], "#TF barrier check", *commands[16:]])
    workdir = Path(f"{tasks}_workdir")
    first = site.farm("-n", "2", "--progress", "none", tasks)
    wait_for(lambda: ups(site) == 2, deadline=60, what="two tasks")
    second = site.farm("-n", "3", "--progress", "none", "--workdir", workdir)
    wait_for(lambda: "the tasks behind a barrier wait" in ctl(site, "status", workdir), deadline=60, what="who waits")
    shown = ctl(site, "show", workdir, "9")
    assert "why it does not run: it waits at the barrier of line 9 for 2 tasks: 0, 1" in shown
    assert "takes no task now: the tasks behind a barrier wait for those before it, like task 0" in shown
    assert "stage=" not in shown
    assert second.is_running()
    first.kill(signal.SIGKILL)
    (site.path / "go").touch()
    first.wait(20)
    third = site.farm("-n", "2", "--progress", "none", tasks)
    second.succeed(120)
    third.succeed(120)
    assert len(settled(workdir, commands).finished) == 20
    check_stages(workdir, range(8), range(8, 16), range(16, 20))


def test_ranks_of_a_job_wait_also_for_tasks_that_are_tried_again(site: Site) -> None:
    commands = [AGAIN if task % 4 == 0 else "sleep 0.05" for task in range(60)]
    tasks = site.tasklist([*commands[:20], "#TF barrier check", *commands[20:40], "#TF barrier check", *commands[40:]])
    workdir = Path(f"{tasks}_workdir")
    site.farm("-n", "2", "--retries", "1", "--progress", "none", tasks, ranks=5).succeed(180)
    assert len(settled(workdir, commands).finished) == 60
    check_stages(workdir, range(20), range(20, 40), range(40, 60))
    assert sum(len(runs) for runs in runs_of(workdir).values()) == 75


def test_a_rank_that_is_killed_takes_no_barrier_with_it(site: Site) -> None:
    commands = ["sleep 0.3"] * 40
    tasks = site.tasklist([*commands[:15], "#TF barrier", *commands[15:30], "#TF barrier", *commands[30:]])
    workdir = Path(f"{tasks}_workdir")
    job = site.farm("-n", "1", "--progress", "none", tasks, ranks=5)
    wait_for((workdir / "finished").exists, deadline=60, what="a farm")
    other = site.farm("-n", "1", "--progress", "none", "--workdir", workdir)
    wait_for(lambda: len((workdir / "finished").read_text().splitlines()) > 17, deadline=90, what="the second stage")
    os.kill(job.farmers()[0], signal.SIGKILL)
    job.wait(60)  # the launcher may end the other ranks
    other.wait(120)
    site.farm("-n", "2", "--progress", "none", "--workdir", workdir).succeed(60)
    assert len(settled(workdir, commands).finished) == 40
    check_stages(workdir, range(15), range(15, 30), range(30, 40))


def test_nothing_behind_a_check_is_run_until_what_failed_is_mended(site: Site) -> None:
    commands = ["true", "ls mended", "touch behind", "touch later"]
    tasks = site.tasklist([*commands[:2], "#TF barrier check", commands[2], "#TF barrier", commands[3]])
    workdir = Path(f"{tasks}_workdir")
    for _ in range(2):
        farm = site.farm("-n", "2", "--progress", "none", tasks)
        farm.succeed(60, code=75)
        said = "the tasks behind #TF barrier check are not run, as task 1 failed: to go on, taskfarmer-ctl retry"
        assert farm.stderr.count(said) == 1
        assert "4 tasks: 1 finished, 1 failed, 2 left" in farm.stdout
        assert accounted(workdir, commands).toprocess == [3, 2]
    assert not (site.path / "behind").exists()
    assert "#TF barrier check of line 3: failed before it: 1" in ctl(site, "show", workdir, "3")
    waiting = site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", "wait", workdir)
    waiting.succeed(60, code=75)
    assert waiting.stderr == f"taskfarmer-ctl: {said}\n"
    (site.path / "mended").touch()
    ctl(site, "retry", workdir)
    site.farm("-n", "2", "--progress", "none", tasks).succeed(60)
    settled(workdir, commands)
    check_stages(workdir, range(2), range(2, 3), range(3, 4))


def test_a_farm_that_stays_goes_on_behind_a_check_once_what_failed_is_mended(site: Site) -> None:
    commands = ["ls mended", "touch behind"]
    tasks = site.tasklist([commands[0], "#TF barrier check", commands[1]])
    workdir = Path(f"{tasks}_workdir")
    farm = site.farm("-n", "2", "--stay", "--progress", "none", tasks)
    wait_for(lambda: "are not run, as task 0 failed" in farm.stderr, deadline=60, what="a word about it")
    (site.path / "mended").touch()
    ctl(site, "retry", workdir)
    wait_for((site.path / "behind").exists, deadline=60, what="the task behind it")
    ctl(site, "stop", "--drain", workdir)
    farm.succeed(60, code=0)


def test_ranks_end_together_where_a_check_fails(site: Site) -> None:
    commands = ["exit 3", *["true"] * 20]
    tasks = site.tasklist([*commands[:11], "#TF barrier check", *commands[11:]])
    workdir = Path(f"{tasks}_workdir")
    farm = site.farm("-n", "2", "--progress", "none", tasks, ranks=5)
    farm.succeed(120, code=75)
    assert farm.stderr.count("the tasks behind #TF barrier check are not run, as task 0 failed") == 1
    assert len(accounted(workdir, commands).toprocess) == 10


def test_a_farm_that_was_stopped_before_a_barrier_goes_on(site: Site) -> None:
    commands = [UP, "sleep 0.05", "true", "true"]
    tasks = site.tasklist([*commands[:2], "#TF barrier", *commands[2:]])
    workdir = Path(f"{tasks}_workdir")
    farm = site.farm("-n", "3", "--progress", "none", tasks)
    wait_for(lambda: ups(site) == 1, deadline=60, what="a task")
    wait_for(lambda: "the tasks behind a barrier wait" in ctl(site, "status", workdir), deadline=60, what="who waits")
    farm.kill(signal.SIGTERM)
    farm.succeed(60, code=75)
    (site.path / "go").touch()
    site.farm("-n", "3", "--progress", "none", tasks).succeed(60)
    settled(workdir, commands)
    check_stages(workdir, range(2), range(2, 4))


@pytest.mark.parametrize("check", ["", " check"])
def test_tasks_that_are_removed_or_cancelled_have_ended(site: Site, check: str) -> None:
    commands = ["echo >> up; sleep 600", "sleep 600", "touch behind"]
    tasks = site.tasklist([*commands[:2], f"#TF barrier{check}", commands[2]])
    workdir = Path(f"{tasks}_workdir")
    farm = site.farm("-n", "1", "--progress", "none", tasks)
    wait_for(lambda: ups(site) == 1, deadline=60, what="a task")
    ctl(site, "remove", workdir, "1")
    ctl(site, "cancel", workdir, "0")
    farm.succeed(60, code=75 if check else 1)  # a task that is cancelled while it runs has failed
    assert (workdir / "removed").read_text().startswith("1 removed ")
    assert (site.path / "behind").exists() is not bool(check)
    assert ("#TF barrier check are not run, as task 0 failed" in farm.stderr) is bool(check)


def test_an_order_is_one_within_barriers(site: Site) -> None:
    commands = ["true"] * 60
    tasks = site.tasklist([*commands[:30], "#TF barrier", *commands[30:]])
    workdir = Path(f"{tasks}_workdir")
    site.farm("-n", "2", "--order", "shuffle", "--progress", "none", tasks).succeed(60)
    order = [int(line) for line in (workdir / "order").read_text().split()]
    assert sorted(order[:30]) == list(range(30))
    assert order[:30] != list(range(30))
    assert len(settled(workdir, commands).finished) == 60
    check_stages(workdir, range(30), range(30, 60))


def test_check_says_where_barriers_are(site: Site) -> None:
    tasks = site.tasklist(["true", "#TF barrier", "true", "true", "#TF barrier check", "true"])
    assert re.search(r"barriers: +before task 1, before task 3, some with check\n", ctl(site, "check", tasks))
    assert "barriers:" not in ctl(site, "check", site.tasklist(["#TF timeout=9", "true"], "other"))


def test_a_barrier_is_alone_on_its_line(site: Site) -> None:
    farm = site.farm(site.tasklist(["true", "#TF barrier name=a", "true"]))
    farm.succeed(30, code=2)
    assert ":2: #TF barrier name=a: a barrier is alone on its line, or with check; allowed: timeout=SECONDS" in farm.stderr
    assert len(farm.stderr.splitlines()) == 1
    assert not (site.path / "tasks_workdir").exists()


def test_added_tasks_bring_no_barriers(site: Site) -> None:
    tasks = site.tasklist(["true", "#TF barrier", "true"])
    site.farm("--progress", "none", tasks).succeed(60)
    more = site.tasklist(["true", "#TF barrier", "true"], "more")
    bad = site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", "add", f"{tasks}_workdir", "-f", more)
    bad.succeed(30, code=2)
    assert "#TF barrier: tasks that are added are before all barriers: append lines to the tasklist" in bad.stderr
    assert not (site.path / "tasks_workdir" / "tasks.added").exists()


def test_lines_that_are_appended_may_be_behind_barriers(site: Site) -> None:
    commands = [UP, "sleep 0.2", "true"]
    tasks = site.tasklist(commands[:1])
    workdir = Path(f"{tasks}_workdir")
    farm = site.farm("-n", "3", "--progress", "none", tasks)
    wait_for(lambda: ups(site) == 1, deadline=60, what="a task")
    with tasks.open("a") as file:
        file.write(f"{commands[1]}\n#TF barrier\n{commands[2]}\n")
    wait_for(lambda: "the tasks behind a barrier wait" in ctl(site, "status", workdir), deadline=60, what="who waits")
    (site.path / "go").touch()
    farm.succeed(60)
    settled(workdir, commands)
    check_stages(workdir, range(2), range(2, 3))


def test_barriers_are_refused_where_a_pytaskfarmer_is_at_work(site: Site, pytaskfarmer: Path) -> None:
    tasks = site.tasklist(["sleep 600", "#TF barrier", "true"])
    old = site.plain_0_1_0(pytaskfarmer, "-n", "1", tasks)
    wait_for(lambda: "Executing task" in old.stdout, deadline=60, what="PyTaskFarmer starts a task")
    refused = site.farm("--progress", "none", tasks)
    refused.succeed(30, code=2)
    assert "#TF barrier: a PyTaskFarmer has worked in" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert old.is_running()


@pytest.mark.parametrize("column", ["", "#TF timeout=60"])
def test_a_barrier_outlives_other_settings(site: Site, column: str) -> None:
    tasks = site.tasklist(["sleep 0.3", "#TF barrier", *([column] if column else []), "#TF", "true"])
    site.farm("-n", "2", "--progress", "none", tasks).succeed(60)
    check_stages(Path(f"{tasks}_workdir"), range(1), range(1, 2))
