"""Tasks that are killed for lack of memory, and others that are only killed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cgroups import real_group
from helpers import Process, Site

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.machine.memory_watch import LOOK_INTERVAL, MemoryWatch
from taskfarmer_mpi.tasklists.task import Run, Task


class Stage:
    """A counter and clocks that a test moves."""

    def __init__(self, folder: Path) -> None:
        self.now = 1000.0
        self.counter = folder / "memory.events"
        self.kill(3)
        self.watch = MemoryWatch(self.counter, lambda: self.now, lambda: self.now)

    def kill(self, count: int) -> None:
        """Have the counter say that so many were killed."""
        self.counter.write_text(f"max 7\noom_kill {count}\n")

    def look_until(self, moment: float) -> None:
        """Let time go on."""
        while self.now < moment:
            self.now += LOOK_INTERVAL / 3
            self.watch.look()

    def is_short(self, begin: float, end: float, code: int = -9) -> bool:
        """Judge a run."""
        return self.watch.judge(Run(Task(0, "x"), 0, begin, end, code)).cause is Cause.MEMORY


@pytest.mark.parametrize(("code", "is_short"), [(-9, True), (137, True), (-15, False), (1, False), (0, False), (143, False)])
def test_a_run_that_was_killed_while_the_counter_grew_was_short_of_memory(code: int, is_short: bool, tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.look_until(1100)
    stage.kill(4)
    assert stage.is_short(1050, 1100, code) == is_short


def test_what_was_killed_before_and_after_a_run_is_not_its_matter(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.look_until(1100)
    stage.kill(4)
    stage.look_until(1200)
    assert not stage.is_short(1110, 1150)
    assert stage.is_short(1050, 1110)
    assert not stage.is_short(1010, 1050)
    assert not stage.is_short(1110, 1200)


def test_two_that_are_killed_at_once_are_both_told(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.kill(5)
    stage.look_until(1010)
    assert stage.is_short(1000, 1001)
    assert stage.is_short(990, 1001)


def test_without_a_counter_or_with_one_that_goes_nothing_is_known(tmp_path: Path) -> None:
    assert MemoryWatch(None).judge(Run(Task(0, "x"), 0, 0.0, 1.0, -9)).cause is Cause.SIGNAL
    stage = Stage(tmp_path)
    stage.counter.unlink()
    stage.look_until(1010)
    assert not stage.is_short(1000, 1010)


def test_what_the_farmer_killed_itself_keeps_its_cause(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.kill(4)
    run = Run(Task(0, "x"), 0, 990.0, 1001.0, -9, known_cause=Cause.TIME_LIMIT)
    assert stage.watch.judge(run) == run


GREEDY = f"{sys.executable} -c 'x = bytearray(400 << 20)'"


def _report(site: Site) -> str:
    words = (sys.executable, "-m", "taskfarmer_mpi.ctl", "report", "tasks_workdir", "-o", "report.html")
    site.start(*words).succeed(60)
    return (site.path / "report.html").read_text()


def _status(site: Site) -> str:
    status = site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", "status", "tasks_workdir")
    status.succeed(60)
    return status.stdout


def test_summary_status_and_report_say_that_memory_was_the_cause(site: Site) -> None:
    site.tasklist([GREEDY, f"{GREEDY}; exit $?", "true"])
    limits = {"memory.max": "200M", "memory.limit_in_bytes": "200M", "memory.swap.max": "0"}
    with real_group("memory", limits) as group:
        script = f"echo $$ > {group}/cgroup.procs && exec {sys.executable} -m taskfarmer_mpi -n 1 tasks"
        farm: Process = site.start("bash", "-c", script)
        farm.succeed(60, code=1)
    assert ": out of memory: killed by SIGKILL (peak 1" in farm.stdout
    assert ": out of memory: exit code 137: SIGKILL in a shell (peak 1" in farm.stdout
    for page in (_status(site), _report(site)):
        assert "out of memory: killed by SIGKILL (peak 1" in page
        assert "out of memory: exit code 137: SIGKILL in a shell (peak 1" in page
        assert "out of memory?" not in page


def test_a_kill_without_a_cause_is_perhaps_one_for_memory_and_the_peak_is_said(site: Site) -> None:
    site.tasklist([f"exec {sys.executable} -c 'import os; x = bytearray(b\"x\") * (150 << 20); os.kill(os.getpid(), 9)'"])
    farm = site.farm("-n", "1", "tasks")
    farm.succeed(60, code=1)
    for page in (farm.stdout, _status(site), _report(site)):
        assert "killed by SIGKILL (out of memory? peak 1" in page
        assert " MiB)" in page


def test_the_memory_of_who_started_a_farm_hides_no_peak(site: Site) -> None:
    """The kernel hands the peak of a process on to the program that it starts: a notebook's, for one."""
    site.tasklist([f"exec {sys.executable} -c 'import os; x = bytearray(b\"x\") * (150 << 20); os.kill(os.getpid(), 9)'"])
    big = "import subprocess, sys; x = bytearray(b'x') * (400 << 20); sys.exit(subprocess.call(sys.argv[1:]))"
    farm = site.start(sys.executable, "-c", big, sys.executable, "-m", "taskfarmer_mpi", "-n", "1", "tasks")
    farm.succeed(60, code=1)
    assert "killed by SIGKILL (out of memory? peak 1" in farm.stdout
