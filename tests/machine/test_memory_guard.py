"""When no task is started for want of memory, and when one has to end; by a reader that a test has, and in a real group."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cgroups import real_group
from fakes import Clock
from helpers import Process, Site, settled, wait_for

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.history.runs import read_histories
from taskfarmer_mpi.machine.memory import Memory
from taskfarmer_mpi.machine.memory_guard import LOOK_INTERVAL, MemoryGuard, find_reserve
from taskfarmer_mpi.policies.resources import Resources
from taskfarmer_mpi.workdir.files import Workdir

GIB = 1 << 30


def test_a_wait_is_told_once_and_its_end_too() -> None:
    clock, left = Clock(), [8 * GIB]
    told: list[str] = []
    guard = MemoryGuard(4 * GIB, clock, told.append, lambda: left[0])
    seen = []
    for left[0] in (8 * GIB, 3 * GIB, 3 * GIB, GIB, 5 * GIB, 5 * GIB):
        guard.look()
        seen.append((guard.is_short, guard.is_critical))
        clock.now += LOOK_INTERVAL
    assert seen == [(False, False), (True, False), (True, False), (True, True), (False, False), (False, False)]
    assert told == ["3 GiB of memory are available, and --memory-reserve is 4 GiB", ""]


def test_there_has_to_be_room_for_what_was_given_back() -> None:
    clock = Clock()
    told: list[str] = []
    guard = MemoryGuard(4 * GIB, clock, told.append, lambda: 6 * GIB)
    guard.make_room(3 * GIB)
    guard.look()
    assert guard.is_short
    assert told == [
        "6 GiB of memory are available, and --memory-reserve is 4 GiB, beside 3 GiB for the task that was given back"
    ]
    guard.make_room(0)
    guard.look(is_needed=True)
    assert not guard.is_short


def test_it_looks_from_time_to_time_or_where_that_is_needed() -> None:
    clock = Clock()
    looks: list[str] = []
    guard = MemoryGuard(GIB, clock, looks.append, lambda: looks.append("look"))
    for _ in range(10):
        guard.look()
        clock.now += LOOK_INTERVAL / 5
    assert looks == ["look", "look"]
    guard.look(is_needed=True)
    assert looks == ["look"] * 3
    assert not guard.is_short


@pytest.mark.parametrize(
    ("wanted", "memory", "reserve"),
    [
        (Resources(memory_reserve=GIB), Memory(16 * GIB), GIB),
        (Resources(memory_reserve=GIB), Memory(0), GIB),
        (Resources(memory_reserve_share=25), Memory(16 * GIB), 4 * GIB),
        (Resources(memory_reserve_share=25), Memory(16 * GIB, 4 * GIB, "/job"), GIB),
    ],
)
def test_a_reserve_is_an_amount_or_a_part_of_what_the_job_has(wanted: Resources, memory: Memory, reserve: int) -> None:
    assert find_reserve(wanted, memory) == reserve


@pytest.mark.parametrize(
    ("wanted", "memory", "said"),
    [
        (Resources(memory_reserve=4 * GIB), Memory(16 * GIB, 4 * GIB, "/job"), "4 GiB: this job has 4 GiB in all"),
        (Resources(memory_reserve=32 * GIB), Memory(16 * GIB), "32 GiB: this node has 16 GiB in all"),
        (Resources(memory_reserve_share=25), Memory(0), "give an amount"),
    ],
)
def test_a_reserve_that_there_never_is_is_refused(wanted: Resources, memory: Memory, said: str) -> None:
    with pytest.raises(UserError, match=said):
        find_reserve(wanted, memory)


def test_a_farm_that_cannot_have_its_reserve_does_not_begin(site: Site) -> None:
    tasks = site.tasklist(["true"])
    farm = site.farm("--memory-reserve", "99999G", tasks)
    farm.succeed(30, code=2)
    assert "--memory-reserve 99,999 GiB: this" in farm.stderr
    assert "Traceback" not in farm.stderr
    assert not Path(f"{tasks}_workdir").exists()


EATER = f'exec {sys.executable} -c \'import time; x = bytearray(b"x") * (170 << 20); open("up_{{}}", "w"); time.sleep(2)\''


def test_the_youngest_task_is_given_back_before_the_kernel_kills_one(site: Site) -> None:
    lines = [EATER.format(i) for i in range(2)]
    tasks = site.tasklist(lines)
    workdir = Path(f"{tasks}_workdir")
    with real_group("memory", {"memory.max": "450M", "memory.limit_in_bytes": "450M", "memory.swap.max": "0"}) as group:
        words = f"{sys.executable} -m taskfarmer_mpi -n 2 --memory-reserve 250M --progress none tasks"
        farm: Process = site.start("bash", "-c", f"echo $$ > {group}/cgroup.procs && exec {words}")
        status = (sys.executable, "-m", "taskfarmer_mpi.ctl", "status", workdir)

        def is_waiting() -> bool:
            said = site.start(*status)
            said.wait(30)
            return "rank 0 starts no task: " in said.stdout

        wait_for(lambda: (site.path / "up_0").exists() or (site.path / "up_1").exists(), deadline=30, what="a task")
        wait_for(is_waiting, deadline=30, what="a farmer that waits")
        farm.succeed(60)
    assert settled(workdir, lines).failed == []
    (history,) = read_histories(Workdir(workdir))[0]
    causes = [run.cause for run in history.attempts()]
    assert sorted(map(str, causes)) == sorted(map(str, [Cause.MEMORY_SHORT, None, None])), causes
    assert "starts no task: " in farm.stderr
    assert farm.stderr.count("starts no task: ") <= 3
    assert "is given back, as memory is short" in farm.stderr
