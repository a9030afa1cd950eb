"""Which failures are tried again."""

from __future__ import annotations

import pytest

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.policies.rules import read_rules


@pytest.mark.parametrize(
    ("which", "cause", "code", "is_retried"),
    [
        (None, Cause.EXIT, 1, True),
        (None, Cause.CANCELLED, -9, False),
        (None, None, 0, False),
        ("time-limit", Cause.TIME_LIMIT, -15, True),
        ("time-limit", Cause.EXIT, 1, False),
        ("3,SEGV", Cause.EXIT, 3, True),
        ("3,SEGV", Cause.EXIT, 4, False),
        ("3,SEGV", Cause.SIGNAL, -11, True),
        ("3,SEGV", Cause.EXIT, 139, True),
        ("out-of-memory,75", Cause.MEMORY, -9, True),
    ],
)
def test_failures_are_chosen_by_cause_and_code(which: str | None, cause: Cause | None, code: int, is_retried: bool) -> None:
    texts = {"retries": "1"} if which is None else {"retries": "1", "retry-on": which}
    assert (read_rules(texts).retries.pause_after(cause, code, 0) is not None) is is_retried


def test_pauses_grow_until_the_budget_is_spent() -> None:
    retries = read_rules({"retries": "3", "retry-delay": "2"}).retries
    assert [retries.pause_after(Cause.EXIT, 1, failures) for failures in range(4)] == [2.0, 4.0, 8.0, None]
