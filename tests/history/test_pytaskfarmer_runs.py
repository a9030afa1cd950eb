"""The runs of PyTaskFarmers, as far as the timeline tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import Site

from taskfarmer_mpi.history.pytaskfarmer_runs import read_plain_histories
from taskfarmer_mpi.history.runs import Outcome
from taskfarmer_mpi.report.contents import make_report
from taskfarmer_mpi.report.page import _page
from taskfarmer_mpi.workdir.files import Workdir


def event(name: str, begin: float, pid: int = 7, tid: object = 1, **more: object) -> dict[str, object]:
    return {"cat": "task", "name": name, "pid": pid, "tid": tid, "ts": begin * 1e6, "dur": 2e6, "ph": "X", "args": {}} | more


def make_workdir(folder: Path, text: str) -> Workdir:
    (folder / "toprocess").write_text("")
    (folder / "finished").write_text("0 a\n1 same\n2 same\n")
    (folder / "failed").write_text("3 bad\n")
    (folder / "timeline.json").write_text(text)
    return Workdir(folder)


def test_a_run_is_that_of_the_task_with_its_text(tmp_path: Path) -> None:
    ours = event("b", 1.0, args={"task": 9})
    events = [
        event("same", 30.0, tid=2),
        event("a", 10.0),
        event("same", 20.0),
        event("bad", 15.0, pid=8),
        event("gone", 1.0),
        ours,
    ]
    for text in (
        json.dumps(events),
        "[\n" + ",\n".join(json.dumps(line, separators=(",", ":")) for line in events) + "\n]\n",
    ):
        histories, troubles = read_plain_histories(make_workdir(tmp_path, text))
        assert troubles == []
        assert [history.identity.farmer for history in histories] == ["PyTaskFarmer-7", "PyTaskFarmer-8"]
        runs = [run for history in histories for run in history.attempts()]
        found = [(run.task_id, run.begin, run.end, run.returncode, run.outcome) for run in runs]
        assert found == [
            (0, 10.0, 12.0, 0, Outcome.FINISHED),
            (1, 20.0, 22.0, 0, Outcome.FINISHED),
            (2, 30.0, 32.0, 0, Outcome.FINISHED),
            (3, 15.0, 17.0, None, Outcome.FAILED),
        ]
        assert [history.identity.slots for history in histories] == [2, 1]
        assert [history.last_moment() for history in histories] == [32.0, 17.0]


@pytest.mark.parametrize("text", ['{"traceEvents": []}', '[{"ph": "X"', '[\n{"broken, "args":{}\n]', "\xff\xfe", "17"])
def test_a_timeline_that_others_broke_is_a_warning_and_hides_nothing_else(tmp_path: Path, text: str) -> None:
    workdir = make_workdir(tmp_path, text)
    (warning,) = [line for line in make_report(workdir).warnings if "farm.ini" not in line]
    assert "timeline.json" in warning
    assert "other runs of PyTaskFarmers are left out" in warning


@pytest.mark.parametrize("text", ["", "[]", "[\n]\n", '[{"ph": "X"}, 17, {"name": "a"}]'])
def test_a_timeline_without_runs_has_none(tmp_path: Path, text: str) -> None:
    assert read_plain_histories(make_workdir(tmp_path, text)) == ([], [])


def test_a_report_shows_what_real_pytaskfarmers_did(site: Site, pytaskfarmer: Path) -> None:
    tasklist = site.tasklist(["sleep 0.2", "false", "sleep 0.1"])
    site.plain_0_1_0(pytaskfarmer, "--proc", "2", "--workdir", site.path / "work", tasklist).succeed(60)
    report = make_report(Workdir(site.path / "work"))
    (farmer,) = report.farmers
    assert farmer.runs == {Outcome.FINISHED: 2, Outcome.FAILED: 1}
    assert report.causes == [("not known", 1)]
    assert [task.command for task in report.longest[:2]] == ["sleep 0.2", "sleep 0.1"]
    assert 0.1 < report.durations[1] < 10


def test_a_run_is_not_that_of_a_task_which_a_journal_of_ours_tells_of(tmp_path: Path) -> None:
    workdir = make_workdir(tmp_path, json.dumps([event("same", 20.0), event("a", 10.0)]))
    histories, _ = read_plain_histories(workdir, lambda task, outcome: outcome is Outcome.FINISHED and task in (0, 1))
    assert [run.task_id for history in histories for run in history.attempts()] == [0, 2]  # no other task has the text "a"


@pytest.mark.parametrize("begin", ["1e400", "9" * 400, "-" + "9" * 30, "true"])
def test_times_that_cannot_be_cost_their_event_only(tmp_path: Path, begin: str) -> None:
    good = json.dumps(event("a", 10.0))
    workdir = make_workdir(tmp_path, f"[{good}, {good.replace('10000000.0', begin)}]")
    assert "1 run" in [tile.note for tile in _page(make_report(workdir))["tiles"]][-1]
    histories, troubles = read_plain_histories(workdir)
    assert [len(history.events) for history in histories] == [1]
    assert troubles == []
