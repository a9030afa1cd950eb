"""How long tasks will take, which of them cannot end in time, and what to ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import make_farm
from helpers import Site

from taskfarmer_mpi.ordering.forecast import Forecast, ends, expected, say_forecast
from taskfarmer_mpi.ordering.order_file import encode_order


def test_a_slot_takes_the_next_task_once_it_is_free() -> None:
    assert ends([3.0, 1.0, 1.0, 4.0], 2) == [3.0, 1.0, 2.0, 6.0]


def test_what_is_expected_is_said_with_units() -> None:
    tasks = [(task, 600.0) for task in range(62)] + [(62, 3600.0), (63, 7200.0)]
    sentences = list(say_forecast(Forecast(tasks, 16, 2, left=3000.0)))
    assert sentences == [
        "expected: 64 tasks of 13 h 20 min in all, the longest of 2 h: about 2 h 30 min with 16 slots",
        "2 tasks cannot end in this job, of which 50 min is left: 62, 63",
        "this job is too short for all: about 62 of 64 tasks will have ended",
        (
            "to ask for, with 8 slots on a node and a fifth to spare: 1 node for 3 h 48 min, 2 nodes for 3 h, 4 nodes for"
            " 2 h 36 min or 8 nodes for 2 h 24 min; more than 8 nodes would bring little"
        ),
    ]


def test_a_job_that_is_long_enough_is_no_reason_for_a_warning() -> None:
    sentences = list(say_forecast(Forecast([(0, 60.0)], 8)))
    assert len(sentences) == 2
    assert sentences[0] == "expected: 1 task of 1 min in all, the longest of 1 min: about 1 min with 8 slots"
    assert sentences[1].endswith(": 1 node for 1 min 12 s; more than 1 node would bring little")


def test_only_what_is_to_do_counts_in_the_order_of_the_list(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "b", "c"])
    farm.workdir.order.write_bytes(encode_order([(2, 4.0), (0, 2.0), (1, 1.0)]))
    farm.workdir.toprocess.write_text("1 b\n2 c\n")
    farm.workdir.added.write_text("3 d\n")
    assert expected(farm.workdir) == [(2, 4.0), (1, 1.0), (3, pytest.approx(7 / 3))]


def test_check_and_start_say_how_long_it_will_take(site: Site) -> None:
    joblog = site.path / "joblog"
    head = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"
    joblog.write_text(head + "1\t:\t1\t0.3\t0\t0\t0\t0\ttrue 1\n2\t:\t1\t7200\t0\t0\t0\t0\ttrue 2\n")
    tasklist = site.tasklist(["true 1", "true 2", "true 3"])
    words = ["--durations", str(joblog), "--order", "longest", "-n", "2"]
    check = site.start("taskfarmer-ctl", "check", tasklist, *words)
    check.succeed(30)
    sentence = "expected: 3 tasks of 3 h in all, the longest of 2 h: about 2 h with 2 slots"
    assert sentence in check.stdout
    farm = site.farm(*words, "--timeout", "60", tasklist)
    farm.succeed(30)
    assert sentence in farm.stderr
    assert "2 tasks cannot end in this job, of which 1 min is left: 1, 2" in farm.stderr
    again = site.tasklist([f"true {i}" for i in range(1, 7)])  # the first three are done
    check = site.start("taskfarmer-ctl", "check", again)
    check.succeed(30)
    assert "expected:" not in check.stdout  # nothing is on the list yet


def test_check_knows_what_the_work_directory_has_done(site: Site) -> None:
    tasklist = site.tasklist(["sleep 0.3", "false", "sleep 0.30"])
    site.farm("-n", "1", tasklist).succeed(30, code=1)
    site.start("taskfarmer-ctl", "retry", f"{tasklist}_workdir", "1-2").succeed(30)
    check = site.start("taskfarmer-ctl", "check", "-n", "4", tasklist)
    check.succeed(30)
    assert "expected: 2 tasks of 0.3" in check.stdout
