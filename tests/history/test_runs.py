"""What the farmers did, as their journals tell it."""

import json
from pathlib import Path

import pytest
from fakes import Hand, make_farm

from taskfarmer_mpi.history.runs import FarmerState, Outcome, read_histories
from taskfarmer_mpi.workdir.journal import close_journal


def test_every_run_is_told_with_its_outcome(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "b", "c", "d"])
    hand = Hand(farm, "1-a")
    for task_id in range(4):
        hand.note("begin", id=task_id, slot=task_id % 2)
    hand.end(0, 0)
    hand.end(1, 3)
    hand.note("killed", id=2, slot=0, begin=1.0, end=2.0, rc=-9, cpu=0.0, rss=0)
    (history,), troubles = read_histories(farm.workdir)
    assert troubles == []
    assert history.state is FarmerState.ALIVE
    expected = [Outcome.FINISHED, Outcome.FAILED, Outcome.KILLED, Outcome.RUNNING]
    assert [attempt.outcome for attempt in history.attempts()] == expected
    hand.die()
    (history,), _ = read_histories(farm.workdir)
    assert history.state is FarmerState.DEAD
    assert [attempt.outcome for attempt in history.attempts()] == [*expected[:3], Outcome.LOST]
    close_journal(hand.journal.path)
    (history,), _ = read_histories(farm.workdir)
    assert history.state is FarmerState.GONE
    assert [attempt.task_id for attempt in history.attempts()] == [0, 1, 2, 3]


def test_a_journal_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a"])
    Hand(farm, "2-b").end(0, 0)
    newer = farm.workdir.farmers / "1-a.closed"
    newer.write_text('{"ev":"farmer","t":1,"format":99}\n')
    empty = farm.workdir.farmers / "3-c.closed"
    empty.write_text("")
    histories, troubles = read_histories(farm.workdir)
    assert [history.identity.farmer for history in histories] == ["2-b"]
    assert [str(newer) in troubles[0], str(empty) in troubles[1]] == [True, True]


@pytest.mark.parametrize(
    ("name", "value", "kind"), [("rank", "x", "int"), ("slots", 1.5, "int"), ("host", None, "str"), ("t", "now", "float")]
)
def test_a_journal_whose_first_line_is_damaged_is_one_trouble(tmp_path: Path, name: str, value: object, kind: str) -> None:
    farm = make_farm(tmp_path, ["a"])
    Hand(farm, "2-b").end(0, 0)
    path = Hand(farm, "1-a").journal.path
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}) + "\n")
    histories, troubles = read_histories(farm.workdir)
    assert [history.identity.farmer for history in histories] == ["2-b"]
    assert troubles == [
        f"{path}: the journal's first line is damaged: {name!r} is no {kind}: taskfarmer-ctl repair mends it"
    ]


def test_a_run_whose_slot_was_used_again_is_over_before_its_end_is_recorded(tmp_path: Path) -> None:
    """A death by a signal is recorded a second later, as a shutdown may have sent it."""
    farm = make_farm(tmp_path, ["kill -SEGV $$", "sleep 9", "sleep 9"])
    hand = Hand(farm, "1-a")
    for task_id in range(3):
        hand.note("begin", id=task_id, slot=min(task_id, 1))
    hand.note("begin", id=3, slot=0)
    (history,), _ = read_histories(farm.workdir)
    runs = {run.task_id: run for run in history.attempts()}
    assert [runs[task].outcome for task in range(4)] == [Outcome.ENDED, Outcome.ENDED, Outcome.RUNNING, Outcome.RUNNING]
    assert runs[0].end == pytest.approx(runs[3].begin)
    hand.die()
    (history,), _ = read_histories(farm.workdir)
    runs = {run.task_id: run for run in history.attempts()}
    assert [runs[task].outcome for task in range(4)] == [Outcome.LOST] * 4
    assert runs[1].end == pytest.approx(runs[2].begin)
    assert runs[2].end is None
