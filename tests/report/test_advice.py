"""The sentence of a report, and the numbers that it is made of."""

from __future__ import annotations

import pytest
from helpers import Site, wait_for

from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.report.advice import Cut, Facts, Tail, choose_advice, fewest_slots, find_cut, find_tail, simulate
from taskfarmer_mpi.report.contents import make_report
from taskfarmer_mpi.workdir.files import Workdir

GOOD = Facts(
    is_done=True,
    durations=[60.0] * 40,
    births=[0.0] * 4,
    span=600.0,
    busy_time=2400.0,
    offered_time=2400.0,
    tail=Tail(0.0, 0.0, 4.0),
    ended=40,
    failed=0,
    failed_time=0.0,
    main_cause="",
    spoilt={},
)
GIANT_LAST = replace(GOOD, durations=[60.0] * 40 + [600.0], span=1200.0, busy_time=3000.0, offered_time=4800.0, ended=41)
GIANT_FIRST = replace(
    GOOD,
    durations=[3000.0] + [60.0] * 40,
    span=3000.0,
    busy_time=5400.0,
    offered_time=12000.0,
    tail=Tail(2200.0, 1.0, 4.0),
    ended=41,
)
FEWER_SLOTS = (
    "The last 36 min 40 s kept 1.0 of 4 slots busy: with the longest tasks first, 2 slots would have taken no longer."
    " Ask for fewer nodes."
)
CUT_SHORT = "16 min 40 s of slot time went into runs that were cut short, most by "
NEITHER = "The slots were busy {:.0f} % of the time; neither the order of the tasks nor the end of the list is why."


@pytest.mark.parametrize(
    ("facts", "advice"),
    [
        (GOOD, "The slots were busy 100 % of the time: there is little to gain."),
        (GIANT_LAST, "Ordering the tasks longest first would have saved about 7 min of 20 min."),
        (GIANT_FIRST, FEWER_SLOTS),
        (
            replace(GIANT_FIRST, durations=[3000.0], tail=Tail(2200.0, 0.5, 1.0), births=[0.0], offered_time=3000.0),
            "The last 36 min 40 s kept 0.5 of 1 slots busy: start the longest tasks earlier, or split them.",
        ),
        (
            replace(GIANT_FIRST, durations=[1.0] * 200_001),
            "The last 36 min 40 s kept 1.0 of 4 slots busy: ask for fewer nodes, or split the longest tasks.",
        ),
        (
            replace(
                GOOD, durations=[60.0] * 10, births=[0.0] * 80, span=60.0, busy_time=600.0, offered_time=4800.0, ended=10
            ),
            "10 tasks on 80 slots: 70 slots had nothing to do. Ask for fewer nodes.",
        ),
        (
            replace(GOOD, durations=[0.02] * 9000, span=90.0, busy_time=180.0, offered_time=360.0, ended=9000),
            "Tasks of 20 ms: start-up dominates. Put many of them into one task, for example in a loop.",
        ),
        (
            replace(GOOD, failed=20, failed_time=1200.0, main_cause="exit code 127: command not found"),
            "20 tasks of 40 (50 %) failed, most often with exit code 127: command not found.",
        ),
        (replace(GOOD, failed=40, failed_time=9.0), "40 tasks of 40 (100 %) failed: see the ends of their logs."),
        (
            replace(GOOD, durations=[0.02] * 4, busy_time=0.08, offered_time=0.1, ended=4),
            "The slots were busy 80 % of the time; neither the order of the tasks nor the end of the list is why.",
        ),
        (
            replace(GOOD, spoilt={Cut.JOB_END: 600.0, Cut.DEATH: 400.0}),
            f"{CUT_SHORT}the end of the job: ask for more time, or let --task-time say how long a task takes.",
        ),
        (
            replace(GOOD, spoilt={Cut.TIMEOUT: 1000.0}),
            f"{CUT_SHORT}--timeout: let --task-time say how long a task takes, so that none is started too late.",
        ),
        (
            replace(GOOD, spoilt={Cut.STOP: 1000.0}),
            f"{CUT_SHORT}a stop: taskfarmer-ctl stop --drain lets them end.",
        ),
        (
            replace(GOOD, spoilt={Cut.JOB_END: 400.0, Cut.DEATH: 600.0}),
            f"{CUT_SHORT}the death of their farmers: look for what ended these: a node, a limit of memory, a kill.",
        ),
        (replace(GIANT_LAST, is_done=False), NEITHER.format(62.5)),
        (replace(GIANT_FIRST, is_done=False), NEITHER.format(45)),
        (replace(GOOD, durations=[], ended=0, busy_time=0.0), "No task has ended yet."),
        (
            replace(GOOD, durations=[], births=[], ended=0, busy_time=0.0, offered_time=0.0, span=0.0),
            "No task has ended yet.",
        ),
    ],
)
def test_the_advice_is_about_what_cost_the_most(facts: Facts, advice: str) -> None:
    assert choose_advice(facts) == advice


@pytest.mark.parametrize(
    ("durations", "births", "end"),
    [
        ([], [0.0], 0.0),
        ([5.0], [3.0], 8.0),
        ([1.0, 1.0, 1.0, 3.0], [0.0, 0.0], 4.0),
        ([3.0, 1.0, 1.0, 1.0], [0.0, 0.0], 3.0),
        ([4.0, 4.0, 1.0], [0.0, 10.0], 9.0),
    ],
)
def test_each_free_slot_takes_the_next_task(durations: list[float], births: list[float], end: float) -> None:
    assert simulate(durations, births) == end


def test_the_fewest_slots_that_take_no_longer_are_found() -> None:
    assert fewest_slots(replace(GOOD, durations=[10.0] + [1.0] * 10, births=[0.0] * 8, span=10.0)) == 2
    assert fewest_slots(GOOD) == 4
    assert fewest_slots(replace(GOOD, durations=[])) is None


@pytest.mark.parametrize(
    ("busy", "offered", "tail"),
    [
        ([4, 4, 4, 1, 1, 0], [4] * 6, Tail(20.0, 1.0, 4.0)),
        ([4, 1, 4, 4], [4] * 4, Tail(0.0, 0.0, 4.0)),
        ([4, 4, 2], [4, 4, 4], Tail(0.0, 0.0, 4.0)),
        ([4, 4, 1, 1], [4, 4, 4, 2], Tail(20.0, 1.0, 3.0)),
        ([0, 0], [4, 4], Tail(0.0, 0.0, 0.0)),
        ([], [], Tail(0.0, 0.0, 0.0)),
    ],
)
def test_the_tail_begins_when_less_than_half_of_the_slots_are_busy_for_good(
    busy: list[float], offered: list[float], tail: Tail
) -> None:
    assert find_tail(busy, offered, 10.0) == tail


def test_what_a_tail_costs_is_the_time_of_its_idle_slots() -> None:
    assert Tail(20.0, 1.0, 4.0).cost == 60.0


@pytest.mark.parametrize(
    ("reason", "is_in_batch_job", "cut"),
    [
        ("the batch job is about to end", True, Cut.JOB_END),
        ("SIGUSR1", True, Cut.JOB_END),
        ("SIGUSR1", False, Cut.STOP),
        ("SIGINT", True, Cut.STOP),
        ("--timeout", True, Cut.TIMEOUT),
        ("--timeout", False, Cut.TIMEOUT),
        ("", False, Cut.STOP),
        (None, True, Cut.DEATH),
    ],
)
def test_a_kill_or_a_timeout_of_the_users_is_not_taken_for_too_short_a_job(
    reason: str | None, is_in_batch_job: bool, cut: Cut
) -> None:
    assert find_cut(reason, is_in_batch_job=is_in_batch_job) is cut


@pytest.mark.parametrize(("how", "words"), [("timeout", "by --timeout"), ("kill", "by the death of their farmers")])
def test_the_report_of_a_farm_that_was_cut_short_says_by_what(how: str, words: str, site: Site) -> None:
    """Its long task is lost; the short ones show until when it was at work."""
    tasks = site.tasklist(["sleep 60", *["sleep 0.2"] * 100])
    farm = site.farm("-n", "2", *(["--timeout", "4"] if how == "timeout" else []), tasks)
    workdir = site.path / "tasks_workdir"
    if how == "kill":
        wait_for(lambda: len(list(workdir.glob("logs/*"))) > 12, deadline=60, what="some have run")
        farm.kill()
    farm.wait(60)
    wanted = f"runs that were cut short, most {words}"  # a child that was just forked may hold the life lock for a moment
    wait_for(lambda: wanted in make_report(Workdir(workdir)).advice, deadline=20, what=wanted)
