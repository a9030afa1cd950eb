"""Real farms whose tasks are of different sizes."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from helpers import Site, accounted, settled, wait_for

from taskfarmer_mpi.history.runs import FarmerHistory, read_histories
from taskfarmer_mpi.workdir.files import Workdir

CPUS = sorted(os.sched_getaffinity(0))
SHOW = "echo CPUS=$TASKFARMER_CPUS OMP=$OMP_NUM_THREADS MEMORY=$TASKFARMER_MEMORY GPUS=$CUDA_VISIBLE_DEVICES"


def most_at_once(history: FarmerHistory, sizes: Mapping[int, int]) -> int:
    """Return how much the tasks that ran at the same time took together at most, on one farmer."""
    moments: list[tuple[float, int]] = []
    for run in history.attempts():
        end = run.end if run.end is not None else history.last_moment()
        moments += [(run.begin, sizes.get(run.task_id, 1)), (end, -sizes.get(run.task_id, 1))]
    taken = most = 0
    for _, step in sorted(moments):
        taken += step
        most = max(most, taken)
    return most


def histories(workdir: Path) -> list[FarmerHistory]:
    return read_histories(Workdir(workdir))[0]


def begins(workdir: Path) -> list[int]:
    """Return the tasks in the order in which they began."""
    runs = [(run.begin, run.task_id) for history in histories(workdir) for run in history.attempts()]
    return [task for _, task in sorted(runs)]


def finished(workdir: Path) -> int:
    path = workdir / "finished"
    return len(path.read_text().splitlines()) if path.exists() else 0


def log(workdir: Path, task: int) -> str:
    return (workdir / "logs" / f"log_{task}").read_text()


def ctl(site: Site, *words: str | Path, code: int = 0) -> str:
    process = site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", *words)
    process.succeed(30, code=code)
    return process.stdout


def test_farmers_run_no_more_than_they_have_slots_for(site: Site) -> None:
    pattern = [1, 2, 1, 3, 1, 1, 2, 4]
    sizes = {task: pattern[task % 8] for task in range(32)}
    commands = [f"{SHOW}; sleep 0.1"] * 32
    lines = [line for task in range(32) for line in (f"#TF cpus={sizes[task]}", commands[task])]
    tasks = site.tasklist(lines)
    workdir = Path(f"{tasks}_workdir")
    first = site.farm("-n", "4", "--progress", "none", tasks)
    wait_for((workdir / "finished").exists, deadline=60, what="a farm")
    second = site.farm("-n", "4", "--progress", "none", "--workdir", workdir)
    first.succeed(90)
    second.succeed(90)
    assert len(settled(workdir, commands).finished) == 32
    assert [max(most_at_once(history, sizes), 4) for history in histories(workdir)] == [4, 4]
    assert all(f"CPUS={sizes[task]} OMP={sizes[task]} MEMORY= " in log(workdir, task) for task in range(32))


def test_a_large_task_is_not_kept_waiting_by_small_ones_that_come_after_it(site: Site) -> None:
    small = "sleep 0.2"
    commands = ["sleep 0.1", "sleep 0.3", "echo large", *[small] * 30]
    tasks = site.tasklist([*commands[:2], "#TF cpus=2", commands[2], "#TF", *commands[3:]])
    site.farm("-n", "2", "--progress", "none", tasks).succeed(90)
    workdir = Path(f"{tasks}_workdir")
    settled(workdir, commands)
    assert begins(workdir).index(2) <= 4


def test_ranks_of_a_job_run_tasks_of_all_sizes(site: Site) -> None:
    sizes = {task: 2 if task % 5 == 0 else 1 for task in range(40)}
    commands = ["sleep 0.1"] * 40
    lines = [line for task in range(40) for line in ("#TF" if sizes[task] == 1 else "#TF cpus=2", commands[task])]
    tasks = site.tasklist(lines)
    workdir = Path(f"{tasks}_workdir")
    site.farm("-n", "2", "--progress", "none", tasks, ranks=5).succeed(120)
    assert len(settled(workdir, commands).finished) == 40
    assert len(histories(workdir)) == 5
    assert all(most_at_once(history, sizes) <= 2 for history in histories(workdir))


def test_sizes_survive_a_kill_in_the_middle_also_the_room_that_is_kept(site: Site) -> None:
    up = "echo >> up; while [ ! -e go ]; do sleep 0.05; done"
    commands = [up, up, "echo large", *["sleep 0.05"] * 10, "while [ ! -e go ]; do sleep 0.05; done"]
    tasks = site.tasklist([*commands[:2], "#TF cpus=2", commands[2], "#TF", *commands[3:]])
    workdir = Path(f"{tasks}_workdir")
    first = site.farm("-n", "2", "--progress", "none", tasks)
    wait_for(lambda: (site.path / "up").exists() and len((site.path / "up").read_text()) == 2, deadline=60, what="two tasks")
    second = site.farm("-n", "2", "--progress", "none", "--workdir", workdir)
    wait_for(lambda: finished(workdir) == 11, deadline=60, what="all that fits")
    first.kill(signal.SIGKILL)
    (site.path / "go").touch()
    first.wait(20)
    second.succeed(90)
    assert len(settled(workdir, commands).finished) == 14
    assert all(most_at_once(history, {2: 2}) <= 2 for history in histories(workdir))


def test_a_rank_that_is_killed_leaves_its_tasks_to_the_others(site: Site) -> None:
    commands = ["sleep 0.3"] * 30
    tasks = site.tasklist(["#TF cpus=2", *commands[:15], "#TF", *commands[15:]])
    workdir = Path(f"{tasks}_workdir")
    farms = [site.farm("-n", "2", "--progress", "none", tasks)]
    wait_for((workdir / "finished").exists, deadline=60, what="a farm")
    farms += [site.farm("-n", "3", "--progress", "none", "--workdir", workdir) for _ in range(2)]
    wait_for(lambda: finished(workdir) > 5, deadline=60, what="some tasks")
    farms[0].kill(signal.SIGKILL)
    for farm in farms[1:]:
        farm.succeed(90)
    assert len(settled(workdir, commands).finished) == 30


def test_a_directive_without_tasks_takes_no_gpus_from_the_slots(site: Site) -> None:
    command = f"{SHOW}; for i in $(seq 600); do [ $(ls begun.* | wc -l) = 2 ] && break; sleep 0.1; done"
    tasks = site.tasklist([f": > begun.{name}; {command}" for name in "ab"] + ["#TF gpus=1"])
    environ = site.environ(CUDA_VISIBLE_DEVICES="0,1")
    site.farm("-n", "2", "--gpus", "2", "--progress", "none", tasks, environ=environ).succeed(90)
    workdir = Path(f"{tasks}_workdir")
    assert sorted(log(workdir, task).split("GPUS=")[1].strip() for task in range(2)) == ["0", "1"]


def test_tasks_get_as_many_gpus_as_they_want_and_none_that_others_have(site: Site) -> None:
    want = {0: 2, 1: 1, 2: 1, 3: 3, 4: 0}
    commands = [f"{SHOW}; sleep 0.2"] * 5
    lines = [line for task in want for line in (f"#TF gpus={want[task]}", commands[task])]
    tasks = site.tasklist(lines)
    workdir = Path(f"{tasks}_workdir")
    environ = site.environ(CUDA_VISIBLE_DEVICES="4,5,6")
    site.farm("-n", "4", "--gpus", "auto", "--progress", "none", tasks, environ=environ).succeed(60)
    seen = [log(workdir, task).split("GPUS=")[1].strip().split(",") for task in want]
    assert [len(names) for names in seen[:4]] == [2, 1, 1, 3]
    assert set(seen[0] + seen[1] + seen[2] + seen[3]) == {"4", "5", "6"}
    assert seen[4] == ["-1"]
    (history,) = histories(workdir)
    assert most_at_once(history, want) <= 3
    runs = {run.task_id: run for run in history.attempts()}
    for one in range(4):
        for other in range(one):
            first, last = sorted((runs[one], runs[other]), key=lambda run: run.begin)
            assert first.end is not None
            assert first.end <= last.begin or not set(seen[one]) & set(seen[other])


def test_memory_is_shared_out_to_tasks(site: Site) -> None:
    commands = [f"{SHOW}; sleep 0.2"] * 4
    found = site.farm("-n", "4", "-w", "other", site.tasklist(["#TF mem=900T", "true"], name="huge"))
    found.succeed(30, code=2)
    match = re.search(r"wants mem=900T, and a farmer here has 4 slots, ([\d.]+) ([MGT])iB of memory", found.stderr)
    assert match is not None, found.stderr
    mib = int(float(match[1]) * {"M": 1, "G": 1024, "T": 1024 * 1024}[match[2]])
    tasks = site.tasklist([f"#TF mem={mib * 6 // 10}M", *commands])
    workdir = Path(f"{tasks}_workdir")
    site.farm("-n", "4", "--progress", "none", tasks).succeed(60)
    (history,) = histories(workdir)
    assert most_at_once(history, {}) == 1
    assert f"MEMORY={mib * 6 // 10} " in log(workdir, 3)


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
def test_a_pinned_task_runs_on_the_cores_of_all_of_its_slots(site: Site) -> None:
    pins = "taskset -pc $$ | sed 's/.*list: //'"
    tasks = site.tasklist(["#TF cpus=2", pins, "#TF cpus=1", pins, pins])
    workdir = Path(f"{tasks}_workdir")
    site.farm("--pin", "-n", "2", "--progress", "none", tasks).succeed(60)
    assert len(re.split("[,-]", log(workdir, 0).strip())) == 2
    assert len(CPUS) > 2 or {log(workdir, 1).strip(), log(workdir, 2).strip()} <= set(map(str, CPUS))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("cpus=3", "task 1 wants cpus=3, and a farmer here has 2 slots for its tasks"),
        ("gpus=1", ":2: #TF gpus=1: --gpus says which there are, like --gpus auto"),
        ("cpus=0", ":2: #TF cpus: '0' is not a number of CPUs: 1 or more; allowed: timeout=SECONDS"),
        ("mem=big", ":2: #TF mem: 'big' is not an amount of memory"),
        ("gpus=1.5", ":2: #TF gpus: '1.5' is neither a number of GPUs"),
    ],
)
def test_what_can_never_run_is_refused_before_anything_is_touched(site: Site, word: str, said: str) -> None:
    tasks = site.tasklist(["true", f"#TF {word}", "true"])
    farm = site.farm("-n", "2", tasks)
    farm.succeed(30, code=2)
    assert said in farm.stderr
    assert len(farm.stderr.splitlines()) == 1
    assert not Path(f"{tasks}_workdir").exists()


@pytest.mark.parametrize(
    ("options", "word"),
    [(("-n", "auto"), "cpus=9999"), (("--pin",), "cpus=9999"), (("--gpus", "auto"), "gpus=3"), ((), "mem=900T")],
    ids=["auto", "pin", "gpus", "default"],
)
def test_what_is_too_large_for_slots_that_are_found_touches_nothing_either(
    site: Site, options: tuple[str, ...], word: str
) -> None:
    tasks = site.tasklist(["true", f"#TF {word}", "true"])
    farm = site.farm(*options, tasks, environ=site.environ(CUDA_VISIBLE_DEVICES="0,1"))
    farm.succeed(30, code=2)
    (line,) = farm.stderr.splitlines()
    assert f"task 1 wants {word}" in line
    assert not Path(f"{tasks}_workdir").exists()


def test_a_farm_that_stays_waits_beside_a_task_that_is_too_large_for_it(site: Site) -> None:
    tasks = site.tasklist(["echo begun"])
    workdir = Path(f"{tasks}_workdir")
    farm = site.farm("-n", "2", "--stay", "--progress", "none", tasks)
    wait_for((workdir / "finished").exists, deadline=60, what="the first task")
    (site.path / "large").write_text("#TF cpus=9\necho large\n")
    ctl(site, "add", workdir, "-f", "large")
    wait_for(lambda: "task 1 wants cpus=9" in farm.stderr, deadline=60, what="a word about it")
    ctl(site, "add", workdir, "echo small")
    wait_for(lambda: len((workdir / "finished").read_text().splitlines()) == 2, deadline=60, what="the small one")
    assert farm.is_running()
    ctl(site, "stop", workdir)
    farm.succeed(60, code=75)


def test_no_rank_begins_where_none_has_enough(site: Site) -> None:
    tasks = site.tasklist(["touch begun", "#TF cpus=3", "true"])
    farm = site.farm("-n", "2", "--progress", "none", tasks, ranks=2)
    assert farm.wait(60) != 0
    assert "task 1 wants cpus=3, and a farmer here has 2 slots for its tasks" in farm.stderr
    assert not (site.path / "begun").exists()


def test_a_farmer_that_is_too_small_waits_for_one_that_is_not_and_says_so(site: Site) -> None:
    up = "touch up; while [ ! -e go ]; do sleep 0.05; done"
    commands = [up, "echo large", "echo small"]
    tasks = site.tasklist([commands[0], "#TF cpus=2", commands[1], "#TF", commands[2]])
    workdir = Path(f"{tasks}_workdir")
    first = site.farm("-n", "2", "--progress", "none", tasks)
    wait_for((site.path / "up").exists, deadline=60, what="a task")
    second = site.farm("-n", "1", "--progress", "none", "--workdir", workdir)
    said = "task 1 wants cpus=2, and this farmer has 1 slot for its tasks"
    wait_for(lambda: said in second.stderr, deadline=60, what="a farmer that waits")
    assert "starts no task: task 1 wants cpus=2" in ctl(site, "status", workdir)
    assert second.is_running()
    (site.path / "go").touch()
    first.succeed(60)
    second.succeed(60)
    assert len(settled(workdir, commands).finished) == 3


def test_a_farmer_that_is_too_small_ends_where_no_other_is_left(site: Site) -> None:
    up = "touch up; while [ ! -e go ]; do sleep 0.05; done"
    commands = [up, "echo large"]
    tasks = site.tasklist([commands[0], "#TF cpus=2", commands[1]])
    workdir = Path(f"{tasks}_workdir")
    first = site.farm("-n", "2", "--progress", "none", tasks)
    wait_for((site.path / "up").exists, deadline=60, what="a task")
    second = site.farm("-n", "1", "--progress", "none", "--workdir", workdir)
    wait_for(lambda: "task 1 wants cpus=2" in second.stderr, deadline=60, what="a farmer that waits")
    (site.path / "go").touch()
    first.kill(signal.SIGKILL)
    first.wait(20)
    second.succeed(90, code=75)
    assert accounted(workdir, commands).toprocess == [1]
    refused = site.farm("-n", "1", "--progress", "none", "--workdir", workdir)
    refused.succeed(30, code=2)
    assert "task 1 wants cpus=2, and a farmer here has 1 slot" in refused.stderr
    site.farm("-n", "2", "--progress", "none", "--workdir", workdir).succeed(60)
    settled(workdir, commands)


def test_tasks_that_are_added_bring_their_sizes(site: Site) -> None:
    up = "touch up; while [ ! -e go ]; do sleep 0.05; done"
    tasks = site.tasklist([up])
    workdir = Path(f"{tasks}_workdir")
    farm = site.farm("-n", "2", "--progress", "none", tasks)
    wait_for((site.path / "up").exists, deadline=60, what="a task")
    more = site.tasklist(["#TF cpus=2", f"{SHOW}; ls go"], name="more")
    assert "added 1 task: 1" in ctl(site, "add", workdir, "-f", more)
    wait_for(lambda: "task 1 waits for cpus=2" in ctl(site, "status", workdir), deadline=60, what="a farmer that waits")
    (site.path / "go").touch()
    farm.succeed(60)
    assert "CPUS=2" in log(workdir, 1)
    bad = site.start(
        sys.executable, "-m", "taskfarmer_mpi.ctl", "add", workdir, "-f", site.tasklist(["#TF gpus=1", "x"], "bad")
    )
    bad.succeed(30, code=2)
    assert "#TF gpus=1: --gpus says which there are" in bad.stderr


def test_check_says_what_is_too_large_here(site: Site) -> None:
    tasks = site.tasklist(["true", "#TF cpus=3", "true"])
    assert "too large:      task 1 wants cpus=3, and a farmer here has 2 slots" in ctl(
        site, "check", "-n", "2", tasks, code=1
    )
    assert "too large" not in ctl(site, "check", "-n", "3", tasks)


def test_a_pytaskfarmer_runs_them_as_any_others(site: Site, pytaskfarmer: Path) -> None:
    commands = ["sleep 0.2"] * 8
    tasks = site.tasklist(["#TF cpus=2", *commands])
    workdir = Path(f"{tasks}_workdir")
    old = site.plain_0_1_0(pytaskfarmer, "-n", "2", tasks)
    wait_for(lambda: "Executing task" in old.stdout, deadline=60, what="PyTaskFarmer starts a task")
    farm = site.farm("-n", "2", "--progress", "none", tasks)
    farm.succeed(60)
    old.succeed(60)
    assert len(settled(workdir, commands).finished) == 8
