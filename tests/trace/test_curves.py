"""A number that changes at many times, as a curve of few points."""

import random

import pytest

from taskfarmer_mpi.trace.curves import Curve

CHANGES = [(100, 1), (105, 1), (105, -1), (140, -1), (7000, 1), (9000, -1)]


def test_few_changes_are_told_to_the_microsecond() -> None:
    steps = Curve(10)
    for moment, change in CHANGES:
        steps.add(moment, change)
    assert list(steps.values()) == [(100, 1), (105, 1), (140, 0), (7000, 1), (9000, 0)]
    assert list(steps.means()) == list(steps.values())


def test_many_changes_become_few_points_whatever_their_order() -> None:
    changes = [(moment, 1 if moment % 20 else -1) for moment in range(0, 50_000, 10)]
    curves = []
    for seed in range(3):
        random.Random(seed).shuffle(changes)
        steps = Curve(100)
        for moment, change in changes:
            steps.add(moment, change)
        curves.append((list(steps.values()), list(steps.means())))
    assert curves[0] == curves[1] == curves[2]
    values, means = curves[0]
    assert 50 <= len(values) <= 100
    assert values[-1][1] == sum(change for _, change in changes)
    assert means[-1] == (values[-1][0] + 512, values[-1][1])


def test_a_slot_that_is_busy_half_of_the_time_is_half_busy_in_the_mean() -> None:
    steps = Curve(50)
    for begin in range(0, 100_000, 10):
        steps.add(begin, 1)
        steps.add(begin + 5, -1)
    means = [value for _, value in steps.means()]
    whole = means[:-2]  # the last interval is not full
    assert whole == pytest.approx([0.5] * len(whole), abs=0.02)
    assert means[-1] == 0


def test_a_curve_goes_on_at_its_level_where_nothing_changes() -> None:
    steps = Curve(4)
    for moment in (0, 1, 2, 3, 4, 5, 6, 1000):
        steps.add(moment, 1)
    assert list(steps.means()) == [(0, 2.5), (4, 6.25), (8, 7), (1000, 8), (1004, 8)]
