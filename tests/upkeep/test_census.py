"""Where every task is."""

import tracemalloc
from pathlib import Path

import pytest
from fakes import Clock, Hand, ids_in, make_farm

from taskfarmer_mpi.upkeep.census import PLAIN_PATIENCE, Census, reclaim, take_census, take_patient_census
from taskfarmer_mpi.workdir.journal_reading import OpenJournals

COMMANDS = [f"true {i}" for i in range(6)]


def test_every_task_is_counted_where_it_is(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    farm.workdir.toprocess.write_text("5 true 5\n")
    farm.workdir.finished.write_text("0 true 0\n")
    farm.workdir.failed.write_text("1 true 1\n")
    hand = Hand(farm, "alive")
    hand.note("taken", ids=[2, 3])
    hand.end(3, 0)
    assert take_census(farm, 5.0) == Census(total=6, finished=1, failed=[1], to_do=1, held=2, lost=[4])


def test_a_long_list_of_outcomes_is_counted_a_part_at_a_time(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["true"])
    farm.workdir.toprocess.write_text("")
    size = farm.workdir.finished.write_text("".join(f"{i} {'x' * 100}\n" for i in range(100_000)))
    tracemalloc.start()
    try:
        take_census(farm, 5.0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 10e6
    assert peak < 6e6, "a part is 1 MiB, and what is joined or cut off it"


def test_what_is_recorded_while_outcomes_are_counted_does_not_count(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    farm.workdir.toprocess.write_text("".join(f"{i} true {i}\n" for i in (5, 4, 3, 2, 1)))
    farm.workdir.finished.write_text("0 true 0\n")
    farm.workdir.failed.write_text("1 true 1\n")
    release = farm.lock.release

    def record() -> None:
        release()
        with farm.workdir.finished.open("a") as finished:
            finished.write("5 true 5\n")
        farm.workdir.failed.replace(tmp_path / "retried")

    farm.lock.release = record  # type: ignore[method-assign]
    assert take_census(farm, 5.0) == Census(total=6, finished=1, failed=[1], to_do=4, held=0, lost=[])


def test_a_task_listed_twice_does_not_hide_one_in_a_farmers_hands(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    farm.workdir.toprocess.write_text("")
    farm.workdir.finished.write_text("".join(f"{i} true {i}\n" for i in (0, 1, 2, 3, 4, 4)))
    Hand(farm, "alive").note("taken", ids=[5])
    assert take_census(farm, 5.0).lost == []
    assert reclaim(farm, 5.0) == []
    assert farm.workdir.toprocess.read_text() == ""


def test_only_tasks_in_nobodys_hands_are_reclaimed(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    farm.workdir.toprocess.write_text("5 true 5\n")
    farm.workdir.finished.write_text("0 true 0\n")
    Hand(farm, "alive").note("taken", ids=[1])
    assert reclaim(farm, 5.0) == [2, 3, 4]
    assert ids_in(farm.workdir.toprocess) == [5, 4, 3, 2]
    assert reclaim(farm, 5.0) == []


def test_a_plain_farmer_has_some_time_to_record_its_last_task(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "b"])
    farm.workdir.toprocess.write_text("")
    farm.workdir.finished.write_text("0 a\n")
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.now += seconds
        if clock.now > 1000.5:
            farm.workdir.finished.write_text("0 a\n1 b\n")

    assert take_patient_census(farm, 5.0, clock, sleep).lost == []
    assert clock.now < 1000 + PLAIN_PATIENCE


def test_a_task_that_nobody_records_is_lost_after_a_while_and_at_once_where_there_is_no_time(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "b"])
    farm.workdir.toprocess.write_text("")
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.now += seconds

    assert take_patient_census(farm, 5.0, clock, sleep).lost == [0, 1]
    assert 1000 + PLAIN_PATIENCE <= clock.now < 1001 + PLAIN_PATIENCE
    farm.lock.is_hurried = lambda: True
    before = clock.now
    assert take_patient_census(farm, 5.0, clock, sleep).lost == [0, 1]
    assert clock.now == before


def test_tasks_in_the_hands_of_others_are_counted_without_their_journals_under_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = make_farm(tmp_path, ["true"] * 4)
    hand = Hand(farm, "20261124T060000-n-1-abcdef")
    hand.note("taken", ids=[0, 1, 2, 3])
    farm.workdir.toprocess.write_bytes(b"")
    farm.workdir.finished.write_bytes(b"0 true\n")
    held = []
    advance = OpenJournals.advance

    def look(journals: OpenJournals) -> None:
        held.append(farm.lock.is_held)
        advance(journals)
        with farm.workdir.finished.open("ab") as file:  # it is recorded after its journal was read
            file.write(b"1 true\n")

    monkeypatch.setattr(OpenJournals, "advance", look)
    census = take_census(farm, 5.0)
    assert held == [False]
    assert (census.finished, census.held, census.to_do, census.lost) == (2, 2, 0, [])
    hand.die()


def test_a_task_that_goes_back_while_it_is_counted_is_found_on_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = make_farm(tmp_path, ["true"] * 2)
    hand = Hand(farm, "20261124T060000-n-1-abcdef")
    hand.note("taken", ids=[0, 1])
    farm.workdir.toprocess.write_bytes(b"")
    advance = OpenJournals.advance

    def look(journals: OpenJournals) -> None:
        if not farm.lock.is_held:
            farm.workdir.toprocess.write_bytes(b"1 true\n")
            hand.note("given", ids=[1])
        advance(journals)

    monkeypatch.setattr(OpenJournals, "advance", look)
    census = take_census(farm, 5.0)
    assert (census.held, census.to_do, census.lost) == (1, 1, [])
    hand.die()
