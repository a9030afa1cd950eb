"""A farm is told to stop: it leaves at once, in order, with nothing running and nothing lost."""

from __future__ import annotations

import os
import random
import signal
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from helpers import Process, Site, Stopwatch, Witness, accounted, is_alive, processes_with, settled, slices, wait_for

RANKS = 3
SLOTS = 2
LIMIT = 2.0
"""How long a farm may take to leave [s]."""
ALLOWANCE = 2.0
"""What a busy machine may add to that [s]."""

_WRAPPER = """\
#!/bin/bash
# Runs one rank and notes its exit code; signals are left to the rank.
trap : USR1 INT TERM
"$@"
code=$?
echo $code >code.${PMI_RANK:-$OMPI_COMM_WORLD_RANK}
exit $code
"""

_DAEMON = """\
import os, sys, time
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(1000)
"""

_FAMILY = """\
#!/bin/bash
# A task that ignores signals and has children outside of its session; once `released` exists it ends at once.
[ -e {released} ] && exit 0
setsid bash -c 'echo $$ >{pids}/$0.session; exec sleep 1000' "$1" &
python {daemon} {pids}/$1.daemon
env -i /bin/bash -c 'echo $$ >{pids}/$0.cleared; exec /bin/sleep 1000' "$1" &
trap '' TERM INT HUP USR1
echo $$ >{pids}/$1.task
sleep 1000
"""


class _Families:
    """Tasks with grandchildren in other sessions; they last until they are killed, or end at once when released."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._pids = folder / "pids"
        self._pids.mkdir()
        self._released = folder / "released"
        daemon = folder / "daemon.py"
        daemon.write_text(_DAEMON)
        self._script = folder / "family"
        self._script.write_text(_FAMILY.format(released=self._released, pids=self._pids, daemon=daemon))
        self._script.chmod(self._script.stat().st_mode | stat.S_IXUSR)

    def tasks(self, count: int) -> list[str]:
        return [f"{self._script} {i}" for i in range(count)]

    def wait(self, count: int) -> list[int]:
        """Return the processes of `count` running tasks as soon as all of them are there."""
        return wait_for(lambda: self._all(4 * count), deadline=60, what=f"all processes of {count} tasks")

    def _all(self, count: int) -> list[int]:
        texts = [path.read_text().strip() for path in self._pids.iterdir()]
        return [int(text) for text in texts] if len(texts) == count and all(texts) else []

    def release(self) -> None:
        self._released.touch()


@pytest.fixture
def families(tmp_path: Path) -> _Families:
    """Return a maker of tasks with grandchildren."""
    return _Families(tmp_path / "families")


def _wrapper(site: Site) -> str:
    path = site.path / "wrapper"
    path.write_text(_WRAPPER)
    path.chmod(0o755)
    return str(path)


def _codes(site: Site) -> dict[str, str]:
    return {path.suffix[1:]: path.read_text().strip() for path in site.path.glob("code.*")}


def _check_left(job: Process, watch: Stopwatch, family: list[int], what: str) -> None:
    """Check that a farm that was told to stop has left in time with 75, and that its tasks are dead."""
    job.succeed(60, code=75)
    took = watch.read()
    alive = [pid for pid in family if is_alive(pid)]
    print(f"{what}: left after {took:.2f} s")
    assert alive == []
    assert took < LIMIT + ALLOWANCE


def _check_rest(site: Site, families: _Families, tasks: list[str], ranks: int) -> None:
    """Check that every task is on one list and none failed, and that another run completes them."""
    workdir = site.path / "tasks_workdir"
    lists = accounted(workdir, tasks)
    assert lists.failed == []
    assert len(lists.toprocess) == len(tasks)
    families.release()
    site.farm("-n", str(SLOTS), site.path / "tasks", ranks=ranks).succeed(60)
    assert settled(workdir, tasks).failed == []
    finished = [event for event in slices(workdir) if event["args"]["outcome"] == "finished"]
    assert sorted(event["args"]["task"] for event in finished) == list(range(len(tasks)))
    wait_for(lambda: not site.leftovers(), deadline=10, what="everything has left")


@pytest.mark.parametrize("target", ["rank_0", "another_rank", "all_ranks", "launcher"])
def test_usr1_stops_all_ranks(target: str, site: Site, families: _Families) -> None:
    tasks = families.tasks(20)
    job = site.farm("-n", str(SLOTS), site.tasklist(tasks), ranks=RANKS, prefix=_wrapper(site))
    family = families.wait(RANKS * SLOTS)
    watch = Stopwatch()
    for pid in _targets(job, target):
        os.kill(pid, signal.SIGUSR1)
    _check_left(job, watch, family, f"SIGUSR1 to {target}")
    assert _codes(site) == {str(rank): "75" for rank in range(RANKS)}
    _check_rest(site, families, tasks, RANKS)


def _targets(job: Process, target: str) -> list[int]:
    if target == "launcher":
        return [job.pid]
    ranks = {_rank_of(pid): pid for pid in job.farmers()}
    assert sorted(ranks) == list(range(RANKS))
    if target == "all_ranks":
        return list(ranks.values())
    return [ranks[0 if target == "rank_0" else random.Random().randint(1, RANKS - 1)]]


def _rank_of(pid: int) -> int:
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    names = (b"PMI_RANK=", b"OMPI_COMM_WORLD_RANK=")
    return int(next(entry for entry in entries if entry.startswith(names)).partition(b"=")[2])


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGINT", "SIGTERM"])
def test_signals_stop_a_plain_farmer(name: str, site: Site, families: _Families) -> None:
    tasks = families.tasks(10)
    farmer = site.farm("-n", str(SLOTS), site.tasklist(tasks))
    family = families.wait(SLOTS)
    watch = Stopwatch()
    os.kill(farmer.pid, signal.Signals[name])
    _check_left(farmer, watch, family, f"{name} to a plain farmer")
    assert f"stopped early: {name}" in farmer.stdout
    _check_rest(site, families, tasks, 0)


@pytest.mark.parametrize("ranks", [0, RANKS], ids=["plain", "three_ranks"])
def test_timeout_stops_a_farm(ranks: int, site: Site, families: _Families) -> None:
    tasks = families.tasks(20)
    timeout = 6.0
    whole = Stopwatch()
    job = site.farm("--timeout", f"{timeout:g}", "-n", str(SLOTS), site.tasklist(tasks), ranks=ranks)
    wait_for(lambda: "slots, work directory" in job.stderr, deadline=60, what="the farm begins")
    since_begin = Stopwatch()  # what MPI takes to start is not part of the timeout
    family = families.wait(SLOTS * max(ranks, 1))
    job.succeed(60, code=75)
    took = since_begin.read()
    print(f"--timeout {timeout:g}, {ranks} ranks: left after {took:.2f} s")
    assert whole.read() >= timeout
    assert took < timeout + LIMIT + ALLOWANCE
    assert [pid for pid in family if is_alive(pid)] == []
    _check_rest(site, families, tasks, ranks)


@pytest.mark.parametrize("ranks", [0, 2], ids=["plain", "two_ranks"])
def test_short_tasks_that_ended_before_the_stop_stay_recorded(ranks: int, site: Site, witness: Witness) -> None:
    tasks = witness.tasks(2000, 0.02)
    tasklist = site.tasklist(tasks)
    job = site.farm("-n", str(SLOTS), tasklist, ranks=ranks)
    wait_for(lambda: len(witness.runs()) > 60, deadline=60, what="some tasks have run")
    job.kill(signal.SIGUSR1)
    job.succeed(20, code=75)
    lists = accounted(site.path / "tasks_workdir", tasks)
    runs = witness.runs()
    ended = {task_id for task_id, of_task in runs.items() if of_task[-1].end is not None}
    assert lists.failed == []
    assert len(lists.finished) >= 60 - SLOTS * max(ranks, 1)
    assert set(lists.finished) <= ended
    assert len(ended - set(lists.finished)) <= SLOTS * max(ranks, 1), "only what was in flight may be left out"
    site.farm("-n", "8", tasklist).succeed(120)
    settled(site.path / "tasks_workdir", tasks)
    assert witness.overlaps() == []
    assert sum(len(of_task) - 1 for of_task in witness.runs().values()) <= SLOTS * max(ranks, 1)


def test_many_jobs_in_a_row_all_end_with_their_own_code(site: Site) -> None:
    """A rank that takes a leader that has left for dead leaves without MPI's end; mpiexec then kills all."""
    for number in range(12):
        tasklist = site.tasklist([f"sleep 0.{k}" for k in (1, 2, 0, 3, 1)], f"tasks{number}")
        job = site.farm("-n", "1", tasklist, ranks=3)
        job.succeed(60)
        assert "is dead" not in job.stderr


# -- deaths around a shutdown -----------------------------------------------------------------------


def _sleepers(site: Site, seconds: int) -> list[int]:
    found = [pid for pid in processes_with(site.mark) if _is_sleep(pid, seconds)]
    return [pid for pid in found if is_alive(pid)]


def _is_sleep(pid: int, seconds: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\0%d\0" % seconds
    return False


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_task_that_a_scheduler_signals_just_before_its_farmer_is_not_failed(name: str, site: Site) -> None:
    number = signal.Signals[name]
    tasks = ["sleep 4321", "sleep 4321; exit $?", "/bin/bash -c 'sleep 4321; exit $?'", "sleep 4321 | cat"]
    farmer = site.farm("-n", "4", site.tasklist(tasks))
    sleepers = wait_for(lambda: _exactly(4, _sleepers(site, 4321)), deadline=20, what="all tasks sleep")
    for pid in sleepers:
        os.kill(pid, number)
    time.sleep(0.3)  # the farmer sees the deaths, and only then gets its own signal
    assert not (site.path / "tasks_workdir" / "failed").exists()
    farmer.kill(number)
    farmer.succeed(20, code=75)
    lists = accounted(site.path / "tasks_workdir", tasks)
    assert lists.failed == []
    assert set(lists.toprocess) >= {0, 1, 2}  # the last one's exit code is that of `cat`


def _exactly(count: int, found: list[int]) -> list[int]:
    return found if len(found) == count else []


def test_a_task_that_dies_by_a_signal_of_its_own_is_failed(site: Site) -> None:
    tasks = ["kill -KILL $$", "kill -TERM $$", "kill -USR1 $$", "kill -SEGV $$", "exit 137", "true"]
    farmer = site.farm("-n", "2", site.tasklist(tasks))
    farmer.succeed(30, code=1)
    lists = settled(site.path / "tasks_workdir", tasks)
    assert sorted(lists.failed) == [0, 1, 2, 3, 4]
    codes = {event["args"]["task"]: event["args"]["code"] for event in slices(site.path / "tasks_workdir")}
    assert codes == {0: -9, 1: -15, 2: -10, 3: -11, 4: 137, 5: 0}


def test_a_second_signal_changes_nothing(site: Site, families: _Families) -> None:
    tasks = families.tasks(6)
    farmer = site.farm("-n", str(SLOTS), site.tasklist(tasks))
    family = families.wait(SLOTS)
    watch = Stopwatch()
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGUSR1):
        farmer.kill(number)
    _check_left(farmer, watch, family, "four signals")
    _check_rest(site, families, tasks, 0)


def test_a_signal_at_any_moment_of_a_run_loses_nothing(site: Site, witness: Witness) -> None:
    tasks = witness.tasks(1500, 0.02)
    tasklist = site.tasklist(tasks)
    workdir = site.path / "tasks_workdir"
    moments = random.Random(7)
    for _ in range(15):
        farmer = site.farm("-n", "4", tasklist)
        wait_for(lambda farmer=farmer: _handles_signals(farmer.pid), deadline=20, what="the farmer handles signals")  # type: ignore[misc]
        time.sleep(moments.uniform(0.0, 0.6))
        farmer.kill(moments.choice((signal.SIGUSR1, signal.SIGINT, signal.SIGTERM)))
        farmer.succeed(20, code=75)
        if (workdir / "toprocess").exists():
            assert accounted(workdir, tasks).failed == []
    site.farm("-n", "8", tasklist).succeed(120)
    settled(workdir, tasks)
    assert witness.overlaps() == []


def _handles_signals(pid: int) -> bool:
    """Whether a process has a handler of its own for SIGUSR1."""
    return _has_bit(pid, "SigCgt", signal.SIGUSR1)


def _has_bit(pid: int, field: str, number: int) -> bool:
    reader: Callable[[str], bool] = lambda line: line.startswith(f"{field}:")  # noqa: E731
    with suppress(OSError):
        line = next(filter(reader, Path(f"/proc/{pid}/status").read_text().splitlines()))
        return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False
