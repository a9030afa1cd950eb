"""When a farm is to stop by itself."""

from __future__ import annotations

import pytest

from taskfarmer_mpi.policies.rules import read_rules


@pytest.mark.parametrize(
    ("text", "finished", "failed", "is_halted"),
    [
        ("soon,fail=3", 50, 2, False),
        ("soon,fail=3", 0, 3, True),
        ("now,fail=10%", 50, 19, False),
        ("now,fail=10%", 50, 20, True),
        ("now,success=1", 0, 99, False),
        ("now,success=1", 1, 0, True),
        ("soon,success=100%", 199, 0, False),
    ],
)
def test_a_limit_is_reached_by_number_or_part_of_all(text: str, finished: int, failed: int, is_halted: bool) -> None:
    halt = read_rules({"halt": text}).halt
    assert halt is not None
    assert halt.text == text
    assert (halt.reason(finished=finished, failed=failed, total=200) is not None) is is_halted


def test_never_is_no_halt() -> None:
    assert read_rules({"halt": "never"}).halt is None
