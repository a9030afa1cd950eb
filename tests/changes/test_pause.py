"""Farmers that a user pauses."""

import sys
import time
from pathlib import Path

from fakes import ids_in, make_farm
from helpers import Site, accounted, settled, wait_for

from taskfarmer_mpi.changes.pause import pause, read_pause, resume

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")


def test_who_paused_is_known_until_it_is_over(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["true"])
    assert read_pause(farm.workdir) == ""
    with farm.lock.held(5.0):
        pause(farm.workdir, farm.lock, 0)
    assert read_pause(farm.workdir).startswith("paused by root on ")
    with farm.lock.held(5.0):
        resume(farm.workdir, farm.lock)
        resume(farm.workdir, farm.lock)
    assert read_pause(farm.workdir) == ""


def test_all_farmers_take_nothing_while_they_are_paused_and_running_tasks_end(site: Site) -> None:
    lines = [f"touch {site.path}/up.{i}; until test -e {site.path}/end; do sleep 0.1; done" for i in range(4)]
    lines += ["true"] * 8
    tasklist = site.tasklist(lines)
    workdir = Path(f"{tasklist}_workdir")
    farms = [
        site.farm("-n", "1", "--progress", "none", tasklist, ranks=2),
        site.farm("-n", "2", "--progress", "none", tasklist),
    ]
    wait_for(lambda: len(list(site.path.glob("up.*"))) == 4, deadline=60, what="four tasks run")
    paused = site.start(*CTL, "pause", workdir)
    paused.succeed(30)
    assert paused.stdout == f"paused: 3 farmers take no more tasks until: taskfarmer-ctl resume {workdir}\n"
    (site.path / "end").touch()
    wait_for(lambda: len(ids_in(workdir / "finished")) == 4, deadline=60, what="what ran has ended")
    time.sleep(2.0)  # time enough to take tasks, if they did
    assert len(accounted(workdir, lines).toprocess) == 8
    status = site.start(*CTL, "status", workdir)
    status.succeed(30)
    assert "paused by root on " in status.stdout
    assert "no tasks are taken until: taskfarmer-ctl resume" in status.stdout
    assert all(farm.is_running() for farm in farms)
    site.start(*CTL, "resume", tasklist).succeed(30)
    for farm in farms:
        farm.succeed(60)
        assert "no tasks are taken until: taskfarmer-ctl resume" in farm.stderr
    assert settled(workdir, lines).failed == []


def test_a_pause_holds_for_the_next_run_which_can_be_stopped(site: Site) -> None:
    lines = ["true"] * 3
    tasklist = site.tasklist(lines)
    workdir = Path(f"{tasklist}_workdir")
    site.farm("--task-time", "1000", "--timeout", "10", "--progress", "none", tasklist).succeed(60, code=75)
    first = site.start(*CTL, "pause", workdir)
    first.succeed(30)
    assert "no farmer is at work; the next one takes no more tasks" in first.stdout
    again = site.start(*CTL, "pause", workdir)
    again.succeed(30)
    assert again.stdout.endswith(" already\n")
    farm = site.farm("--progress", "none", tasklist)
    wait_for(lambda: "no tasks are taken" in farm.stderr, deadline=30, what="the farmer waits")
    waits = site.start(*CTL, "wait", workdir, "--timeout", "1")
    waits.succeed(30, code=75)
    assert "it goes on after: taskfarmer-ctl resume" in waits.stderr
    site.start(*CTL, "stop", workdir).succeed(60)
    farm.succeed(30, code=75)
    assert accounted(workdir, lines).toprocess
    site.start(*CTL, "resume", workdir).succeed(30)
    over = site.start(*CTL, "resume", workdir)
    over.succeed(30)
    assert over.stdout == "not paused\n"
    site.farm("--progress", "none", tasklist).succeed(60)
