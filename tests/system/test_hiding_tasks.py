"""Tasks that hide from their farmer, or spoil what it knows them by: none runs twice at once, none is lost."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest
from helpers import MPIEXEC, Process, Site, command_of, is_alive, processes_with, settled, wait_for

PROGRAM = """\
#!/bin/bash
exec env -i {python} -c 'import os, time; open("{folder}/ran", "a").write(str(os.getpid()) + chr(10)); time.sleep(1000)'
"""
"""Clears its environment, and notes its number."""


def _pids(site: Site, count: int = 1) -> list[int]:
    path = site.path / "ran"
    return [int(line) for line in _whole(path.read_text().split(), count)] if path.exists() else []


def _whole(lines: list[str], count: int) -> list[str]:
    return lines if len(lines) >= count else []


def _guardians(job: Process) -> list[int]:
    return [pid for pid in processes_with(job.launch) if any(word.endswith("guardian.py") for word in command_of(pid))]


def _program(site: Site) -> Path:
    path = site.path / "program"
    path.write_text(PROGRAM.format(python=sys.executable, folder=site.path))
    path.chmod(0o755)
    return path


def _kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


HIDES = {
    "closes the lock": "exec 3<&-; exec {program}",
    "in a session of its own": "exec 3<&-; setsid {program} & wait",
    "with another stdout": "exec 3<&- >/dev/null; exec {program}",
}
"""What a task does before it clears its environment; its stderr at least stays its log."""


@pytest.mark.parametrize("how", HIDES.values(), ids=HIDES.keys())
def test_a_task_known_by_its_log_alone_dies_with_its_farmer(how: str, site: Site) -> None:
    farmer = site.farm("-n", "1", site.tasklist([how.format(program=_program(site))]))
    (task,) = wait_for(lambda: _pids(site), deadline=30, what="the task begins")
    _kill(farmer.pid)
    wait_for(lambda: not is_alive(task), deadline=10, what="the guardian kills the task")


@pytest.mark.parametrize("how", HIDES.values(), ids=HIDES.keys())
def test_a_task_known_by_its_log_alone_is_not_run_again_while_it_lives(how: str, site: Site) -> None:
    tasklist = site.tasklist([how.format(program=_program(site))])
    farmer = site.farm("-n", "1", tasklist)
    (task,) = wait_for(lambda: _pids(site), deadline=30, what="the task begins")
    guardians = wait_for(lambda: _guardians(farmer), deadline=20, what="the guardian")
    os.kill(farmer.pid, signal.SIGSTOP)  # it would start another guardian
    _kill(*guardians, farmer.pid)
    farmer.wait(10)
    heir = site.farm("-n", "1", "--lock-timeout", "30", tasklist)
    said = rf"still run on {os.uname().nodename}:.* {task}\b"
    wait_for(lambda: re.search(said, heir.stderr), deadline=10, what="it says what it waits for")
    assert is_alive(task)
    assert _pids(site) == [task]
    _kill(task)
    again = wait_for(lambda: _pids(site, 2), deadline=20, what="the task is run again")
    heir.kill(signal.SIGTERM)
    heir.succeed(20, code=75)
    assert not is_alive(again[1])


@pytest.mark.parametrize(
    "spoil",
    ["echo x >&3", "cat /etc/hosts >&3; exec 3<&-", "truncate -s 1M /proc/self/fd/3"],
    ids=["a word", "a file", "holes"],
)
def test_what_a_task_writes_to_its_lock_does_not_keep_it_from_being_recovered(spoil: str, site: Site) -> None:
    tasks = [f"{spoil}; [ -e again ] || {{ touch again; sleep 1000; }}"]
    tasklist = site.tasklist(tasks)
    farmer = site.farm("-n", "1", tasklist)
    wait_for((site.path / "again").exists, deadline=30, what="the task has written")
    _kill(farmer.pid)
    farmer.wait(10)
    site.farm("-n", "1", "--lock-timeout", "20", tasklist).succeed(30)
    assert settled(site.path / "tasks_workdir", tasks).finished == [0]


# -- farms in farms ---------------------------------------------------------------------------------


def _inner(site: Site, tasks: list[str]) -> Path:
    (site.path / "inner").mkdir()
    path = site.path / "inner" / "list"
    path.write_text("".join(f"{task}\n" for task in tasks))
    return path


@pytest.mark.parametrize("outer", [0, 2], ids=["plain", "two_ranks"])
def test_a_farm_in_a_farm_comes_to_its_end(outer: int, site: Site) -> None:
    tasks = [f"/bin/true {number}" for number in range(40)]
    inner = _inner(site, tasks)
    lines = [f"{MPIEXEC} -n 2 {sys.executable} -m taskfarmer_mpi -n 1 {inner}", "echo done"]
    site.farm("-n", "1", site.tasklist(lines), ranks=outer).succeed(120)
    assert settled(site.path / "tasks_workdir", lines).failed == []
    assert settled(Path(f"{inner}_workdir"), tasks).failed == []
    log = (site.path / "tasks_workdir" / "logs" / "log_0").read_text()
    assert "40 tasks, 2 x 1 slots" in log
    assert "2 farmers" in log
    assert "MPI" not in log


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_farm_in_a_farm_ends_with_it_and_goes_on_later(number: signal.Signals, site: Site) -> None:
    tasks = [f"[ -e go ] || {{ echo $$ >> pids; exec env -i sleep {1000 + i}; }}" for i in range(3)]
    inner = _inner(site, tasks)
    lines = [f"{MPIEXEC} -n 2 {sys.executable} -m taskfarmer_mpi -n 2 {inner}"]
    tasklist = site.tasklist(lines)
    outer = site.farm("-n", "1", tasklist)
    pids = site.path / "pids"
    running = wait_for(
        lambda: _whole(pids.read_text().split(), 3) if pids.exists() else [], deadline=60, what="all tasks run"
    )
    outer.kill(number)
    outer.wait(30)
    wait_for(lambda: not any(is_alive(int(pid)) for pid in running), deadline=20, what="the inner farm's tasks are dead")
    wait_for(lambda: not site.leftovers(), deadline=20, what="nothing is left of both farms")
    (site.path / "go").touch()
    site.farm("-n", "1", tasklist).succeed(90)
    assert settled(site.path / "tasks_workdir", lines).finished == [0]
    assert settled(Path(f"{inner}_workdir"), tasks).failed == []
