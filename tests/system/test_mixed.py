"""Farmers of every kind work through one list at the same time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers import Site, Stopwatch, Witness, settled, slices, wait_for

TASKS = 2000
DEADLINE = 120


def _environ(site: Site, variable: str) -> dict[str, str]:
    if variable == "none":
        return site.environ()
    folder = site.path / "locks"
    folder.mkdir()
    return site.environ(**{variable: str(folder)})


@pytest.mark.parametrize("variable", ["SCRATCH", "none", "TMPDIR", "TMP"])
def test_ranks_plain_farmers_and_pytaskfarmer_finish_one_list(
    variable: str, site: Site, witness: Witness, pytaskfarmer: Path
) -> None:
    environ = _environ(site, variable)
    tasks = witness.tasks(TASKS if variable != "TMP" else 400, 0.015)
    tasklist = site.tasklist(tasks)
    workdir = site.path / "tasks_workdir"
    watch = Stopwatch()
    old = [site.plain_0_1_0(pytaskfarmer, "-n", "1", tasklist, environ=environ) for _ in range(2)]
    for process in old:
        wait_for(lambda process=process: "Executing task" in process.stdout, deadline=30, what="PyTaskFarmer starts a task")  # type: ignore[misc]
    plain = site.farm("-n", "1", tasklist, environ=environ)
    job = site.farm("-n", "1", tasklist, ranks=3, environ=environ)
    for process in (plain, job, *old):
        process.succeed(DEADLINE)
    print(f"{variable}: {len(tasks)} tasks in {watch.read():.0f} s")

    # the runs themselves
    runs = witness.once_each(len(tasks))
    assert settled(workdir, tasks).failed == []
    workers = Counter(run.farmer for run in runs.values())
    assert workers.pop("-", 0) > 0, "PyTaskFarmer ran nothing"
    assert plain.pid in {_pid(name) for name in workers}
    assert len(workers) == 4, f"a rank ran nothing: {workers}"
    for process in old:
        assert "Completed task" in process.stdout
        assert "Traceback" not in process.stderr, process.stderr

    # what the timeline says about them
    counts = Counter(_task_of(event) for event in slices(workdir))
    assert counts == Counter(range(len(tasks)))


def _pid(farmer: str) -> int:
    return int(farmer.split("-")[-2])


def _task_of(event: dict[str, Any]) -> int:
    """Return the task of a slice: ours has its ID, PyTaskFarmer's the command."""
    args = event["args"]
    return int(args["task"]) if "task" in args else int(event["name"].split()[2])


def test_farmers_that_start_and_leave_together_all_succeed(site: Site) -> None:
    tasks = [f"true {i}" for i in range(60)]
    for number in range(8):
        tasklist = site.tasklist(tasks, f"tasks{number}")
        for farmer in [site.farm("-n", "2", tasklist) for _ in range(6)]:
            farmer.succeed(60)
        workdir = Path(f"{tasklist}_workdir")
        assert settled(workdir, tasks).failed == []
        assert Counter(map(_task_of, slices(workdir))) == Counter(range(60))
