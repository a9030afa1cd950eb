"""The runs of which a trace is made, in memory or in a file."""

import os
import random
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from taskfarmer_mpi.history.runs import Attempt, Outcome
from taskfarmer_mpi.trace import run_table
from taskfarmer_mpi.trace.run_table import OUTCOMES, RunTable

COUNT = 1000


@pytest.fixture(params=["in memory", "in a file", "where no file can be made"])
def table(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunTable]:
    """Return an empty table, in whose file each few rows go where it has one."""
    if request.param != "in memory":
        monkeypatch.setattr(run_table, "_PART", 3 * run_table._ROW.size)
    with closing(RunTable(tmp_path if request.param != "where no file can be made" else tmp_path / "gone")) as table:
        yield table
    assert os.listdir(tmp_path) == []


def random_runs() -> list[Attempt]:
    dice = random.Random(4)
    found = []
    for number in range(COUNT):
        outcome = dice.choice([Outcome.FINISHED, Outcome.FAILED, Outcome.LOST])
        end = None if outcome is Outcome.LOST else number + 1.25
        found.append(
            Attempt(dice.randrange(COUNT), number % 7, float(number), end, 0, outcome, 0.5, number, seen=number + 2.0)
        )
    return found


def test_rows_are_as_they_were_added(table: RunTable) -> None:
    runs = random_runs()
    for run in runs:
        table.append(2, run)
    assert len(table) == COUNT
    rows = list(table.rows())
    assert [(farmer, slot, task) for farmer, slot, task, *_ in rows] == [(2, run.slot, run.task_id) for run in runs]
    assert [OUTCOMES[row[5]] for row in rows] == [run.outcome for run in runs]
    assert [table[number] for number in range(COUNT)] == rows
    for first in (1, 2, 500, COUNT - 1, COUNT):
        assert list(table.rows(first)) == rows[first:]


def test_runs_of_a_task_are_numbered_in_the_order_of_their_begins(table: RunTable) -> None:
    runs = random_runs()
    for run in runs:
        table.append(0, run)
    table.number()
    before: dict[int, list[int]] = {}
    for row, run in enumerate(runs):
        earlier = before.setdefault(run.task_id, [])
        assert table.attempt(row) == len(earlier) + 1
        assert table.previous(row) == (earlier[-1] if earlier else -1)
        earlier.append(row)
    lost = table.tasks_with(Outcome.LOST)
    assert [task for task, flag in enumerate(lost) if flag] == sorted({r.task_id for r in runs if r.outcome is Outcome.LOST})


def test_runs_that_overlap_in_a_slot_end_when_the_next_one_begins(table: RunTable) -> None:
    table.append(0, Attempt(0, 0, 1.0, 2.0, 0, Outcome.FINISHED))
    for number in range(10):
        table.append(1, Attempt(number, 0, 100.0 - number, 200.0, 0, Outcome.FINISHED))
    table.append(1, Attempt(11, 1, 90.0, None, None, Outcome.RUNNING))
    table.append(1, Attempt(12, 1, 95.0, 96.0, 0, Outcome.FINISHED))
    table.separate(1)
    rows = list(table.rows())
    assert rows[0][3:5] == (1_000_000, 2_000_000)
    ordered = sorted(row[3:5] for row in rows[1:11])
    assert all(end == begin for (_, end), (begin, _) in pairwise(ordered))
    assert ordered[-1][1] == 200_000_000
    assert (OUTCOMES[rows[11][5]], rows[11][4]) == (Outcome.LOST, 95_000_000)


def test_what_cannot_be_a_run_is_refused(table: RunTable) -> None:
    for wrong in (Attempt(-1, 0, 1.0, 2.0, 0, Outcome.FINISHED), Attempt(1, 1.5, 1.0, 2.0, 0, Outcome.FINISHED)):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="impossible run"):
            table.append(0, wrong)
    assert len(table) == 0
