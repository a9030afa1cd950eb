"""Farmers die by SIGKILL at any moment: nothing is lost, nothing is recorded twice, nothing runs twice at once."""

from __future__ import annotations

import os
import random
import shutil
import signal
import stat
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from helpers import (
    MPIEXEC,
    ROOT,
    Process,
    Site,
    Stopwatch,
    Witness,
    accounted,
    command_of,
    is_alive,
    processes_with,
    settled,
    wait_for,
)

KILLS = 50
TASKS = 3000
RANKS, SLOTS = 2, 2
SEED = int(os.environ.get("TEST_SEED", "20240527"))


class _Killer:
    """Starts farmers and kills them, each at a random moment of its life."""

    def __init__(self, site: Site, tasklist: Path, seed: int) -> None:
        self._site = site
        self._tasklist = tasklist
        self._random = random.Random(seed)
        self.farmers: set[int] = set()
        """Every farmer that was killed, by us or by mpiexec because we killed another one."""

    def kill_one_rank(self) -> None:
        job = self._site.farm("-n", str(SLOTS), self._tasklist, ranks=RANKS)
        self._wait_for_farmers(job, self._random.randint(1, RANKS))
        self._let_it_work()
        ranks = job.farmers()
        self._kill([self._random.choice(ranks)])
        with suppress(AssertionError):
            job.wait(1)
        self._kill_rest(job)
        job.wait(30)

    def kill_all_ranks(self) -> None:
        job = self._site.farm("-n", str(SLOTS), self._tasklist, ranks=RANKS)
        self._wait_for_farmers(job, RANKS)
        self._let_it_work()
        self._kill(job.farmers())
        job.wait(30)

    def kill_plain_farmer(self) -> None:
        farmer = self._site.farm("-n", str(SLOTS), self._tasklist)
        self._wait_for_farmers(farmer, 1)
        self._let_it_work()
        self._kill([farmer.pid])
        farmer.wait(30)

    def kill_any(self) -> None:
        self._random.choice((self.kill_one_rank, self.kill_all_ranks, self.kill_plain_farmer))()

    def _wait_for_farmers(self, job: Process, count: int) -> None:
        self.farmers.update(wait_for(lambda: _at_least(job.farmers(), count), deadline=30, what=f"{count} farmers"))

    def _let_it_work(self) -> None:
        """Let time go by: any moment is as good as another one."""
        time.sleep(self._random.choice((self._random.uniform(0.0, 0.3), self._random.uniform(0.3, 1.2))))

    def _kill_rest(self, job: Process) -> None:
        """Kill the ranks that live on: since they have left MPI, mpiexec kills them at once only now and then."""
        while job.is_running() and (ranks := job.farmers()):
            self._kill(ranks)

    def _kill(self, pids: list[int]) -> None:
        assert pids, "the farmers left before they were killed: the list is too short"
        self.farmers.update(pids)
        for pid in pids:
            with suppress(ProcessLookupError):  # mpiexec was quicker
                os.kill(pid, signal.SIGKILL)


def _at_least(found: list[int], count: int) -> list[int]:
    return found if len(found) >= count else []


def test_fifty_kills_lose_nothing_and_repeat_only_what_was_in_flight(site: Site, witness: Witness) -> None:
    tasks = witness.tasks(TASKS, 0.04)
    tasklist = site.tasklist(tasks)
    workdir = site.path / "tasks_workdir"
    watch = Stopwatch()
    survivor = site.farm("-n", "1", tasklist)
    killer = _Killer(site, tasklist, seed=SEED)
    for _ in range(KILLS):
        killer.kill_any()
        assert survivor.is_running(), survivor.said()
    killed_after = watch.read()
    assert (workdir / "toprocess").stat().st_size > 0, "the list was done before the last kill"
    last = site.farm("-n", "8", tasklist)
    last.succeed(120)
    survivor.succeed(60)

    lists = settled(workdir, tasks)
    runs = witness.runs()
    reruns = {task_id: of_task[:-1] for task_id, of_task in runs.items() if len(of_task) > 1}
    print(
        f"{KILLS} kills of {len(killer.farmers)} farmers in {killed_after:.0f} of {watch.read():.0f} s, {len(reruns)} reruns"
    )
    assert lists.failed == []
    assert witness.overlaps() == []
    assert sorted(runs) == list(range(TASKS))
    assert all(of_task[-1].end is not None for of_task in runs.values())
    repeated = Counter(run.farmer for of_task in reruns.values() for run in of_task)
    assert {run.farmer_pid for of_task in reruns.values() for run in of_task} <= killer.farmers
    assert all(count <= SLOTS for count in repeated.values()), repeated


def test_kills_beside_a_pytaskfarmer_lose_nothing(site: Site, witness: Witness, pytaskfarmer: Path) -> None:
    tasks = witness.tasks(900, 0.03)
    tasklist = site.tasklist(tasks)
    workdir = site.path / "tasks_workdir"
    old = site.plain_0_1_0(pytaskfarmer, "-n", "1", tasklist)
    wait_for(lambda: "Executing task" in old.stdout, deadline=30, what="PyTaskFarmer starts a task")
    killer = _Killer(site, tasklist, seed=SEED)
    for _ in range(15):
        killer.kill_any()
    assert old.is_running(), old.said()
    site.farm("-n", "4", tasklist).wait(120)  # PyTaskFarmer may have the last task still
    old.succeed(120)
    site.farm("-n", "4", tasklist).succeed(60)

    assert settled(workdir, tasks).failed == []
    assert "Traceback" not in old.stderr
    runs = witness.runs()
    assert sorted(runs) == list(range(900))
    assert witness.overlaps() == []
    repeated = Counter(run.farmer for of_task in runs.values() for run in of_task[:-1])
    assert "-" not in repeated, "a task that PyTaskFarmer ran was run again"
    assert all(count <= SLOTS for count in repeated.values()), repeated
    assert {run.farmer_pid for of_task in runs.values() for run in of_task[:-1]} <= killer.farmers


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_ranks_that_survive_another_one_leave_by_themselves(victim: int, site: Site, witness: Witness) -> None:
    """Without its cleanup, mpiexec does not kill the others but sends them SIGUSR1."""
    if "HYDRA" not in subprocess.run([MPIEXEC, "--version"], check=True, capture_output=True, text=True).stdout:
        pytest.skip("only MPICH's mpiexec can leave out its cleanup")
    tasks = witness.tasks(600, 0.05)
    tasklist = site.tasklist(tasks)
    launcher = (MPIEXEC, "-disable-auto-cleanup", "-n", "3")
    job = site.start(*launcher, "python", "-m", "taskfarmer_mpi", "-n", str(SLOTS), tasklist)
    wait_for(lambda: len(witness.runs()) > 60, deadline=60, what="some tasks have run")
    ranks = sorted(job.farmers())
    assert len(ranks) == 3
    os.kill(ranks[victim], signal.SIGKILL)
    watch = Stopwatch()
    job.wait(30)
    print(f"all had left {watch.read():.2f} s after the death of a rank")
    assert "Traceback" not in job.stderr
    wait_for(lambda: not site.leftovers(), deadline=20, what="all have left")
    site.farm("-n", "8", tasklist).succeed(60)
    assert settled(site.path / "tasks_workdir", tasks).failed == []
    assert witness.overlaps() == []
    reruns = sum(len(runs) - 1 for runs in witness.runs().values())
    assert reruns <= 3 * SLOTS


_DAEMON = """\
import os, sys, time
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
for fd in range(3, 64):
    if sys.argv[2] == "closing":
        try:
            os.close(fd)
        except OSError:
            pass
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(1000)
"""


def _family_task(folder: Path, name: str) -> str:
    """Return a task with children that leave its session, its process group, or clear their environment."""
    script = folder / f"family_{name}"
    daemon = folder / "daemon.py"
    daemon.write_text(_DAEMON)
    pid = folder / "pids" / name
    pid.parent.mkdir(exist_ok=True)
    script.write_text(
        f"""#!/bin/bash
python {daemon} {pid}.daemon keeping
python {daemon} {pid}.closing closing
env -i /usr/bin/python3 {daemon} {pid}.cleared keeping || env -i $(command -v python) {daemon} {pid}.cleared keeping
setsid bash -c 'echo $$ >{pid}.session; sleep 1000' &
trap '' TERM INT HUP USR1
echo $$ >{pid}.task
sleep 1000
"""
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


def _family(folder: Path, count: int) -> list[int]:
    paths = [path for path in (folder / "pids").glob("*") if path.read_text().strip()]
    return [int(path.read_text()) for path in paths] if len(paths) == count else []


@pytest.mark.parametrize("ranks", [0, 2], ids=["plain", "two_ranks"])
def test_all_processes_of_tasks_die_with_their_farmer(site: Site, ranks: int) -> None:
    tasks = [_family_task(site.path, f"task{i}") for i in range(2)]
    job = site.farm("-n", "2" if ranks == 0 else "1", site.tasklist(tasks), ranks=ranks)
    family = wait_for(lambda: _family(site.path, 10), deadline=30, what="all processes of both tasks")
    assert all(map(is_alive, family))
    for pid in job.farmers():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    watch = Stopwatch()
    wait_for(lambda: not any(map(is_alive, family)), deadline=20, what=f"death of {[*map(command_of, family)]}")
    took = watch.read()
    print(f"{len(family)} processes were dead {took:.2f} s after their farmers")
    assert took < 5.0
    job.wait(20)
    wait_for(lambda: not site.leftovers(), deadline=10, what="guardians leave, too")


def _guardians(job: Process) -> list[int]:
    return [pid for pid in processes_with(job.launch) if any(word.endswith("guardian.py") for word in command_of(pid))]


def _signal_all(pids: list[int], number: int) -> None:
    for pid in pids:
        os.kill(pid, number)


def test_a_task_is_not_run_again_while_a_process_of_it_lives(site: Site, witness: Witness) -> None:
    tasks = [witness.task(0, 1000), *(witness.task(i, 0.01) for i in range(1, 40))]
    tasklist = site.tasklist(tasks)
    farmer = site.farm("-n", "1", tasklist)
    first = wait_for(lambda: witness.runs().get(0, []), deadline=20, what="the long task starts")[0]
    guardians = wait_for(lambda: _guardians(farmer), deadline=20, what="the guardian")
    _signal_all([farmer.pid], signal.SIGSTOP)  # it would start another guardian
    _signal_all([*guardians, farmer.pid], signal.SIGKILL)
    farmer.wait(10)
    assert is_alive(first.pid)

    heir = site.farm("-v", "-n", "1", tasklist)
    finished = site.path / "tasks_workdir" / "finished"
    wait_for(lambda: finished.exists() and finished.read_bytes().count(b"\n") == 39, deadline=20, what="all other tasks end")
    _hold(lambda: is_alive(first.pid) and heir.is_running() and len(witness.runs()[0]) == 1, seconds=3)
    _signal_all([first.pid, *_children(first.pid)], signal.SIGKILL)
    second = wait_for(lambda: witness.runs()[0][1:], deadline=20, what="the long task starts again")[0]
    sleep = wait_for(lambda: _children(second.pid), deadline=20, what="the long task's sleep")
    _signal_all(sleep, signal.SIGKILL)  # the witness itself ends as usual
    heir.succeed(20)
    assert settled(site.path / "tasks_workdir", tasks).failed == []
    assert witness.overlaps() == []


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _hold(claim: Callable[[], bool], *, seconds: float) -> None:
    """Fail as soon as a claim is not true; it has to be for some time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert claim()
        time.sleep(0.02)


def test_a_guardian_that_is_killed_is_replaced(site: Site, witness: Witness) -> None:
    tasks = witness.tasks(60, 0.1)
    farmer = site.farm("-n", "1", site.tasklist(tasks))
    old = wait_for(lambda: _guardians(farmer), deadline=20, what="the guardian")
    _signal_all(old, signal.SIGKILL)
    wait_for(lambda: set(_guardians(farmer)) - set(old), deadline=20, what="another guardian")
    assert farmer.is_running()
    farmer.succeed(60)
    witness.once_each(60)
    settled(site.path / "tasks_workdir", tasks)


@pytest.mark.parametrize("part", ["", "lives", "lives/guardian.py"])
def test_a_guardian_that_cannot_be_replaced_as_its_package_is_gone_is_explained_and_what_runs_ends(
    part: str, site: Site, witness: Witness
) -> None:
    package = site.path / "library" / "taskfarmer_mpi"
    shutil.copytree(ROOT / "taskfarmer_mpi", package)
    tasks = [witness.task(0, 3.0), *witness.tasks(40, 0.1)[1:]]
    farmer = site.farm("-n", "2", site.tasklist(tasks), environ=site.environ(PYTHONPATH=str(package.parent)))
    old = wait_for(lambda: _guardians(farmer), deadline=20, what="the guardian")
    wait_for(lambda: 0 in witness.runs(), deadline=20, what="the long task starts")
    (package / part).rename(site.path / "removed")
    _signal_all(old, signal.SIGKILL)
    wait_for(lambda: "no task is started" in farmer.stderr, deadline=20, what="the reason is told")
    assert f"{package}/lives/guardian.py is gone (was the package removed or replaced?)" in farmer.stderr
    assert farmer.stderr.count("is gone") == 1
    (site.path / "removed").rename(package / part)
    farmer.succeed(60)
    witness.once_each(40)
    settled(site.path / "tasks_workdir", tasks)


def test_guardians_that_cannot_live_are_explained_by_their_last_words(site: Site, witness: Witness) -> None:
    """As where the standard library of Python was exchanged under the farmer."""
    package = site.path / "library" / "taskfarmer_mpi"
    shutil.copytree(ROOT / "taskfarmer_mpi", package)
    farmer = site.farm(
        "-n", "2", site.tasklist(witness.tasks(100, 0.1)), environ=site.environ(PYTHONPATH=str(package.parent))
    )
    old = wait_for(lambda: _guardians(farmer), deadline=20, what="the guardian")
    (package / "lives" / "guardian.py").write_text("import no_such_part\n")
    _signal_all(old, signal.SIGKILL)
    farmer.succeed(60, code=75)
    assert "dies again and again: ModuleNotFoundError: No module named 'no_such_part'" in farmer.stderr
    assert "Traceback" not in farmer.stderr


def test_a_farmer_that_was_stopped_and_declared_dead_records_nothing_twice(site: Site, witness: Witness) -> None:
    """A frozen farmer keeps its locks, so others wait for it; it goes on where it was."""
    tasks = witness.tasks(30, 0.2)
    tasklist = site.tasklist(tasks)
    frozen = site.farm("-n", "2", tasklist)
    wait_for(lambda: len(witness.runs()) >= 2, deadline=20, what="both slots are busy")
    _signal_all([frozen.pid], signal.SIGSTOP)
    other = site.farm("-n", "4", "--lock-timeout", "2", tasklist)
    code = other.wait(60)
    _signal_all([frozen.pid], signal.SIGCONT)
    frozen.succeed(60)
    assert code in (0, 2, 75)  # 2 and 75: it froze with the lock in its hands
    witness.once_each(30)
    lists = accounted(site.path / "tasks_workdir", tasks)
    assert lists.toprocess == lists.failed == []
