"""The sentence of a report, and the numbers that it is made of."""

from __future__ import annotations

import pytest

from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.report.advice import Facts, Tail, choose_advice, fewest_slots, find_tail, simulate

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
    spoilt_time=0.0,
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
CUT_SHORT = (
    "16 min 40 s of slot time went into runs that were cut short: ask for more time, or let --task-time say how long a"
    " task takes, so that none is started too late."
)
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
        (replace(GOOD, spoilt_time=1000.0), CUT_SHORT),
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
