"""Real farms whose tasks fail and are tried again, also with farmers that are killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from helpers import Site, Witness, processes_with, settled, wait_for
from past import runs_of

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.history.runs import Outcome

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")
COUNT = "n=$TASKFARMER_ATTEMPT; echo attempt $n; "


def test_what_fails_is_tried_again_and_every_log_is_kept(site: Site) -> None:
    lines = [COUNT + "[ $n = 3 ]", COUNT + "exit 5", "true", COUNT + "exit 7"]
    tasks = site.tasklist(lines)
    workdir = Path(f"{tasks}_workdir")
    options = ("--proc", "2", "--retries", "2", "--retry-on", "exit-code", "--progress", "none")
    farm = site.farm(*options, tasks)
    farm.succeed(60, code=1)
    lists = settled(workdir, lines)
    assert (sorted(lists.finished), sorted(lists.failed)) == ([0, 2], [1, 3])
    runs = runs_of(workdir)
    assert {task: [run.returncode for run in runs[task]] for task in range(4)} == {
        0: [1, 1, 0],
        1: [5, 5, 5],
        2: [0],
        3: [7, 7, 7],
    }
    assert {run.outcome for run in runs[1]} == {Outcome.FAILED}
    for task in (0, 1, 3):
        logs = [workdir / "logs" / f"log_{task}{end}" for end in (".1", ".2", "")]
        assert [log.read_text() for log in logs] == [f"attempt {n}\n" for n in (1, 2, 3)]
    assert "2 finished, 2 failed" in farm.stdout


def test_only_chosen_failures_are_tried_again_after_a_pause(site: Site) -> None:
    lines = [f"date +%s.%N >>{site.path}/times; exit 3", "exit 4"]
    tasks = site.tasklist(lines)
    workdir = Path(f"{tasks}_workdir")
    options = ("--retries", "2", "--retry-on", "3", "--retry-delay", "0.6", "--progress", "none")
    site.farm(*options, tasks).succeed(60, code=1)
    assert {task: len(runs) for task, runs in runs_of(workdir).items()} == {0: 3, 1: 1}
    first, second, third = map(float, (site.path / "times").read_text().split())
    assert second - first >= 0.6
    assert third - second >= 1.2


def test_budgets_hold_for_all_farmers_and_survive_kills(site: Site) -> None:
    """Every task fails for ever: none may have more attempts than its budget, whoever dies when."""
    lines = [f"echo {i} >>{site.path}/tried; sleep 0.05; exit 1" for i in range(40)]
    tasks = site.tasklist(lines)
    workdir = Path(f"{tasks}_workdir")
    options = ("--proc", "3", "--retries", "2", "--progress", "none")
    farms = [site.farm(*options, tasks) for _ in range(2)]
    tried = site.path / "tried"
    wait_for(lambda: tried.exists() and tried.read_text().count("\n") > 30, deadline=60, what="30 attempts")
    (pid,) = farms[0].farmers()
    os.kill(pid, signal.SIGKILL)
    farms[0].wait(20)
    again = site.farm("--progress", "none", "--workdir", workdir)
    again.wait(90)
    farms[1].wait(90)
    if (workdir / "toprocess").read_bytes():
        site.farm("--progress", "none", "--workdir", workdir).succeed(60, code=1)
    lists = settled(workdir, lines)
    assert sorted(lists.failed) == list(range(40))
    ended = {task: sum(run.outcome is Outcome.FAILED for run in runs) for task, runs in runs_of(workdir).items()}
    assert ended == dict.fromkeys(range(40), 3)
    extra = Counter(map(int, tried.read_text().split()))
    assert sum(extra.values()) <= 40 * 3 + 3  # those that ran when their farmer was killed ran once more


def test_a_task_that_takes_its_farmers_along_is_stopped(site: Site) -> None:
    lines = ["kill -9 $(ps -o ppid= -p $$)", "true", "true"]
    tasks = site.tasklist(lines)
    workdir = Path(f"{tasks}_workdir")
    for _ in range(2):
        farm = site.farm("--proc", "1", "--crash-limit", "2", "--progress", "none", tasks)
        assert farm.wait(60) == -9
    farm = site.farm("--proc", "1", "--progress", "none", tasks)
    farm.succeed(60, code=1)
    lists = settled(workdir, lines)
    assert (sorted(lists.finished), lists.failed) == ([1, 2], [0])
    assert "its farmers died again and again" in farm.stdout
    assert [run.cause for run in runs_of(workdir)[0]] == [Cause.FARMER_DIED, Cause.CRASHES]


def test_a_retry_by_hand_gives_the_budget_again(site: Site) -> None:
    tasks = site.tasklist([f"echo $TASKFARMER_ATTEMPT >>{site.path}/tried; exit 1"])
    workdir = Path(f"{tasks}_workdir")
    site.farm("--retries", "1", "--progress", "none", tasks).succeed(60, code=1)
    subprocess.run([*CTL, "retry", str(workdir)], check=True, capture_output=True)
    site.farm("--progress", "none", "--workdir", workdir).succeed(60, code=1)
    assert (site.path / "tried").read_text().split() == ["1", "2", "3", "4"]


def test_a_pytaskfarmer_on_the_list_runs_what_is_left_once(site: Site, tmp_path: Path) -> None:
    script = os.environ.get("PYTASKFARMER")
    if not script:
        pytest.skip("no PyTaskFarmer")
    witness = Witness(tmp_path / "witness")
    lines = witness.tasks(40, 0.05)
    lines += ["/bin/false"] * 10
    tasks = site.tasklist(lines)
    workdir = Path(f"{tasks}_workdir")
    ours = site.farm("--proc", "2", "--retries", "3", "--retry-delay", "0.2", "--progress", "none", tasks)
    wait_for((workdir / "toprocess").exists, deadline=30, what="the list")
    plain = site.plain_0_1_0(Path(script), "--proc", "2", tasks)
    ours.wait(90)
    plain.wait(90)
    lists = settled(workdir, lines)
    assert (sorted(lists.finished), sorted(lists.failed)) == (list(range(40)), list(range(40, 50)))
    assert processes_with(site.mark) == []
