"""Farms that wait for more tasks."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from fakes import ids_in
from helpers import Process, Site, settled, wait_for

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")


def _add(site: Site, workdir: Path, *commands: str) -> str:
    added = site.start(*CTL, "add", "--parsable", workdir, *commands)
    added.succeed(30)
    return added.stdout


def _wait_for_finished(workdir: Path, count: int) -> None:
    wait_for(lambda: len(ids_in(workdir / "finished")) == count, deadline=60, what=f"{count} tasks finished")


def _cpu(farm: Process) -> float:
    """Return the CPU time of its farmers so far [s]."""
    ticks = 0
    for pid in farm.farmers():
        ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("ranks", [0, 2])
def test_a_farm_stays_for_tasks_that_are_added_until_it_is_drained(ranks: int, site: Site) -> None:
    tasklist = site.tasklist(["true"])
    workdir = Path(f"{tasklist}_workdir")
    farm = site.farm("-n", "2", "--stay", "--progress", "none", tasklist, ranks=ranks)
    _wait_for_finished(workdir, 1)
    assert _add(site, workdir, "true 1", "true 2") == "1-2\n"
    _wait_for_finished(workdir, 3)
    assert _add(site, workdir, "true 3") == "3\n"
    _wait_for_finished(workdir, 4)
    with tasklist.open("a") as file:
        file.write("true 4\n")
    _wait_for_finished(workdir, 5)
    site.start(*CTL, "stop", "--drain", workdir).succeed(60)
    farm.succeed(30)
    assert "5 tasks: 5 finished, 0 failed, 0 left" in farm.stdout
    assert settled(workdir, [f"true {i}" if i else "true" for i in range(5)]).failed == []


def test_a_stay_costs_nothing_while_it_is_idle_and_ends_with_its_time(site: Site) -> None:
    tasklist = site.tasklist(["true"])
    workdir = Path(f"{tasklist}_workdir")
    farm = site.farm("-n", "2", "--stay", "--timeout", "16", "--progress", "none", tasklist)
    _wait_for_finished(workdir, 1)
    begin, moment = _cpu(farm), Path("/proc/uptime").read_text()
    wait_for(
        lambda: float(Path("/proc/uptime").read_text().split()[0]) > float(moment.split()[0]) + 8, deadline=60, what="8 s"
    )
    assert _cpu(farm) - begin < 0.4  # 5 % of a CPU
    assert farm.wait(60) in (0, 75)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_signals_end_a_farm_that_stays(number: signal.Signals, site: Site) -> None:
    tasklist = site.tasklist(["true"])
    workdir = Path(f"{tasklist}_workdir")
    farm = site.farm("-n", "1", "--stay", "--progress", "none", tasklist)
    _wait_for_finished(workdir, 1)
    os.kill(farm.farmers()[0], number)
    farm.succeed(60, code=75 if number == signal.SIGUSR1 else 0)


def test_what_a_dead_farmer_had_is_run_by_one_that_stays(site: Site) -> None:
    flag = site.path / "again"
    tasklist = site.tasklist([f"test -e {flag} || {{ touch {flag}; sleep 600; }}"])
    workdir = Path(f"{tasklist}_workdir")
    dead = site.farm("-n", "1", "--progress", "none", tasklist)
    wait_for(flag.exists, deadline=60, what="it runs")
    os.kill(dead.farmers()[0], signal.SIGKILL)
    dead.wait(30)
    farm = site.farm("-n", "1", "--stay", "--progress", "none", tasklist)
    _wait_for_finished(workdir, 1)
    site.start(*CTL, "stop", "--drain", workdir).succeed(60)
    farm.succeed(30)


def test_a_stay_that_is_to_leave_early_is_refused(site: Site) -> None:
    farm = site.farm("--stay", "--leave-early", "3", site.tasklist(["true"]))
    farm.succeed(30, code=2)
    assert "--stay: ranks that wait for more tasks do not leave early" in farm.stderr
    assert not (site.path / "tasks_workdir").exists()
