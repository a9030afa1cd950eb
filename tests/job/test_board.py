"""Messages between ranks as names of files: what is said is heard once, in order, also where the file system is lazy."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import pytest
from fakes import Clock, Hand, make_farm

from taskfarmer_mpi.job.board import SETTLE, Board, Folder, board_path, make_board, remove_dead_boards
from taskfarmer_mpi.workdir.farm import Farm

FARMERS = {0: "first", 1: "second", 2: "third"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    return make_farm(tmp_path, ["true"])


@pytest.fixture
def boards(farm: Farm, clock: Clock) -> list[Board]:
    """Return the views of three ranks."""
    make_board(farm.workdir, FARMERS)
    return [Board(board_path(farm.workdir, FARMERS), rank, clock) for rank in range(3)]


def test_a_message_to_all_reaches_each_other_rank_once(boards: list[Board]) -> None:
    boards[1].send(None, "stop", "SIGUSR1")
    assert [list(board.receive()) for board in boards] == [[(1, "stop", "SIGUSR1")], [], [(1, "stop", "SIGUSR1")]]
    assert [list(board.receive()) for board in boards] == [[], [], []]


def test_a_rank_tells_itself_that_the_board_is_gone(boards: list[Board]) -> None:
    boards[0].send(None, "end", 75)
    shutil.rmtree(boards[0].path)
    assert list(boards[1].receive()) == [(1, "gone", 75)]


def test_a_message_to_one_rank_reaches_that_one_alone(boards: list[Board]) -> None:
    boards[0].send(2, "hello")
    boards[2].send(0, "idle", [0, 2, 5, 0, 1.5, True])
    assert list(boards[2].receive()) == [(0, "hello", None)]
    assert list(boards[1].receive()) == []
    assert list(boards[0].receive()) == [(2, "idle", [0, 2, 5, 0, 1.5, True])]


def test_messages_of_one_rank_are_heard_in_their_order(boards: list[Board]) -> None:
    kinds = [f"kind{number}" for number in range(12)]
    for kind in kinds:
        boards[0].send(None, kind)
    assert [kind for _, kind, _ in boards[1].receive()] == kinds


def test_a_newer_message_of_a_kind_takes_the_place_of_the_older(boards: list[Board]) -> None:
    for number in range(100):
        boards[0].send(None, "wake", number)
        boards[1].send(0, "idle", [number])
    assert list(boards[2].receive()) == [(0, "wake", 99)]
    assert list(boards[0].receive()) == [(1, "idle", [99])]
    assert len(list(boards[0].path.iterdir())) < 6


def test_all_departures_are_heard(boards: list[Board]) -> None:
    for rank in (5, 6, 7):
        boards[0].send(None, "left", [rank])
    assert [content for _, _, content in boards[1].receive()] == [[5], [6], [7]]


def test_a_change_that_leaves_the_time_of_the_directory_as_it_was_is_seen(tmp_path: Path, clock: Clock) -> None:
    """Many file systems note the second of a change only."""
    folder = Folder(tmp_path, clock)
    folder.look()
    status = tmp_path.stat()
    (tmp_path / "late").touch()
    os.utime(tmp_path, ns=(status.st_atime_ns, status.st_mtime_ns))
    clock.now += SETTLE / 2
    assert folder.look() == ["late"]


def test_a_directory_that_has_not_changed_for_long_is_not_listed(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path, clock)
    folder.look()
    clock.now += 2 * SETTLE
    lists: list[object] = []
    monkeypatch.setattr(os, "listdir", lambda fd: lists.append(fd) or [])  # type: ignore[func-returns-value]
    folder.look()
    assert lists == []
    (tmp_path / "new").touch()
    folder.look()
    assert len(lists) == 1


def test_what_cannot_be_sent_now_is_sent_later_and_said_once(boards: list[Board], caplog: pytest.LogCaptureFixture) -> None:
    path = boards[0].path
    shutil.move(path, path.with_name("away"))
    with caplog.at_level(logging.WARNING):
        boards[0].send(None, "stop", "SIGUSR1")
        for _ in range(5):
            assert list(boards[0].receive()) == [(0, "gone", 75)]
    shutil.move(path.with_name("away"), path)
    assert list(boards[1].receive()) == []
    assert list(boards[0].receive()) == []
    assert list(boards[1].receive()) == [(0, "stop", "SIGUSR1")]
    assert caplog.messages == [f"{path}: messages of the ranks cannot be written: No such file or directory"]


def test_what_others_left_on_the_board_is_no_message(boards: list[Board]) -> None:
    for name in ("farmers.bak", "x.y.z.w", "1.1.stop", ".nfs0001", "1.2.stop.[", "core"):
        (boards[0].path / name).touch()
    assert list(boards[0].receive()) == []


def test_the_board_of_a_dead_job_is_removed_and_that_of_a_living_one_is_not(farm: Farm) -> None:
    hands = [Hand(farm, name) for name in FARMERS.values()]
    make_board(farm.workdir, FARMERS)
    make_board(farm.workdir, {0: "dead", 1: "dead too"})
    hands[0].die()
    hands[1].die()
    remove_dead_boards(farm.workdir, farm.lock)
    assert [path.name for path in farm.workdir.jobs.iterdir()] == ["first"], "its third rank lives"
    hands[2].die()
    remove_dead_boards(farm.workdir, farm.lock)
    assert list(farm.workdir.jobs.iterdir()) == []


@pytest.mark.parametrize("listed", [b"", b"[", b"{}", b'["../../x", 3, null]', b"\xff"])
def test_a_board_whose_list_of_farmers_says_nothing_goes_by_its_own_name(farm: Farm, listed: bytes) -> None:
    hand = Hand(farm, "first")
    make_board(farm.workdir, FARMERS)
    (farm.workdir.jobs / "first" / "farmers").write_bytes(listed)
    remove_dead_boards(farm.workdir, farm.lock)
    assert (farm.workdir.jobs / "first").exists()
    hand.die()
    remove_dead_boards(farm.workdir, farm.lock)
    assert not (farm.workdir.jobs / "first").exists()


def test_a_work_directory_without_boards_has_none_to_remove(farm: Farm) -> None:
    remove_dead_boards(farm.workdir, farm.lock)
    assert not farm.workdir.jobs.exists()
