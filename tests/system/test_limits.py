"""Real farms whose tasks last too long, or are told to stop."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import MPIEXEC, Site, accounted, processes_with, settled, wait_for
from past import runs_of

from taskfarmer_mpi.common.causes import Cause

HIDDEN = "nohup setsid bash -c 'trap \"\" TERM; sleep 31.7' >/dev/null 2>&1 & "


def test_tasks_that_last_too_long_are_ended_with_all_of_their_processes(site: Site) -> None:
    lines = [
        "sleep 30",
        "trap '' TERM; while :; do sleep 0.1; done",
        f"{HIDDEN}sleep 30",
        "trap 'exit 0' TERM; sleep 30 & wait",
        "true",
    ]
    tasks = site.tasklist(lines)
    workdir = Path(f"{tasks}_workdir")
    farm = site.farm("--proc", "5", "--task-timeout", "1", "--task-grace", "1", "--progress", "none", tasks)
    farm.succeed(40, code=1)
    assert settled(workdir, lines).finished == [4]
    runs = {task: run for task, (run,) in runs_of(workdir).items()}
    assert {task: runs[task].cause for task in range(5)} == dict.fromkeys(range(4), Cause.TIME_LIMIT) | {4: None}
    assert {task: runs[task].returncode for task in range(4)} == {0: -15, 1: -9, 2: -15, 3: 124}
    assert site.leftovers() == []
    assert "over its time limit" in farm.stdout


def test_the_limits_are_kept_for_the_next_run_and_checked_before_anything_starts(site: Site) -> None:
    tasks = site.tasklist([f"touch {site.path}/up; sleep 30"])
    workdir = Path(f"{tasks}_workdir")
    refused = site.farm("--retry-delay", "1", tasks)
    refused.succeed(20, code=2)
    assert "--retry-delay says nothing without --retries" in refused.stderr
    assert not workdir.exists()
    farm = site.farm("--task-timeout", "3", "--progress", "none", tasks)
    wait_for((site.path / "up").exists, deadline=30, what="the task runs")
    farm.kill(signal.SIGTERM)
    farm.succeed(30, code=75)
    site.farm("--progress", "none", "--workdir", workdir).succeed(30, code=1)
    assert [run.cause for run in runs_of(workdir)[0]] == [Cause.STOPPED, Cause.TIME_LIMIT]


@pytest.mark.parametrize("ranks", [0, 2])
def test_a_gentle_stop_lets_tasks_save_their_state(site: Site, ranks: int) -> None:
    if ranks and subprocess.run([MPIEXEC, "--version"], capture_output=True, check=False).returncode:
        pytest.skip("no mpiexec")
    done = site.path / "done"
    lines = [
        f"trap 'echo saved >>{done}; exit 0' USR1; echo up >>{site.path}/up; while :; do sleep 0.05; done",
        f"trap 'echo saved >>{done}; exit 3' USR1; echo up >>{site.path}/up; while :; do sleep 0.05; done",
        f"trap '' USR1; echo up >>{site.path}/up; sleep 33.3",
    ]
    tasks = site.tasklist(lines)
    workdir = Path(f"{tasks}_workdir")
    farm = site.farm("--proc", "3", "--stop-signal", "USR1", "--stop-grace", "2", "--progress", "none", tasks, ranks=ranks)
    wait_for(lambda: (site.path / "up").exists() and (site.path / "up").read_text().count("up") == 3, deadline=30, what="up")
    begin = time.monotonic()
    farm.kill(signal.SIGTERM if not ranks else signal.SIGUSR1)
    farm.succeed(30, code=75)
    assert time.monotonic() - begin >= 1.9
    lists = accounted(workdir, lines)
    assert (lists.finished, sorted(lists.toprocess), lists.failed) == ([0], [1, 2], [])
    assert done.read_text() == "saved\n" * 2
    assert processes_with(site.mark) == []


def test_a_farmer_that_is_killed_in_the_grace_leaves_a_right_list(site: Site) -> None:
    lines = ["trap '' TERM; sleep 30", "sleep 0.1", "sleep 0.1"]
    tasks = site.tasklist(lines)
    workdir = Path(f"{tasks}_workdir")
    options = ("--proc", "1", "--task-timeout", "1", "--task-grace", "20", "--progress", "none")
    farm = site.farm(*options, tasks)
    log = workdir / "logs" / "log_0"
    wait_for(log.exists, deadline=30, what="the first task")
    time.sleep(1.5)
    farm.kill(signal.SIGKILL)
    farm.wait(20)
    site.farm("--task-grace", "0", "--progress", "none", "--workdir", workdir).succeed(40, code=1)
    lists = settled(workdir, lines)
    assert (lists.failed, sorted(lists.finished)) == ([0], [1, 2])


def test_sigusr2_starts_nothing_new_and_lets_end_what_runs(site: Site) -> None:
    lines = [f"echo up >>{site.path}/up; sleep 1"] * 4
    tasks = site.tasklist(lines)
    farm = site.farm("--proc", "2", "--progress", "none", tasks)
    wait_for((site.path / "up").exists, deadline=30, what="a task")
    farm.kill(signal.SIGUSR2)
    farm.succeed(30, code=75)
    lists = accounted(Path(f"{tasks}_workdir"), lines)
    assert (sorted(lists.finished), sorted(lists.toprocess)) == ([0, 1], [2, 3])
    assert "SIGUSR2" in farm.stdout


def test_help_of_each_timeout_names_the_other() -> None:
    said = subprocess.run([sys.executable, "-m", "taskfarmer_mpi", "--help"], capture_output=True, text=True, check=True)
    words = "".join(said.stdout.split())  # a line can end at a hyphen
    assert "stopthewholejob,notatask,afterthistime;0:never.Atask's:--task-timeout" in words
    assert "--timeoutisthewholejob's" in words
