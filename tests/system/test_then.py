"""Real farms with a command for the end of the list."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from helpers import Site, settled, wait_for
from past import runs_of

QUIET = ("--progress", "none")
THEN = "cat logs.txt 2>/dev/null | wc -l >>merged; echo $TASKFARMER_FAILED >>failed"


def ctl(site: Site, *words: str | Path, code: int = 0) -> str:
    process = site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", *words)
    process.succeed(60, code=code)
    return process.stdout


def check_last(workdir: Path, last: int) -> None:
    """Check that a task began after all others had ended."""
    runs = runs_of(workdir)
    begin = runs[last][-1].begin
    assert all(run.end is None or run.end <= begin for task, of_task in runs.items() if task != last for run in of_task)


def test_the_command_runs_once_when_the_list_is_done_and_knows_how_many_tasks_failed(site: Site) -> None:
    commands = ["echo 1 >>logs.txt", "exit 3", "sleep 0.3; echo 2 >>logs.txt"]
    tasks = site.tasklist(commands)
    workdir = Path(f"{tasks}_workdir")
    farm = site.farm(*QUIET, "-n", "3", "--task-timeout", "30", "--then", f"{THEN}; echo done", tasks)
    farm.succeed(60, code=1)
    assert "4 tasks: 3 finished, 1 failed, 0 left" in farm.stdout
    assert "--then, task 3: finished" in farm.stdout
    assert (site.path / "merged").read_text().split() == ["2"]
    assert (site.path / "failed").read_text().split() == ["1"]
    assert ctl(site, "log", workdir, "3") == "done\n"
    check_last(workdir, 3)
    for more in ((), ("--then", f"{THEN}; echo done")):
        site.farm(*QUIET, *more, tasks).succeed(60, code=1)
    assert (site.path / "merged").read_text().split() == ["2"]


def test_it_is_kept_for_the_next_run_and_runs_once_for_all_farmers(site: Site) -> None:
    commands = ["echo >>up; while [ ! -e go ]; do sleep 0.05; done", *["sleep 0.05"] * 30]
    tasks = site.tasklist(commands)
    workdir = Path(f"{tasks}_workdir")
    first = site.farm(*QUIET, "-n", "1", "--then", "echo then >>ended", tasks)
    wait_for((site.path / "up").exists, deadline=60, what="a task")
    job = site.farm(*QUIET, "-n", "2", "--workdir", workdir, ranks=3)
    wait_for(lambda: "for those before it, like task 0" in ctl(site, "status", workdir), deadline=60, what="who waits")
    assert "why it does not run: it waits for 1 task: 0" in ctl(site, "show", workdir, "31")
    first.kill(signal.SIGKILL)
    assert not (site.path / "ended").exists()
    (site.path / "go").touch()
    job.succeed(120)
    assert (site.path / "ended").read_text() == "then\n"
    assert len(settled(workdir, [*commands, "echo then >>ended"]).finished) == 32
    check_last(workdir, 31)


def test_a_farmer_that_dies_while_it_runs_leaves_it_to_the_next(site: Site) -> None:
    command = "echo >>begun; while [ ! -e go ]; do sleep 0.05; done; echo then >>ended"
    tasks = site.tasklist(["true"] * 5)
    workdir = Path(f"{tasks}_workdir")
    farm = site.farm(*QUIET, "-n", "2", "--then", command, tasks, ranks=2)
    wait_for((site.path / "begun").exists, deadline=60, what="the command")
    for pid in farm.farmers():
        with suppress(ProcessLookupError):  # the launcher may have ended the other rank
            os.kill(pid, signal.SIGKILL)
    farm.wait(60)
    again = site.farm(*QUIET, tasks)
    wait_for(lambda: (site.path / "begun").read_text() == "\n\n", deadline=60, what="the command again")
    (site.path / "go").touch()
    again.succeed(60)
    assert (site.path / "ended").read_text() == "then\n"
    settled(workdir, [*["true"] * 5, command])


def test_a_command_that_fails_makes_the_exit_code_that_of_failed_tasks(site: Site) -> None:
    tasks = site.tasklist(["true"])
    farm = site.farm(*QUIET, "--then", "echo oh; exit 4", tasks)
    farm.succeed(60, code=1)
    assert "--then, task 1: failed" in farm.stdout
    assert "exit code 4" in farm.stdout
    assert (site.path / "tasks_workdir" / "logs" / "log_1").read_text() == "oh\n"


def test_it_waits_while_tasks_are_left(site: Site) -> None:
    tasks = site.tasklist(["exit 1", "#TF barrier check", "true"])
    farm = site.farm(*QUIET, "--then", "touch ended", tasks)
    farm.succeed(60, code=75)
    assert "--then, task 2: not done, as it waits for the end of the list" in farm.stdout
    ctl(site, "remove", f"{tasks}_workdir", "1")
    site.farm(*QUIET, tasks).succeed(60, code=1)
    assert (site.path / "ended").exists()


def test_a_farm_that_began_without_it_can_get_it_and_lines_that_are_appended_come_before_it(site: Site) -> None:
    tasks = site.tasklist(["sleep 0.1"])
    workdir = Path(f"{tasks}_workdir")
    site.farm(*QUIET, tasks).succeed(60)
    with tasks.open("a") as file:
        file.write("sleep 0.2\n#TF barrier\nsleep 0.1\n")
    site.farm(*QUIET, "-n", "3", "--then", "true", tasks).succeed(60)
    check_last(workdir, 3)


@pytest.mark.parametrize("how", ["--command", "table"])
def test_it_is_a_command_whatever_the_lines_are(site: Site, how: str) -> None:
    tasks = site.tasklist(["a", "b"])
    words = ["--command", "echo {}"] if how == "--command" else ["-t", "rows"]
    if how == "table":
        tasks = site.tasklist(["name", "a", "b"], "rows.csv")
        section = "[rows]\nTaskList = taskfarmer_mpi.tasklists.TableTaskList\ncommand = echo {name}\n"
        (site.path / "rows.ini").write_text(section)
    site.farm(*QUIET, *words, "--then", "echo '{name} {}' >ended", tasks).succeed(60)
    assert (site.path / "ended").read_text() == "{name} {}\n"


def test_an_edit_of_the_list_leaves_it(site: Site) -> None:
    tasks = site.tasklist(["exit 1", "true"])
    site.farm(*QUIET, "--then", "touch ended; [ -e fine ]", tasks).succeed(60, code=1)
    tasks.write_text("true\nsleep 0.1\n")
    (site.path / "fine").touch()
    site.farm(*QUIET, "--accept-changes", tasks).succeed(60, code=1)
    ctl(site, "retry", f"{tasks}_workdir", "2")
    farm = site.farm(*QUIET, tasks)
    farm.succeed(60, code=1)
    assert "--then, task 2: finished" in farm.stdout


def test_another_one_is_refused_and_so_is_a_list_that_stays_open(site: Site) -> None:
    tasks = site.tasklist(["true"])
    site.farm(*QUIET, "--then", "true", tasks).succeed(60)
    for words, said in (
        (("--then", "false"), "--then false: for the end of its list it has 'true', task 1, and can have no other"),
        (("--then", "off"), "taskfarmer-ctl remove"),
        (("--then", "true", "--stay"), "--stay: a list that stays open is never done"),
        (("--then", "a\nb"), "is not one line"),
    ):
        refused = site.farm(*QUIET, *words, tasks)
        refused.succeed(30, code=2)
        assert said in refused.stderr


def test_it_is_refused_where_a_pytaskfarmer_is_at_work(site: Site, pytaskfarmer: Path) -> None:
    tasks = site.tasklist(["sleep 600", "true"])
    old = site.plain_0_1_0(pytaskfarmer, "-n", "1", tasks)
    wait_for(lambda: "Executing task" in old.stdout, deadline=60, what="PyTaskFarmer starts a task")
    refused = site.farm(*QUIET, "--then", "true", tasks)
    refused.succeed(30, code=2)
    assert "--then: a PyTaskFarmer has worked in" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert old.is_running()
