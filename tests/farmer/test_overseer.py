"""Who ends tasks that last too long, with slots and a clock that do what a test says."""

from __future__ import annotations

import signal
from collections.abc import Iterable

from fakes import Clock

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.farmer.overseer import Overseer
from taskfarmer_mpi.machine.memory_guard import LOOK_INTERVAL, MemoryGuard
from taskfarmer_mpi.policies.rules import read_rules


class Slots:
    """Notes what is done to the tasks that run."""

    def __init__(self, clock: Clock) -> None:
        self.tasks = {100: (0, clock()), 101: (1, clock())}
        self.done: list[tuple[object, ...]] = []

    busy = property(lambda self: len(self.tasks))

    def running(self) -> list[tuple[int, int, float]]:
        return [(pid, task, since) for pid, (task, since) in self.tasks.items()]

    def ask(self, pids: Iterable[int], number: signal.Signals) -> None:
        self.done.append(("ask", *pids, number))

    def condemn(self, pid: int, cause: Cause) -> None:
        self.done.append(("condemn", pid, cause))

    def kill_one(self, pid: int) -> None:
        self.done.append(("kill", pid))


def overseer(clock: Clock, memory: MemoryGuard | None = None, **texts: str) -> tuple[Overseer, Slots]:
    slots = Slots(clock)
    rules = read_rules({name.replace("_", "-"): text for name, text in texts.items()})
    return Overseer(slots, rules, clock, None, memory), slots  # type: ignore[arg-type]


def test_a_task_that_lasts_too_long_is_asked_and_then_killed_each_once() -> None:
    clock = Clock()
    own, slots = overseer(clock, task_timeout="5", task_signal="INT", task_grace="2")
    del slots.tasks[101]
    for _ in range(100):
        own.step()
        clock.now += 0.1
    assert slots.done == [("condemn", 100, Cause.TIME_LIMIT), ("ask", 100, signal.SIGINT), ("kill", 100)]


def test_another_task_with_the_same_process_number_has_all_of_its_time() -> None:
    clock = Clock()
    own, slots = overseer(clock, task_timeout="5", task_grace="2")
    clock.now += 6
    own.step()
    slots.done.clear()
    slots.tasks = {100: (7, clock())}
    clock.now += 3
    own.step()
    assert slots.done == []


def test_at_a_stop_tasks_have_their_grace_but_not_beyond_the_end_of_the_job() -> None:
    clock = Clock()
    own, slots = overseer(clock, stop_signal="USR1", stop_grace="20")
    assert own.ask_all(clock() + 100) == clock() + 20
    assert slots.done == [("ask", 100, 101, signal.SIGUSR1)]
    assert own.ask_all(clock() + 5) == clock() + 5
    assert own.ask_all(clock() - 1) is None


def test_without_a_rule_nobody_is_asked() -> None:
    clock = Clock()
    own, slots = overseer(clock)
    clock.now += 1e6
    own.step()
    assert own.ask_all(clock() + 100) is None
    assert slots.done == []


def test_while_memory_is_very_short_the_youngest_task_ends_one_after_the_other_but_never_the_last() -> None:
    clock, left = Clock(), [10]
    own, slots = overseer(clock, MemoryGuard(100, clock, bool, lambda: left[0]), task_grace="2")
    slots.tasks = {100: (0, clock()), 101: (1, clock() + 1), 102: (2, clock() + 2)}
    clock.now += 3
    for _ in range(15):
        own.step()
        clock.now += LOOK_INTERVAL
    youngest = [("condemn", 102, Cause.MEMORY_SHORT), ("ask", 102, signal.SIGTERM), ("kill", 102)]
    assert slots.done == youngest
    del slots.tasks[102]
    left[0] = 60
    own.step()
    assert slots.done == youngest, "what it had is there again"
    left[0] = 10
    for _ in range(2):
        clock.now += LOOK_INTERVAL
        own.step()
    assert slots.done[3:] == [("condemn", 101, Cause.MEMORY_SHORT), ("ask", 101, signal.SIGTERM)]
    del slots.tasks[101]
    clock.now += LOOK_INTERVAL
    own.step()
    assert len(slots.done) == 5
