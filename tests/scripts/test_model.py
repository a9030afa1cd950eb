"""The simulation of many farmers at one lock (`scripts/model`): what has to hold whatever its figures are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from farm_model.simulation import Crowd, simulate
from farm_model.stores import STORES
from farm_model.waiting import PollingLine

FEW = Crowd(farmers=20, slots=1, tasks=400, duration=2.0, visit=0.002)
NODES = Crowd(farmers=50, slots=128, tasks=50 * 128 * 20, duration=1.0, visit=0.02, is_job=True)


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize(
    "crowd", [FEW, NODES, replace(FEW, tasks=7), replace(FEW, stagger=0.5), replace(NODES, duration=45.0)]
)
def test_every_task_is_run_once_and_none_earlier_than_can_be(crowd: Crowd, is_old: bool) -> None:
    result = simulate(replace(crowd, is_old=is_old))
    assert result.run == crowd.tasks
    assert result.end >= result.last_task >= crowd.ideal
    assert result.held <= result.end


def test_the_same_seed_gives_the_same_and_another_one_something_else() -> None:
    crowded = replace(NODES, visit=0.1)
    assert simulate(crowded) == simulate(crowded)
    assert simulate(crowded) != simulate(replace(crowded, seed=2))


@pytest.mark.parametrize("is_old", [False, True])
def test_the_more_a_visit_costs_the_lower_is_the_rate(is_old: bool) -> None:
    ends = [simulate(replace(NODES, visit=visit, is_old=is_old)).end for visit in (0.002, 0.05, 0.2, 0.8)]
    assert ends == sorted(ends)
    assert ends[-1] > 1.5 * ends[0]


def test_long_tasks_on_a_few_nodes_take_about_the_ideal_time() -> None:
    assert simulate(replace(NODES, farmers=10, tasks=10 * 128 * 5, duration=60.0)).end < 1.02 * 300


def test_who_polls_asks_a_lock_server_more_often() -> None:
    crowded = replace(NODES, farmers=500, tasks=500 * 128 * 5, visit=0.05)
    new, old = simulate(crowded), simulate(replace(crowded, is_old=True))
    assert new.tries / new.end < old.tries / old.end / 2


def test_holds_that_were_measured_are_drawn_from() -> None:
    assert simulate(replace(FEW, holds=(0.25,))).held == pytest.approx(0.25 * simulate(replace(FEW, holds=(0.25,))).holds)


def test_who_polls_asks_at_multiples_of_the_period_after_its_first_attempt() -> None:
    line = PollingLine(0.05)
    line.join(0, 1.01)
    line.join(1, 1.03)
    assert line.first(2.02) == pytest.approx((2.03, 1))
    line.leave(2.03)
    assert line.tries == 20
    assert line.first(2.04) == pytest.approx((2.06, 0))
    line.leave(2.06)
    assert line.tries == 41
    assert line.first(3.0) is None


def test_each_store_says_where_its_figures_come_from() -> None:
    for store in STORES:
        assert store.low <= store.visit <= store.high
        assert "measured" in store.source or "assumption" in store.source
