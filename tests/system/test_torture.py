"""The short form of scripts/torture: rounds of random faults, and kills before system calls of each operation."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from campaign.every_call import Killer, Operation
from campaign.operations import OPERATIONS
from campaign.rounds import Calls, Round, count_calls

SEED = int(os.environ.get("TEST_SEED", "7"))
ROUNDS = 3


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Calls:
    """Return how many system calls a farmer makes."""
    return count_calls(tmp_path_factory.mktemp("count"))


@pytest.mark.usefixtures("strace", "pytaskfarmer")
@pytest.mark.parametrize("seed", range(SEED, SEED + ROUNDS))
def test_nothing_is_lost_and_nothing_runs_twice_under_random_faults(seed: int, tmp_path: Path, calls: Calls) -> None:
    report = Round(tmp_path, seed, calls).play()
    print(f"{report.done.total()} faults, {report.reruns} of {report.runs} runs again: {dict(report.done)}")
    assert report.faults == []


@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_farmer_does_the_rest_after_a_death_anywhere_in(operation: Operation, tmp_path: Path) -> None:
    few = {"merge": 6, "add": 6, "retry": 6, "recovery-before-cut": 8, "recovery-of-outcomes": 8}
    step = few.get(operation.name, 20)  # of the others, test_crash_points has more
    deaths = Killer(tmp_path / operation.name, operation).kill_everywhere(step)
    print(f"killed before {len(deaths.killed)} of {deaths.calls} calls")
    assert deaths.faults == []
    assert deaths.killed, "it never died where it should"


def test_operations_have_names_of_their_own() -> None:
    assert Counter(operation.name for operation in OPERATIONS).most_common(1)[0][1] == 1
