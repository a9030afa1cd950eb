"""How many farmers wait for one lock: by a model with the pauses of the farmers and a clock of its own, so it is exact."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes import Hand, make_farm

from taskfarmer_mpi.errors import LockBusyError
from taskfarmer_mpi.workdir.lock_files import LockPauses


@dataclass
class Queue:
    """What came of a number of farmers that want the lock at once."""

    tries: int
    duration: float
    waits: list[float]
    """For how long each one waited that had it [s]."""


def queue(farmers: int, hold: float, *, visits: int = 1, work: float = 0.0, end: float = 1e9) -> Queue:
    """Have farmers visit under one lock, which each holds for a time [s], with `work` [s] between two visits of one."""
    pauses = [LockPauses(lambda: farmers) for _ in range(farmers)]
    left, since = [visits] * farmers, [0.0] * farmers
    events = [(0.0, number) for number in range(farmers)]
    free_at, now, tries, waits = 0.0, 0.0, 0, []
    while events:
        now, number = heapq.heappop(events)
        if now > end:
            break
        tries += 1
        waited = now - since[number]
        if now < free_at:
            heapq.heappush(events, (now + pauses[number].next(waited), number))
            continue
        free_at = now + hold
        waits.append(waited)
        pauses[number].begin()
        left[number] -= 1
        if left[number]:
            since[number] = free_at + work
            heapq.heappush(events, (since[number], number))
    return Queue(tries, now, waits)


@pytest.fixture(autouse=True)
def dice(monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(1)
    monkeypatch.setattr("taskfarmer_mpi.workdir.lock_files.os.urandom", dice.randbytes)


@pytest.mark.parametrize(("farmers", "most"), [(200, 500), (1000, 1500)])
def test_the_lock_is_asked_for_about_as_often_however_many_wait(farmers: int, most: int) -> None:
    stuck = queue(farmers, 1e9, end=600.0)
    assert stuck.tries / stuck.duration < most
    assert len(stuck.waits) == 1


def test_a_few_farmers_that_want_the_lock_at_once_have_it_soon() -> None:
    few = queue(5, 0.001)
    assert max(few.waits) < 0.1
    assert len(few.waits) == 5


def test_many_farmers_that_want_the_lock_at_once_all_have_it_in_little_more_than_they_hold_it() -> None:
    many = queue(200, 0.02)
    assert len(many.waits) == 200
    assert max(many.waits) < 2 * 200 * 0.02
    assert many.tries < 12 * 200


def test_who_waits_is_not_overtaken_for_ever_where_the_lock_is_always_wanted() -> None:
    crowd = queue(100, 0.02, visits=20, work=1.0)
    assert len(crowd.waits) == 2000
    mean = sum(crowd.waits) / len(crowd.waits)
    assert 0.5 < mean < 2.0
    assert max(crowd.waits) < 8 * mean
    assert crowd.duration < 1.3 * 100 * 20 * 0.02


@pytest.mark.parametrize(("farmers", "hold"), [(200, 0.1), (500, 0.05)])
def test_who_waits_longest_is_not_overtaken_by_all_others_where_visits_are_slow(farmers: int, hold: float) -> None:
    crowd = queue(farmers, hold, visits=1000, work=1.5, end=900.0)
    fair = farmers * hold
    assert max(crowd.waits) < 12 * fair, "in turn it would be one such time"
    assert crowd.tries / crowd.duration < 1500


def test_who_waits_with_patience_does_not_sleep_beyond_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    farm, clock = make_farm(tmp_path, ["true"]), [0.0]
    hands = [Hand(farm, f"20261124T060000-n-{number}-abcdef") for number in range(300)]
    sleeps: list[float] = []

    def sleep(pause: float) -> None:
        sleeps.append(pause)
        clock[0] += pause

    monkeypatch.setattr("taskfarmer_mpi.workdir.locks.time.sleep", sleep)
    monkeypatch.setattr("taskfarmer_mpi.workdir.locks.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(type(farm.lock), "try_acquire", lambda _: False)
    with pytest.raises(LockBusyError, match="no lock within 5 s"), farm.lock.held(5.0):
        pass
    assert clock[0] == pytest.approx(5.0)
    assert len(sleeps) < 60
    farm.lock.is_hurried = lambda: True
    with pytest.raises(LockBusyError), farm.lock.held(600.0):
        pass
    assert clock[0] == pytest.approx(10.0, abs=0.01)
    for hand in hands:
        hand.die()
