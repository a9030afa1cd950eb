"""Why a task does not run, and how tasks with a name are called, in all that tells of a farm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes import Hand, make_farm, take_tasks
from helpers import Site, wait_for

from taskfarmer_mpi.changes.pause import pause
from taskfarmer_mpi.directives.book import encode_parts
from taskfarmer_mpi.history.last_runs import read_last_runs
from taskfarmer_mpi.policies.rules import Rules
from taskfarmer_mpi.report.contents import make_report
from taskfarmer_mpi.report.page import load_template, render_page
from taskfarmer_mpi.status import reasons
from taskfarmer_mpi.status.observer import Observer
from taskfarmer_mpi.status.reasons import find_reasons
from taskfarmer_mpi.status.tables import make_rows
from taskfarmer_mpi.trace.builder import Trace
from taskfarmer_mpi.workdir.farm import Farm


def why(farm: Farm, task: int) -> list[str]:
    return find_reasons(farm.workdir, read_last_runs(farm.workdir)[0], task)


def take(farm: Farm, hand: Hand, *, running: int = 0) -> list[int]:
    """Have a farmer take two tasks, and run some of them."""
    ids = [task.id for task in take_tasks(farm.workdir.toprocess, 2)]
    hand.note("taken", ids=ids)
    for slot, task in enumerate(ids[:running]):
        hand.note("begin", id=task, slot=slot)
    return ids


def test_what_keeps_all_from_running_is_said_first(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["true"] * 4)
    assert why(farm, 0) == [f"no farmer is at work: taskfarmer-mpi --workdir {farm.workdir.path}"]
    with farm.lock.held(5.0):
        pause(farm.workdir, farm.lock, 0)
    farm.workdir.halted.write_text("3 tasks failed (--halt soon,fail=3)\n")
    Hand(farm, "1-a")
    halted, paused, place = why(farm, 3)
    assert halted.startswith(
        "all farmers are halted: 3 tasks failed (--halt soon,fail=3); to go on: taskfarmer-mpi --halt never"
    )
    assert paused.startswith("paused by ")
    assert place == "it waits on the list, where 3 tasks are before it"
    assert why(farm, 1)[-1] == "it waits on the list, where 1 task is before it"


def test_a_farmer_that_waits_says_for_what(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["true"] * 4)
    Hand(farm, "1-a").note("waiting", reason="3 GiB of memory are available, and --memory-reserve is 4 GiB")
    first, _ = why(farm, 0)
    assert first.startswith("rank 0 · here · pid ")
    assert first.endswith(" takes no task now: 3 GiB of memory are available, and --memory-reserve is 4 GiB")


def test_a_full_limit_names_those_who_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    farm = make_farm(tmp_path, ["true"] * 4)
    farm.workdir.settings.write_bytes(encode_parts([(0, 3, "limit=db")]))
    take(farm, Hand(farm, "1-a"), running=1)
    assert "limit=db: the farm knows of no --limit db=N" in why(farm, 3)
    monkeypatch.setattr(reasons, "_rules", lambda _workdir: Rules(limits={"db": 2}))
    assert why(farm, 3)[0] == "limit=db is full: 2 may run at once (--limit), and farmers have 0, 1"
    monkeypatch.setattr(reasons, "_rules", lambda _workdir: Rules(limits={"db": 3}))
    assert why(farm, 3) == ["it waits on the list, where 1 task is before it"]


def test_it_is_said_in_whose_hands_a_task_is(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["true"] * 6)
    alive, dead, ended = Hand(farm, "1-a"), Hand(farm, "2-b"), Hand(farm, "3-c")
    for hand in (alive, dead, ended):
        take(farm, hand, running=1)
    ended.end(4, 0)
    dead.die()
    assert why(farm, 0) == []  # it runs
    (slot,), (died,), (about,) = why(farm, 1), why(farm, 3), why(farm, 4)
    assert slot.startswith("it waits for a slot of rank 0 · here")
    assert "which died" in died
    assert about.startswith("it has ended; rank 0")


def test_a_pause_before_the_next_attempt_is_said_with_its_end(site: Site) -> None:
    tasks = site.tasklist(["exit 3", "sleep 600"])
    workdir = Path(f"{tasks}_workdir")
    site.farm("--mpi", "off", "-n", "2", "--retries", "3", "--retry-delay", "500", "--progress", "none", tasks)
    show = ("-m", "taskfarmer_mpi.ctl", "show", workdir, "0")

    def says() -> str:
        import sys

        shown = site.start(sys.executable, *show)
        shown.wait(30)
        return shown.stdout if "attempt 1 failed, and another one follows" in shown.stdout else ""

    assert "puts it back on the list about " in wait_for(says, deadline=60, what="the pause")


def test_names_are_everywhere(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["true", "false", "sleep 9"])
    farm.workdir.settings.write_bytes(encode_parts([(0, 1, "name=fit"), (2, 2, "name=plot")]))
    hand = Hand(farm, "1-a")
    take(farm, hand, running=2)
    hand.end(0, 0)
    hand.end(1, 3)
    take(farm, hand, running=1)
    farm.workdir.finished.write_text("0 true\n")
    farm.workdir.failed.write_text("1 false\n")
    last_runs, _ = read_last_runs(farm.workdir)
    assert [row.name for row in make_rows(last_runs, farm.workdir)] == ["fit", "fit", "plot"]
    status = Observer(farm.workdir).look(5)
    assert [failure.name for failure in status.failures] == ["fit"]
    assert [run.name for run in status.running] == ["plot"]
    page = render_page(load_template(), make_report(farm.workdir)).decode()
    assert "<b>task 1 fit</b>" in page
    assert '<td class="number">0 fit</td>' in page
    slices = [json.loads(event) for event in Trace(farm.workdir, farm.catalog).events() if b'"outcome"' in event]
    assert {one["args"]["called"] for one in slices} == {"fit", "plot"}
    assert {one["name"] for one in slices} >= {"fit 0", "RUNNING plot 2"}
