"""Tasks run only while a guardian sees to their lease, where there is one."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from taskfarmer_mpi.errors import ShortageError
from taskfarmer_mpi.farmer import guard
from taskfarmer_mpi.farmer.guard import Guard
from taskfarmer_mpi.lives import guardian, lease
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.lives.owner import Owner

LEASE = 60.0
HANGING = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(1000)"]
"""A guardian that comes to nothing, as one whose node is cut off before it has begun."""


@pytest.fixture
def place(tmp_path: Path) -> tuple[Owner, LifeLock]:
    lock = LifeLock.create(tmp_path / "tasks", 0o600)
    return Owner(f"farmer-{time.monotonic_ns()}", str(lock.path), str(tmp_path), {}), lock


def _hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guardian, "command", lambda *_: HANGING)
    monkeypatch.setattr(guard, "PATIENCE", 0.05)


def test_a_task_starts_once_the_guardian_has_begun(place: tuple[Owner, LifeLock]) -> None:
    mine = Guard(*place, LEASE)
    mine.see_start(0, 7)
    sheet = place[1].lease
    assert sheet is not None
    assert (sheet.watcher(), sheet.running_tasks()) == (mine.pid, {7})
    assert mine.lease_end() is None
    mine.see_task_end(0)
    mine.send_home()


def test_no_task_starts_beside_a_guardian_that_hangs(place: tuple[Owner, LifeLock], monkeypatch: pytest.MonkeyPatch) -> None:
    _hang(monkeypatch)
    mine = Guard(*place, LEASE)
    with pytest.raises(ShortageError, match=r"the guardian of this farmer.s tasks has not begun"):
        mine.see_start(0, 7)
    assert place[1].lease is not None
    assert place[1].lease.running_tasks() == set()
    assert mine.lease_end() is None
    mine.send_home()
    assert not Path(f"/proc/{mine.pid}").exists()


def test_where_the_next_guardian_hangs_the_farmer_itself_sees_the_end_of_the_lease(
    place: tuple[Owner, LifeLock], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Guard(*place, LEASE)
    mine.see_start(0, 7)
    mine.send_home()
    _hang(monkeypatch)
    after = Guard(*place, LEASE)
    sheet = place[1].lease
    assert sheet is not None
    sheet.note(0, 7)
    assert after.lease_end() is None
    sheet.write_proof(lease.now() - LEASE * lease.LIMIT - 0.1)
    end = after.lease_end()
    assert end is not None
    assert "had no answer of its file system for 50 s" in str(end)
    sheet.note(0, None)
    assert after.lease_end() is None
    after.send_home()
