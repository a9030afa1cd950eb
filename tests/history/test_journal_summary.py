"""The summary of a journal says what the whole journal says."""

from pathlib import Path

import pytest
from bigfarm import Shape, write_farm
from fakes import Hand, make_farm

from taskfarmer_mpi.history import journal_summary
from taskfarmer_mpi.history.journal_summary import JournalSummary
from taskfarmer_mpi.history.runs import Outcome, read_histories
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.journal import close_journal


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have even a short journal in many blocks."""
    monkeypatch.setattr(journal_summary, "_BLOCK", 300)


def test_a_summary_agrees_with_every_line_of_the_journal(tmp_path: Path) -> None:
    workdir = Workdir(write_farm(tmp_path, Shape(tasks=500, farmers=2, slots=3, failing=0.2)))
    histories, _ = read_histories(workdir)
    for history in histories:
        runs = list(history.attempts())
        found = JournalSummary(history.path)
        found.advance(range(500))
        assert found.begun == found.ended == len(runs)
        assert found.finished == sum(run.outcome is Outcome.FINISHED for run in runs)
        failed = {run.task_id: run.returncode for run in runs if run.outcome is Outcome.FAILED}
        assert {task: record["rc"] for task, record in found.failures.items()} == failed != {}
        assert found.held == {run.task_id for run in runs}
        assert found.has_left
        assert found.running() == []
        assert history.last_moment() == pytest.approx(max(record["t"] for record in history.records()))


def test_what_runs_is_found_however_long_ago_it_began(tmp_path: Path) -> None:
    hand = Hand(make_farm(tmp_path, [f"true {i}" for i in range(50)]), "1-a")
    found = JournalSummary(hand.journal.path)
    hand.note("taken", ids=list(range(50)))
    hand.note("begin", id=7, slot=1)
    for task in range(10, 40):
        hand.note("begin", id=task, slot=0)
        hand.end(task, 0)
        found.advance()
    hand.note("begin", id=41, slot=0)
    hand.note("killed", id=41, slot=0, begin=1.0, end=2.0, rc=-9, cpu=0.0, rss=0)
    hand.note("given", ids=[41])
    hand.note("begin", id=42, slot=0)
    found.advance()
    assert [(run.task_id, run.slot) for run in found.running()] == [(42, 0), (7, 1)]
    assert [found.killed, 41 in found.held, 42 in found.held] == [1, False, True]
    ends, are_all = found.recent_ends()
    assert (len(ends), are_all, ends == sorted(ends)) == (30, True, True)


def test_a_torn_line_is_taken_in_when_it_is_whole_and_a_journal_may_be_closed(tmp_path: Path) -> None:
    hand = Hand(make_farm(tmp_path, ["true"]), "1-a")
    found = JournalSummary(hand.journal.path)
    with hand.journal.path.open("ab") as file:
        file.write(b'{"ev":"begin","t":5.0,')
        file.flush()
        found.advance()
        assert found.begun == 0
        file.write(b'"id":0,"slot":0}\n')
    close_journal(hand.journal.path)
    found.advance()
    assert found.begun == 1
    assert [run.task_id for run in found.running()] == [0]


def test_a_line_longer_than_a_block_is_read_whole(tmp_path: Path) -> None:
    hand = Hand(make_farm(tmp_path, ["true"]), "1-a")
    hand.note("begin", id=0, slot=0)
    hand.note("taken", ids=list(range(1000)))
    found = JournalSummary(hand.journal.path)
    found.advance()
    assert len(found.held) == 1000
    assert [run.task_id for run in found.running()] == [0]


def test_a_run_whose_slot_was_used_again_does_not_run(tmp_path: Path) -> None:
    hand = Hand(make_farm(tmp_path, [f"true {i}" for i in range(9)]), "1-a")
    found = JournalSummary(hand.journal.path)
    hand.note("taken", ids=list(range(9)))
    hand.note("begin", id=0, slot=0)
    hand.note("begin", id=1, slot=1)
    for task in range(2, 6):  # 0 died by a signal, which is recorded later
        hand.note("begin", id=task, slot=0)
        hand.end(task, 0)
    found.advance()
    assert [run.task_id for run in found.running()] == [1]
    hand.note("begin", id=6, slot=0)
    found.advance()
    assert [run.task_id for run in found.running()] == [6, 1]


@pytest.mark.parametrize("ids", [["a", None], "12", 7, [[1, 5]], [-1]])
def test_ids_that_are_none_do_not_count(tmp_path: Path, ids: object) -> None:
    hand = Hand(make_farm(tmp_path, ["true"]), "1-a")
    hand.note("taken", ids=[0])
    hand.note("taken", ids=ids)
    found = JournalSummary(hand.journal.path)
    found.advance()
    assert (found.held, found.has_damage) == ({0}, True)


@pytest.mark.parametrize(
    "line", [b"rubbish", b'{"ev":"begin","t":1.0,"id":', b"\0" * 40, b'{"ev":"end"}{"ev":"end"}', b"[]"]
)
def test_a_line_that_is_no_record_is_seen_and_hides_no_other(tmp_path: Path, line: bytes) -> None:
    hand = Hand(make_farm(tmp_path, ["true"]), "1-a")
    hand.note("taken", ids=[0])
    found = JournalSummary(hand.journal.path)
    found.advance()
    assert not found.has_damage
    with hand.journal.path.open("ab") as file:
        file.write(line + b"\n")
    hand.note("taken", ids=[1])
    found.advance()
    assert (found.held, found.has_damage) == ({0, 1}, True)
