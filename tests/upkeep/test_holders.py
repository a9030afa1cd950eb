"""Farmers that have tasks while another one has none: seen to work, or not."""

from pathlib import Path

import pytest
from fakes import Clock, Hand, make_farm

from taskfarmer_mpi.upkeep.holders import SEEN, Holders, is_anyone_at_work


@pytest.fixture(autouse=True)
def _network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskfarmer_mpi.upkeep.holders.is_local", lambda _path: False)


def test_a_farmer_with_tasks_is_unseen_until_its_journal_grows_and_again_after_a_minute(tmp_path: Path) -> None:
    farm, clock = make_farm(tmp_path, ["true"] * 4), Clock()
    own, other = Hand(farm, "own"), Hand(farm, "other")
    other.note("taken", ids=[0, 1])
    holders = Holders(farm, clock)
    assert "has 2 tasks and was not seen to work" in holders.unseen(own.journal.path)[0]
    clock.now += 5
    assert "was not seen to work for 5 s" in holders.unseen(own.journal.path)[0]
    other.note("alive")
    assert holders.unseen(own.journal.path) == []
    clock.now += SEEN - 1
    assert holders.unseen(own.journal.path) == []
    clock.now += 1
    assert "was not seen to work for 1 min" in holders.unseen(own.journal.path)[0]
    other.end(0, 0)
    other.note("given", ids=[1])
    assert holders.unseen(own.journal.path) == []


@pytest.mark.parametrize("record", [("leave", {}), ("given", {"ids": [0]})])
def test_who_has_no_tasks_is_not_asked_for(tmp_path: Path, record: tuple[str, dict[str, object]]) -> None:
    farm = make_farm(tmp_path, ["true"] * 4)
    own, other = Hand(farm, "own"), Hand(farm, "other")
    own.note("taken", ids=[1])
    other.note("taken", ids=[0])
    other.note("given", ids=[0])
    other.note(record[0], **record[1])
    assert Holders(farm, Clock()).unseen(own.journal.path) == []


def test_where_a_lock_is_free_when_its_holder_dies_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskfarmer_mpi.upkeep.holders.is_local", lambda _path: True)
    farm = make_farm(tmp_path, ["true"] * 4)
    own, other = Hand(farm, "own"), Hand(farm, "other")
    other.note("taken", ids=[0])
    assert Holders(farm, Clock()).unseen(own.journal.path) == []


def test_others_are_at_work_as_long_as_one_of_them_lives(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["true"] * 4)
    own, other, third = (Hand(farm, name) for name in ("own", "other", "third"))
    lives = [hand.life.path for hand in (own, other, third)]
    assert is_anyone_at_work(farm, lives[:1])
    assert is_anyone_at_work(farm, lives[:2])
    assert not is_anyone_at_work(farm, lives)
    third.die()
    assert not is_anyone_at_work(farm, lives[:2])
