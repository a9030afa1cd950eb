"""When a farmer visits the lists: tables of what happened, and of when it comes next."""

import fcntl
import math
from pathlib import Path

import pytest
from fakes import Clock, make_farm

from taskfarmer_mpi.errors import FarmError
from taskfarmer_mpi.tasklists.task import Run, Task
from taskfarmer_mpi.visits.pace import MIN_INTERVAL, RELOOK, Pace
from taskfarmer_mpi.visits.tasks_in_hand import VERDICT_DELAY, TasksInHand
from taskfarmer_mpi.visits.visit_times import LockWait, Situation, VisitTimes

A_TASK = Task(0, "true")


def ended(code: int = 0) -> Run:
    return Run(A_TASK, 0, 0.0, 1.0, code)


def situation(
    *,
    free: int = 0,
    busy: int = 2,
    takes_tasks: bool = True,
    is_stopping: bool = False,
    is_watching: bool = False,
    is_dry: bool = False,
) -> Situation:
    return Situation(free, busy, takes_tasks, is_stopping, is_watching, is_dry)


@pytest.mark.parametrize(
    ("outcomes", "back", "queued", "now", "after"),
    [
        (0, 0, 0, situation(), math.inf),
        (0, 0, 0, situation(free=1, busy=1), MIN_INTERVAL / 20),
        (0, 0, 0, situation(free=1, busy=1, is_dry=True), RELOOK),
        (0, 0, 0, situation(free=2, busy=0, is_dry=True), math.inf),
        (0, 0, 0, situation(free=1, busy=1, takes_tasks=False), math.inf),
        (0, 0, 0, situation(free=2, busy=0, takes_tasks=False, is_watching=True), RELOOK),
        (1, 0, 0, situation(), MIN_INTERVAL),
        (1, 0, 0, situation(free=2, busy=0, is_dry=True), MIN_INTERVAL / 20),
        (1, 0, 0, situation(is_stopping=True), MIN_INTERVAL / 20),
        (0, 1, 0, situation(), MIN_INTERVAL / 20),
        (0, 0, 1, situation(), Pace(2).patience),
    ],
)
def test_the_next_visit_comes_when_it_has_a_reason(
    outcomes: int, back: int, queued: int, now: Situation, after: float
) -> None:
    clock = Clock()
    times = VisitTimes(Pace(2), clock)
    times.see_visit(clock.now, has_taken=True)
    tasks = TasksInHand()
    tasks.outcomes = [ended()] * outcomes
    tasks.back = [A_TASK] * back
    tasks.queue.extend([A_TASK] * queued)
    assert times.due(tasks, now) == pytest.approx(clock.now + after)


def test_tasks_that_may_not_be_taken_are_looked_at_now_and_then_or_when_a_run_has_ended() -> None:
    clock = Clock()
    times, tasks = VisitTimes(Pace(2), clock), TasksInHand()
    times.see_visit(clock(), has_taken=False, blocked=7.0)
    assert times.due(tasks, situation(free=1, busy=1)) == clock() + 7.0
    assert times.due(tasks, situation(free=0, busy=2)) == math.inf
    tasks.outcomes.append(ended())
    assert times.due(tasks, situation(free=1, busy=1)) < clock() + 1.0
    tasks.outcomes.clear()
    times.see_visit(clock(), has_taken=True)
    assert times.due(tasks, situation(free=1, busy=1)) < clock() + 1.0


def test_a_visit_that_was_brought_forward_is_due_at_once() -> None:
    clock = Clock()
    times = VisitTimes(Pace(2), clock)
    times.see_visit(clock.now, has_taken=False)
    times.bring_forward()
    assert times.due(TasksInHand(), situation(free=1)) == clock.now


def test_the_wait_for_the_lock_is_measured_from_the_first_attempt(tmp_path: Path) -> None:
    farm, clock = make_farm(tmp_path, ["true"]), Clock()
    wait = LockWait(farm.lock, clock)
    with (farm.workdir.path / "lock").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert wait.attempt(5.0) is None
        assert 0 < wait.next_pause() < 0.002
        clock.now += 3.0
        assert wait.attempt(5.0) is None
    clock.now += 1.0
    assert wait.attempt(5.0) == 4.0
    farm.lock.release()
    assert wait.attempt(5.0) == 0.0
    farm.lock.release()


def test_the_pauses_between_attempts_grow(tmp_path: Path) -> None:
    wait = LockWait(make_farm(tmp_path, ["true"]).lock, Clock())
    pauses = [wait.next_pause() for _ in range(20)]
    assert max(pauses[:2]) < 0.004
    assert min(pauses[-5:]) >= 0.025
    assert max(pauses) <= 0.05 * 1.5


def test_a_lock_that_others_keep_is_trouble_after_a_while(tmp_path: Path) -> None:
    farm, clock = make_farm(tmp_path, ["true"]), Clock()
    wait = LockWait(farm.lock, clock)
    with (farm.workdir.path / "lock").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert wait.attempt(5.0) is None
        clock.now += 5.1
        with pytest.raises(FarmError, match="no lock within 5 s"):
            wait.attempt(5.0)


def test_a_verdict_is_due_after_its_delay_and_a_shutdown_takes_those_that_wait() -> None:
    tasks = TasksInHand()
    first, second = ended(-15), ended(-9)
    tasks.doubt(first, 10.0)
    tasks.doubt(second, 10.5)
    assert tasks
    assert tasks.next_verdict == 10.0 + VERDICT_DELAY
    assert list(tasks.judged(10.0 + VERDICT_DELAY)) == [first]
    assert list(tasks.doubted()) == [second]
    assert not tasks
    assert tasks.next_verdict is None
