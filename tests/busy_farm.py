"""A work directory with a bit of everything: five ranks, two PyTaskFarmers, failures, a stop, a death, a retry."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from helpers import Process, Site, wait_for

RANKS, SLOTS, DEADLINE = 5, 3, 90

_PROGRAM = """\
#!/bin/bash
# Lasts as long as its arguments say; some runs fail until there is a file `mended`.
seed=${*: -1}
echo "$0 $*"
sleep "0.$((RANDOM % 3 + 1))$((RANDOM % 10))"
[ -e mended ] && exit 0
[ $((seed % 23)) -eq 5 ] && exit 3
[ $((seed % 61)) -eq 7 ] && kill -SEGV $$
exit 0
"""
_PROGRAMS = (
    ("simulate", "--events 5000 --seed"),
    ("reconstruct", "--geometry run4 --seed"),
    ("fit", "--model crystal-ball --seed"),
)


@dataclass(frozen=True, slots=True)
class BusyFarm:
    """What was done."""

    workdir: Path
    tasks: list[str]
    farmers: int
    """How many farmers of ours there were."""
    slots: int
    """How many slots they had, all together."""
    plain_runs: int
    """How many runs PyTaskFarmer says it made."""


def fill(site: Site, pytaskfarmer: Path, count: int = 240) -> BusyFarm:
    """Run a tasklist with farmers of all kinds, in a directory of its own."""
    for program, _ in _PROGRAMS:
        (site.path / program).write_text(_PROGRAM)
        (site.path / program).chmod(0o755)
    tasks = [f"./{program} {options} {seed}" for seed in range(count) for program, options in [_PROGRAMS[seed % 3]]]
    tasklist = site.tasklist(tasks)
    workdir = Path(f"{tasklist}_workdir")
    finished = workdir / "finished"

    job = site.farm("-n", str(SLOTS), tasklist, ranks=RANKS)
    _wait_until(lambda: _count(finished) >= count // 12, "the ranks finish tasks")
    plain = [site.plain_0_1_0(pytaskfarmer, "-n", "2", tasklist) for _ in range(2)]
    victim = site.farm("-n", "2", tasklist)
    _wait_until(lambda: all("Completed task" in process.stdout for process in plain), "both PyTaskFarmers ran a task")
    _wait_until(lambda: _runs_of(workdir, victim) >= 2, "a plain farmer runs tasks")
    victim.kill()
    _wait_until(lambda: _count(finished) >= count // 2, "half of the tasks are finished")
    job.kill(signal.SIGUSR1)
    job.succeed(DEADLINE, code=75)
    site.farm("-n", str(SLOTS), tasklist, ranks=RANKS).succeed(DEADLINE, code=1)
    for process in plain:
        process.succeed(DEADLINE)
    (site.path / "mended").touch()
    site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", "retry", workdir).succeed(DEADLINE)
    site.farm("-n", "2", tasklist).succeed(DEADLINE)
    return BusyFarm(
        workdir=workdir,
        tasks=tasks,
        farmers=2 * RANKS + 2,
        slots=2 * RANKS * SLOTS + 2 * 2,
        plain_runs=sum(process.stdout.count("Completed task") for process in plain),
    )


def dies_by_signal(task: int) -> bool:
    """Whether a task kills itself, as long as nothing is mended."""
    return task % 61 == 7


def _wait_until(look: Callable[[], bool], what: str) -> None:
    wait_for(look, deadline=DEADLINE, what=what)


def _count(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _runs_of(workdir: Path, process: Process) -> int:
    return sum(path.read_bytes().count(b'"ev":"begin"') for path in (workdir / "farmers").glob(f"*-{process.pid}-*"))
