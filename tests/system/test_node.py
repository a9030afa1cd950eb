"""Real farms with commands before and after the tasks, a directory for each task, and what tasks know of their farm."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from helpers import Site, settled, wait_for

QUIET = ("--progress", "none", "--mpi", "off")


def test_each_task_has_a_directory_of_its_own_that_goes_with_it(site: Site) -> None:
    fast = site.path / "fast"
    fast.mkdir()
    note = f'>>{site.path}/seen; touch "$TMPDIR/file"; mkdir "$TMPDIR/sub"; touch "$TMPDIR/sub/file"'
    lines = [f"stat -c '%a %n' $TASKFARMER_TEMPDIR {note}", f"stat -c '%a %n' $TMPDIR {note}; exit 3", "false"]
    tasks = site.tasklist(lines)
    environ = site.environ(FAST=str(fast))
    site.farm(*QUIET, "--tempdir", "$FAST", "--retries", "1", tasks, environ=environ).succeed(60, code=1)
    seen = [line.split(" ", 1) for line in (site.path / "seen").read_text().splitlines()]
    assert [mode for mode, _ in seen] == ["700"] * 3
    assert len({path for _, path in seen}) == 3
    (farmer,) = fast.iterdir()
    assert farmer.stat().st_mode & 0o777 == 0o700
    assert [re.sub(r"_\d+$", "", path.name) for path in farmer.iterdir()] == ["failed_1"]


def test_what_a_killed_farmer_leaves_is_removed_by_the_next_one_on_its_node(site: Site) -> None:
    fast, go = site.path / "fast", site.path / "go"
    fast.mkdir()
    lines = [f"touch $TMPDIR/big; touch {site.path}/began; while [ ! -e {go} ]; do sleep 0.05; done"]
    tasks = site.tasklist(lines)
    farm = site.farm(*QUIET, "--tempdir", fast, tasks)
    wait_for((site.path / "began").exists, deadline=60, what="the task")
    (pid,) = farm.farmers()
    (left,) = fast.iterdir()
    os.kill(pid, signal.SIGKILL)
    farm.wait(20)
    assert left.exists()
    go.touch()
    site.farm(*QUIET, "--workdir", f"{tasks}_workdir").succeed(60)
    settled(Path(f"{tasks}_workdir"), lines)
    assert list(fast.iterdir()) == []


def test_tasks_know_the_time_that_is_left_if_an_end_is_known(site: Site) -> None:
    tasks = site.tasklist(["echo ${TASKFARMER_TIME_LEFT-none}"])
    environ = site.environ(TASKFARMER_TIME_LEFT="7", TASKFARMER_TEMPDIR="/x")
    log = Path(f"{tasks}_workdir") / "logs" / "log_0"
    site.farm(*QUIET, tasks, environ=environ).succeed(60)
    assert log.read_text() == "none\n"
    site.farm(*QUIET, "--workdir", site.path / "w", "--timeout", "500", tasks, environ=environ).succeed(60)
    assert 440 < int((site.path / "w" / "logs" / "log_0").read_text()) <= 500


def test_the_setup_comes_before_all_tasks_and_the_teardown_after_them(site: Site) -> None:
    notes = site.path / "notes"
    lines = [f"echo task >>{notes}"] * 8
    tasks = site.tasklist(lines)
    commands = ("--setup", f"sleep 0.5; echo setup >>{notes}; echo hello", "--teardown", f"echo teardown >>{notes}; exit 4")
    farm = site.farm("--progress", "none", *commands, tasks, ranks=2)
    farm.succeed(90)
    words = notes.read_text().split()
    assert words.count("setup") == words.count("teardown") == 2
    assert words[0] == "setup"
    assert words[-1] == "teardown"
    assert words.index("task") > words.index("setup")
    assert "hello" in farm.stderr
    assert "--teardown failed on" in farm.stderr
    assert "exit code 4" in farm.stderr


def test_a_farmer_whose_setup_fails_takes_nothing_and_the_others_do_it_all(site: Site) -> None:
    lines = [f"echo $TASKFARMER_RANK >>{site.path}/ranks; sleep 0.05"] * 20
    tasks = site.tasklist(lines)
    for failing in (0, 1):
        workdir = site.path / f"w{failing}"
        setup = f"test $TASKFARMER_RANK != {failing}"
        farm = site.farm("--progress", "none", "--setup", setup, "--workdir", workdir, tasks, ranks=2)
        farm.succeed(90)
        assert (site.path / "ranks").read_text().split() == [str(1 - failing)] * 20
        assert "--setup failed on" in farm.stderr
        assert "this farmer takes no tasks" in farm.stderr
        (site.path / "ranks").unlink()


def test_where_every_setup_fails_the_work_is_left(site: Site) -> None:
    tasks = site.tasklist(["true"])
    farm = site.farm(*QUIET, "--setup", "exit 9", tasks)
    farm.succeed(60, code=75)
    assert "--setup failed on" in farm.stderr
    site.farm(*QUIET, "--setup", "off", tasks).succeed(60)


@pytest.mark.parametrize("phase", ["setup", "task"])
def test_a_stop_ends_the_setup_and_has_the_teardown_run(site: Site, phase: str) -> None:
    notes = site.path / "notes"
    tasks = site.tasklist([f"echo task >>{notes}; sleep 1000"])
    setup = f"echo setup >>{notes}" + ("; sleep 1000" if phase == "setup" else "")
    farm = site.farm(*QUIET, "--setup", setup, "--teardown", f"echo teardown >>{notes}", tasks)
    wait_for(lambda: notes.exists() and phase in notes.read_text(), deadline=60, what=phase)
    (pid,) = farm.farmers()
    os.kill(pid, signal.SIGUSR1)
    farm.succeed(60, code=75)
    assert notes.read_text().split()[-1] == "teardown"
    assert site.leftovers() == []


def test_a_teardown_that_takes_too_long_ends_with_a_second_signal(site: Site) -> None:
    notes = site.path / "notes"
    tasks = site.tasklist(["true"])
    farm = site.farm(*QUIET, "--teardown", f"echo begun >{notes}; sleep 1000", tasks)
    wait_for(lambda: notes.exists() and notes.read_text(), deadline=60, what="the teardown")
    (pid,) = farm.farmers()
    os.kill(pid, signal.SIGTERM)
    farm.succeed(60)
    assert "--teardown is cut short" in farm.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--tempdir", "fast"), "--tempdir: 'fast' is not an absolute path, like /tmp or $TMPDIR, or off"),
        (("--tempdir", "/no/such"), "no such directory"),
        (("--tempdir", "$NOT_SET_HERE"), "a variable that is not set"),
        (("--setup", "one\ntwo"), "is not one line"),
    ],
)
def test_what_cannot_be_is_one_line_before_anything_is_touched(site: Site, words: tuple[str, str], reason: str) -> None:
    tasks = site.tasklist(["true"])
    farm = site.farm(*QUIET, *words, tasks)
    farm.succeed(60, code=2)
    assert reason in farm.stderr
    assert farm.stderr.count("\n") == 1
    assert not Path(f"{tasks}_workdir").exists()
