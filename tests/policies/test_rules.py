"""Rules: how their texts are read, and what follows from them."""

from __future__ import annotations

import math
import signal

import pytest

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.policies.rules import Asking, merge_rules, read_rules
from taskfarmer_mpi.policies.time_limit import ENOUGH, TaskTime, TimeLimit


def test_nothing_is_in_use_by_default() -> None:
    rules = read_rules({})
    assert (rules.task_time, rules.at_stop, rules.retries.count, rules.crash_limit, rules.halt) == (None, None, 0, 0, None)


def test_values_are_read() -> None:
    rules = read_rules({"task-timeout": "2.5", "task-signal": "int", "task-grace": "3", "stop-signal": "SIGUSR1"})
    assert rules.task_time == TaskTime(seconds=2.5)
    assert rules.at_timeout == Asking(signal.SIGINT, 3.0)
    assert rules.at_stop == Asking(signal.SIGUSR1, 10.0)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("task-timeout", "-1"),
        ("task-timeout", "50%"),
        ("task-timeout", "nan"),
        ("task-timeout", "1h"),
        ("task-signal", "STOP"),
        ("task-signal", "nonsense"),
        ("task-grace", "inf"),
        ("retries", "-1"),
        ("retries", "1.5"),
        ("retry-on", "bad luck"),
        ("retry-on", "0"),
        ("retry-on", ","),
        ("halt", "soon"),
        ("halt", "soon,fail=0"),
        ("halt", "now,fail=101%"),
    ],
)
def test_a_value_that_cannot_be_taken_is_named(name: str, text: str) -> None:
    with pytest.raises(UserError, match=f"--{name}: "):
        read_rules({name: text})


def test_what_is_given_wins_and_a_rule_without_its_master_is_refused() -> None:
    assert merge_rules({"retries": "2", "retry-delay": "5"}, {"retries": "0"}) == {"retries": "0", "retry-delay": "5"}
    assert merge_rules({"task-timeout": "5"}, {"task-grace": "1"})["task-grace"] == "1"
    with pytest.raises(UserError, match="--retry-delay says nothing without --retries"):
        merge_rules({"retries": "5"}, {"retries": "0", "retry-delay": "1"})
    assert merge_rules({}, {"task-grace": "1"}) == {"task-grace": "1"}, "that is for tasks that are cancelled, too"


def test_a_limit_relative_to_the_median_waits_for_enough_runs() -> None:
    limit = TimeLimit(TaskTime(share=3.0))
    for number in range(ENOUGH):
        assert limit.seconds == math.inf
        limit.see_finished(10.0 + number)
    assert limit.seconds == pytest.approx(45.0)
    for _ in range(2000):
        limit.see_finished(1.0)
    assert limit.seconds == pytest.approx(3.0)
