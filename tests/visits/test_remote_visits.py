"""What a visit asks of a file system of several nodes, and when a farmer there is fenced."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fakes import Hand, make_farm, run

from taskfarmer_mpi.errors import FencedError
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.visits.neighbours import Neighbours
from taskfarmer_mpi.visits.pace import Pace
from taskfarmer_mpi.visits.tasks_in_hand import TasksInHand
from taskfarmer_mpi.visits.visit import Visit
from taskfarmer_mpi.visits.visit_times import Situation
from taskfarmer_mpi.visits.visits import Visits


class _Farmer:
    """A farmer on a file system of several nodes, where a write is an error once a lock was lost."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("taskfarmer_mpi.workdir.locks.is_local", lambda _: False)
        monkeypatch.setattr("taskfarmer_mpi.workdir.locks.refuses_lost_locks", lambda _: True)
        monkeypatch.setattr("taskfarmer_mpi.lives.life_locks.refuses_lost_locks", lambda _: True)
        self.farm = make_farm(folder, ["true"] * 20)
        self.farm.lock.keep_open()
        self.hand = Hand(self.farm, "hand")
        neighbours = Neighbours(self.hand.journal.path, self.hand.identity, time.monotonic)
        locks = (self.hand.task_lock, self.hand.life)
        self._visits = Visits(self.farm, self.hand.journal, locks, Pace(1), neighbours, 5.0, time.monotonic)
        self.tasks = TasksInHand()

    def visit(self) -> Visit:
        """Record what is in hand, and take one task, which is done at once."""
        situation = Situation(free=1, busy=0, takes_tasks=True, is_stopping=False, is_watching=False, is_dry=False)
        visit = self._visits.visit(self.tasks, situation)
        assert visit is not None
        self.tasks.outcomes = [run(self.farm, task.id, 0) for task in self.tasks.queue]
        self.tasks.queue.clear()
        return visit


@pytest.fixture
def farmer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Farmer:
    """Return a farmer that has visited the lists twice, and has an outcome to record."""
    farmer = _Farmer(tmp_path, monkeypatch)
    for _ in range(2):
        farmer.visit()
    return farmer


def _watch(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count calls, by name and file, that a server is asked for."""
    calls: Counter[str] = Counter()

    def count(module: Any, name: str) -> None:
        real = getattr(module, name)

        def counting(what: Any, *arguments: Any) -> Any:
            path = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else os.fspath(what)
            is_asked = not (name == "open" and arguments[0] & os.O_PATH)
            result = real(what, *arguments)  # of a file that is missing the client knows, from its directory
            kind = "unlock" if name == "flock" and arguments[0] == fcntl.LOCK_UN else name
            calls[f"{kind} {os.path.basename(path)}"] += is_asked and not path.startswith("/proc/")
            return result

        monkeypatch.setattr(module, name, counting)

    for name in ("open", "fsync", "fdatasync", "ftruncate"):
        count(os, name)
    count(fcntl, "flock")
    return calls


def test_a_visit_asks_a_server_for_as_little_as_is_right(farmer: _Farmer, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = _watch(monkeypatch)
    assert farmer.visit().recorded == 1
    workdir = farmer.farm.workdir.path.name
    assert +calls == Counter(
        [
            *("flock lock", f"open {workdir}", "fsync lock", "unlock lock"),
            "fsync lock.hand.alive",
            *("open finished", "flock finished", "fdatasync finished"),
            *("open toprocess", "flock toprocess", "ftruncate toprocess"),
            "fdatasync hand.journal",
        ]
    )


def test_all_that_is_written_is_locked_before_the_work_lock_is_confirmed(
    farmer: _Farmer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = _watch(monkeypatch)
    locked: list[list[str]] = []
    confirm = farmer.farm.lock.confirm

    def see() -> None:
        locked.append(sorted(call for call in +calls if call in ("flock finished", "flock toprocess")))
        confirm()

    monkeypatch.setattr(farmer.farm.lock, "confirm", see)
    farmer.visit()
    assert locked == [["flock finished", "flock toprocess"]]


def test_where_lists_cannot_be_locked_the_work_lock_is_confirmed_before_each_of_them(
    farmer: _Farmer, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock
    confirmed: list[set[str]] = []
    confirm = farmer.farm.lock.confirm

    def refuse(fd: int, how: int) -> None:
        if os.path.basename(os.readlink(f"/proc/self/fd/{fd}")) == "toprocess":
            raise OSError(errno.ENOLCK, "No locks available")
        flock(fd, how)

    def see() -> None:
        names = {os.path.basename(os.readlink(link)) for link in Path("/proc/self/fd").iterdir() if os.path.lexists(link)}
        confirmed.append(names & {"finished", "toprocess"})
        confirm()

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(farmer.farm.lock, "confirm", see)
    farmer.visit()
    assert len(confirmed) == 2
    assert "toprocess" in confirmed[1]


def _lose(lock: LifeLock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a lock away, as a server does; what is written through its descriptor is an error from now on."""
    fsync = os.fsync

    def refuse(fd: int) -> None:
        if fd == lock.fd:
            raise OSError(errno.EIO, "Input/output error")
        fsync(fd)

    fcntl.flock(lock.fd, fcntl.LOCK_UN)
    monkeypatch.setattr(os, "fsync", refuse)


def test_a_farmer_whose_life_lock_others_have_is_fenced_although_its_journal_is_in_place(
    farmer: _Farmer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lose(farmer.hand.life, monkeypatch)
    other = LifeLock.seize(farmer.hand.life.path)
    assert other is not None
    with pytest.raises(FencedError):
        farmer.visit()
    assert len(farmer.tasks.outcomes) == 1
    other.release()


def test_a_farmer_whose_task_lock_others_have_is_fenced_once_its_life_lock_was_lost(
    farmer: _Farmer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lose(farmer.hand.life, monkeypatch)
    fcntl.flock(farmer.hand.task_lock.fd, fcntl.LOCK_UN)
    other = LifeLock.seize(farmer.hand.task_lock.path)
    assert other is not None
    with pytest.raises(FencedError):
        farmer.visit()
    other.release()


def test_life_locks_that_were_lost_and_that_nobody_has_are_taken_again_both(
    farmer: _Farmer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lose(farmer.hand.life, monkeypatch)
    fcntl.flock(farmer.hand.task_lock.fd, fcntl.LOCK_UN)
    farmer.visit()
    assert LifeLock.seize(farmer.hand.life.path) is None
    assert LifeLock.seize(farmer.hand.task_lock.path) is None


def test_a_farmer_whose_journal_was_moved_away_is_fenced(farmer: _Farmer) -> None:
    farmer.hand.journal.path.rename(farmer.hand.journal.path.with_suffix(".closed"))
    with pytest.raises(FencedError):
        farmer.visit()
