"""`taskfarmer-ctl show`, `log` and `wait`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers import Site, wait_for

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")


def test_a_task_is_shown_with_all_of_its_attempts_and_logs(site: Site) -> None:
    tasks = site.tasklist(["echo attempt $TASKFARMER_ATTEMPT; exit 3", "true"])
    workdir = Path(f"{tasks}_workdir")
    site.farm("--retries", "1", "--progress", "none", tasks).succeed(60, code=1)
    said = subprocess.run([*CTL, "show", str(workdir), "0"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("task 0: failed\ncommand: echo attempt")
    assert said.count("failed: exit code 3") == 2
    assert f"log: {workdir}/logs/log_0\n" in said
    assert f"log: {workdir}/logs/log_0.1\n" in said
    for more, words in (((), "attempt 2\n"), (("--attempt", "1"), "attempt 1\n")):
        log = subprocess.run([*CTL, "log", str(workdir), "0", *more], capture_output=True, text=True, check=True)
        assert log.stdout == words
    for command in (("show", str(workdir), "2"), ("log", str(workdir), "0", "--attempt", "7"), ("log", str(workdir), "9")):
        refused = subprocess.run([*CTL, *command], capture_output=True, text=True, check=False)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr


def test_a_state_is_one_word_for_programs(site: Site) -> None:
    tasks = site.tasklist(["true", "false"])
    workdir = f"{tasks}_workdir"
    site.farm("--progress", "none", tasks).succeed(60, code=1)
    subprocess.run([*CTL, "add", workdir, "true", "true"], check=True, capture_output=True)
    subprocess.run([*CTL, "remove", workdir, "3"], check=True, capture_output=True)
    for task, word in enumerate(("success", "failed", "running", "failed")):
        said = subprocess.run([*CTL, "show", "--state", workdir, str(task)], capture_output=True, text=True, check=True)
        assert said.stdout == f"{word}\n"
    refused = subprocess.run([*CTL, "show", "--state", workdir, "4"], capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stderr) == (
        2,
        f"taskfarmer-ctl: {workdir}: there is no task 4; it has 4 tasks, from 0 on\n",
    )


@pytest.mark.parametrize("command", ["show", "log"])
def test_a_task_beyond_the_first_million_can_be_asked_for(command: str, site: Site) -> None:
    tasks = site.tasklist(["true"] * 1_000_001)
    site.farm("--mpi", "off", "--timeout", "0.1", tasks).succeed(60, code=75)
    asked = subprocess.run([*CTL, command, f"{tasks}_workdir", "1000000"], capture_output=True, text=True, check=False)
    if command == "show":
        assert asked.stdout.startswith("task 1000000: ")
    else:
        assert "log_1000000" in asked.stderr
    refused = subprocess.run([*CTL, command, f"{tasks}_workdir", "x7"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "'x7' is not the ID of a task" in refused.stderr


def test_a_log_is_followed_to_its_end_and_waiting_tells_how_the_list_ended(site: Site) -> None:
    go = site.path / "go"
    tasks = site.tasklist(["exit 1", f"echo first; while [ ! -e {go} ]; do sleep 0.1; done; echo last"])
    workdir = Path(f"{tasks}_workdir")
    farm = site.farm("--progress", "none", tasks)
    wait_for(lambda: (workdir / "logs" / "log_1").exists(), deadline=30, what="the task")
    follower = site.start(*CTL, "log", "-f", workdir, "1")
    wait_for(lambda: "first" in follower.stdout, deadline=30, what="its first line")
    site.start(*CTL, "wait", "--timeout", "0.5", workdir).succeed(30, code=75)
    site.start(*CTL, "wait", "--any-failed", workdir).succeed(30, code=1)
    waiting = site.start(*CTL, "wait", workdir)
    go.touch()
    farm.succeed(60, code=1)
    follower.succeed(30)
    assert follower.stdout == "first\nlast\n"
    waiting.succeed(30, code=1)
    assert waiting.stderr == f"taskfarmer-ctl: 1 of 2 tasks failed: 0; why: taskfarmer-ctl status {workdir}\n"
