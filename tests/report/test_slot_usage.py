"""Time axis, packing and pictures of a report as numbers."""

from __future__ import annotations

import math
import random

import pytest

from taskfarmer_mpi.history.runs import Attempt, Outcome
from taskfarmer_mpi.report.figures import HEIGHT, WIDTH, draw_area, histogram, percentile, time_ticks
from taskfarmer_mpi.report.slot_usage import BINS, EXACT_RUNS, Coverage, SlotUsage
from taskfarmer_mpi.report.time_axis import Axis


def test_the_axis_leaves_out_the_time_in_which_no_farmer_lived() -> None:
    axis = Axis([(1000.0, 1060.0), (1030.0, 1100.0), (5000.0, 5050.0)])
    assert [(session.begin, session.end, session.offset) for session in axis.sessions] == [
        (1000, 1100, 0),
        (5000, 5050, 100),
    ]
    assert axis.length == 150.0
    places = {900.0: 0.0, 1000.0: 0.0, 1050.0: 50.0, 2000.0: 100.0, 5010.0: 110.0, 9000.0: 150.0}
    assert {moment: axis.place(moment) for moment in places} == places
    assert [Axis([]).length, Axis([(5.0, 5.0)]).length] == [0.0, 0.0]


def test_coverage_is_what_adding_each_part_by_hand_gives() -> None:
    dice = random.Random(3)
    coverage = Coverage()
    expected = [0.0] * BINS
    for _ in range(200):
        begin = dice.uniform(0, BINS)
        end = min(begin + dice.choice([0.0, 0.3, 1.0, 700.0]) * dice.random(), BINS)
        coverage.add(begin, end, 2.0)
        for i in range(BINS):
            expected[i] += 2.0 * max(min(end, i + 1) - max(begin, i), 0.0)
    assert coverage.values() == pytest.approx(expected, abs=1e-9)


def test_packing_adds_up_whatever_the_number_of_runs() -> None:
    lives = [(0.0, 100.0), (50.0, 100.0)]
    packing = SlotUsage(Axis(lives), lives, [2, 1])
    assert packing.offered_time == 250.0
    packing.see(0, Attempt(0, 0, 10.0, 30.0, 0, Outcome.FINISHED))
    packing.see(0, Attempt(1, 1, 10.0, 20.0, 1, Outcome.FAILED))
    packing.see(1, Attempt(2, 0, 60.0, None, None, Outcome.LOST))
    packing.see(1, Attempt(2, 0, 20.0, 70.0, -9, Outcome.KILLED))
    assert packing.busy_times == [30.0, 90.0]
    assert packing.spoilt == 2
    assert packing.spoilt_times == {(1, Outcome.LOST): 40.0, (1, Outcome.KILLED): 50.0}
    width = 100.0 / BINS
    assert sum(packing.busy([0, 1])) * width == pytest.approx(120.0)
    assert sum(packing.failed([0, 1])) * width == pytest.approx(100.0)
    assert sum(packing.offered.values()) * width == pytest.approx(250.0)
    assert packing.is_exact
    for _ in range(EXACT_RUNS):
        packing.see(0, Attempt(0, 0, 10.0, 30.0, 0, Outcome.FINISHED))
    assert not packing.is_exact
    assert len(packing.exact) == EXACT_RUNS


def test_an_area_has_a_step_only_where_its_height_changes() -> None:
    assert draw_area([0.0, 2.0, 2.0, 4.0], 4.0, 4) == f"M0 {HEIGHT}H250V50H750V0H{WIDTH}V{HEIGHT}Z"
    assert draw_area([0.0, 2.0, 2.0, 4.0], 4.0, 2) == f"M0 {HEIGHT}H0V75H500V25H{WIDTH}V{HEIGHT}Z"
    assert draw_area([0.0, 0.0], 0.0, 2) == f"M0 {HEIGHT}H{WIDTH}V{HEIGHT}Z"


@pytest.mark.parametrize(
    ("length", "labels"),
    [
        (0.0, ["0"]),
        (12.3, ["0", "2 s", "4 s", "6 s", "8 s", "10 s", "12 s"]),
        (3700.0, ["0", "10 min", "20 min", "30 min", "40 min", "50 min", "1 h"]),
        (86400.0 * 9, ["0", "2 d", "4 d", "6 d", "8 d"]),
    ],
)
def test_time_is_marked_at_round_numbers(length: float, labels: list[str]) -> None:
    ticks = time_ticks(length)
    assert [tick.label for tick in ticks] == labels
    assert all(0 <= tick.place <= 100 for tick in ticks)


@pytest.mark.parametrize("durations", [[0.0], [5.0] * 10, [0.001 * 1.5**i for i in range(40)], [1.0, 1.01, 1.02]])
def test_a_histogram_counts_every_duration_once(durations: list[float]) -> None:
    bars, top, ticks = histogram(durations)
    counts = [int(bar.title.split()[0]) for bar in bars]
    assert (sum(counts), max(counts)) == (len(durations), top)
    assert all(bar.x >= 0 and bar.x + bar.width <= WIDTH and bar.y + bar.height == pytest.approx(HEIGHT) for bar in bars)
    assert len(ticks) >= 2
    assert all(0 <= tick.place <= 100 and math.isfinite(tick.place) for tick in ticks)


def test_no_durations_have_no_histogram() -> None:
    assert histogram([]) == ([], 0, [])


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(i) for i in range(1, 101)]
    assert [percentile(values, share) for share in (0.0, 0.05, 0.5, 0.99, 1.0)] == [1.0, 5.0, 50.0, 99.0, 100.0]
    assert percentile([7.0], 0.5) == 7.0
