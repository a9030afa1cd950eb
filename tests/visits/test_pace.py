"""How often a farmer visits the lists, and how much it takes."""

import pytest

from taskfarmer_mpi.visits.pace import LOCK_SHARE, MAX_INTERVAL, MAX_SHARED_INTERVAL, MIN_INTERVAL, Pace


def seasoned(*, slots: int, task: float, visit: float, hold: float = 0.0, farmers: int = 1) -> Pace:
    pace = Pace(slots)
    for _ in range(200):
        pace.see_task(task)
        pace.see_visit(visit, hold, farmers)
    return pace


def test_the_first_batch_fills_the_slots() -> None:
    assert Pace(8).batch(free=8, queued=0, remaining=10_000, farmers=1) == 8


def test_short_tasks_come_by_the_hundred() -> None:
    pace = seasoned(slots=8, task=0.001, visit=0.001)
    assert pace.batch(free=8, queued=0, remaining=1_000_000, farmers=10) > 1000


def test_long_tasks_come_one_for_each_free_slot() -> None:
    pace = seasoned(slots=8, task=60.0, visit=0.001)
    assert pace.batch(free=1, queued=0, remaining=1_000_000, farmers=10) == 1


def test_no_farmer_takes_more_than_its_share_of_the_end() -> None:
    pace = seasoned(slots=8, task=0.001, visit=0.001)
    assert pace.batch(free=8, queued=0, remaining=400, farmers=10) == 20
    assert pace.batch(free=8, queued=0, remaining=5, farmers=10) == 8


def test_nothing_is_taken_while_enough_waits() -> None:
    pace = seasoned(slots=8, task=60.0, visit=0.001)
    assert pace.batch(free=2, queued=3, remaining=1000, farmers=1) == 0


def test_the_interval_grows_with_the_cost_of_a_visit_within_bounds() -> None:
    assert seasoned(slots=1, task=1.0, visit=0.0).interval == MIN_INTERVAL
    assert 0.9 < seasoned(slots=1, task=1.0, visit=0.02).interval <= 1.0
    assert seasoned(slots=1, task=1.0, visit=60.0).interval == MAX_INTERVAL


@pytest.mark.parametrize(("hold", "farmers"), [(0.02, 50), (0.005, 200), (0.02, 300)])
def test_all_farmers_together_hold_the_lock_for_a_part_of_the_time_only(hold: float, farmers: int) -> None:
    pace = seasoned(slots=1, task=0.1, visit=hold, hold=hold, farmers=farmers)
    assert farmers * hold / pace.interval == pytest.approx(LOCK_SHARE)
    assert pace.batch(free=1, queued=0, remaining=1_000_000, farmers=farmers) * 0.1 >= pace.interval


def test_a_thousand_farmers_make_a_hundred_visits_a_second_at_most() -> None:
    assert 1000 / seasoned(slots=1, task=0.1, visit=0.001, hold=0.001, farmers=1000).interval == pytest.approx(100)
    assert seasoned(slots=1, task=0.1, visit=1.0, hold=1.0, farmers=1000).interval == MAX_SHARED_INTERVAL


def test_a_few_farmers_visit_as_often_as_one_alone() -> None:
    assert seasoned(slots=1, task=1.0, visit=0.001, hold=0.001, farmers=10).interval == MIN_INTERVAL
