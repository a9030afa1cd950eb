"""What a farmer notes in its journal for the trace, and that recovery does not mind."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest
from fakes import Hand, ids_in, make_farm
from test_farmer import Stage

from taskfarmer_mpi.errors import FarmError
from taskfarmer_mpi.farmer.farmer import SIGN_INTERVAL
from taskfarmer_mpi.history.runs import Attempt, Outcome, read_histories
from taskfarmer_mpi.upkeep.recovery import note_recovery, recover
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.journal_reading import JournalReader, read_records
from taskfarmer_mpi.workdir.journal_records import Record


def records(stage: Stage, *kinds: str) -> list[Record]:
    return [record for record in read_records(stage.hand.journal.path) if record["ev"] in kinds]


def test_a_visit_is_noted_with_what_it_brought_once_the_list_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, 5)
    note = stage.hand.journal.note
    left: list[int] = []

    def watched(kind: str, **fields: object) -> None:
        if kind == "visit":
            left.append(len(ids_in(stage.farm.workdir.toprocess)))
        note(kind, **fields)

    monkeypatch.setattr(stage.hand.journal, "note", watched)
    stage.turn(0.1)
    stage.pool.end(0, 1)
    stage.turn(0.5)
    first, second = records(stage, "visit")
    assert [first["taken"], first["recorded"], first["back"]] == [5 - left[0], 0, 0]
    assert second["recorded"] == 1
    assert first["begin"] <= first["t"] <= second["begin"] <= second["t"]
    kinds = [record["ev"] for record in records(stage, "taken", "visit", "begin")]
    assert kinds[:3] == ["taken", "visit", "begin"]


def test_a_visit_tells_how_long_the_lock_was_waited_for(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 2)
    with stage.farm.lock.paths[0].open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        stage.turn(2.0)
    stage.turn(1.0)
    assert 1.9 < records(stage, "visit")[0]["wait"] < 2.2


def test_an_idle_farmer_does_not_fill_its_journal_with_visits(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 1)
    stage.turn(0.1)
    stage.pool.end(0)
    stage.turn(1.0)
    size = stage.hand.journal.path.stat().st_size
    for _ in range(20):
        stage.farmer.look_again()
        stage.turn(1.0)
    assert stage.hand.journal.path.stat().st_size == size


def test_a_farmer_gives_a_sign_of_life_now_and_then_while_its_tasks_run(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 1)
    stage.turn(3.5 * SIGN_INTERVAL)
    assert len(records(stage, "alive")) == 3
    stage.pool.end(0)
    stage.turn(3 * SIGN_INTERVAL)
    assert len(records(stage, "alive")) == 3


def test_a_visit_that_failed_between_journal_and_list_leaves_taken_as_the_last_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise FarmError("no space")

    monkeypatch.setattr("taskfarmer_mpi.workdir.stack.Stack.cut", fail)
    stage = Stage(tmp_path, 4)
    stage.turn(0.1)
    assert stage.farmer.trouble is not None
    reader = JournalReader(stage.hand.journal.path)
    reader.advance()
    assert reader.state is not None
    assert reader.state.suspect == reader.state.held != set()


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    return make_farm(tmp_path, ["a", "b", "c"])


def test_recovery_passes_over_notes_and_is_itself_noted(farm: Farm) -> None:
    farm.workdir.toprocess.write_text("2 c\n1 b\n")
    dead, alive = Hand(farm, "1-dead"), Hand(farm, "2-alive")
    dead.note("recovery", begin=1.0, end=2.0, farmers=1, tasks=1)
    dead.note("start", begin=1.0)
    dead.note("taken", ids=[0])
    dead.note("visit", begin=1.0, wait=0.0, recorded=0, back=0, taken=1)
    dead.die()
    recovery = recover(farm, (alive.journal.path,), 5.0)
    assert [recovery.farmers, recovery.tasks, sorted(ids_in(farm.workdir.toprocess))] == [1, 1, [0, 1, 2]]
    assert 0 < recovery.begin <= recovery.end
    note_recovery(alive.journal, recovery)
    note_recovery(alive.journal, recover(farm, (alive.journal.path,), 5.0))
    alive.journal.flush()
    (note,) = [record for record in read_records(alive.journal.path) if record["ev"] == "recovery"]
    assert [note["farmers"], note["tasks"]] == [1, 1]


def test_a_history_tells_notes_and_runs_in_the_order_of_the_journal(farm: Farm) -> None:
    hand = Hand(farm, "1-a")
    hand.note("start", begin=1.0)
    hand.note("begin", id=1, slot=0)
    hand.note("visit", begin=1.0, wait=0.0, recorded=0, back=0, taken=1)
    hand.end(0, 3)
    hand.die()
    (history,), _ = read_histories(farm.workdir)
    told = [item.outcome if isinstance(item, Attempt) else item["ev"] for item in history.happenings()]
    assert told == ["start", "visit", Outcome.FAILED, Outcome.LOST]
    assert [attempt.seen > 0 for attempt in history.attempts()] == [False, True]
