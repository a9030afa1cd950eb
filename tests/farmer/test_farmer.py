"""The loop of one farmer, with a pool and a clock that do what a test says."""

import fcntl
import math
from collections import deque
from pathlib import Path

import pytest
from fakes import Clock, Hand, ids_in, make_farm

from taskfarmer_mpi.errors import FencedError
from taskfarmer_mpi.farmer.farmer import Farmer
from taskfarmer_mpi.farmer.outfit import Limits, Outfit
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.resources.room import Room
from taskfarmer_mpi.runners.shell import BasicRunner, Launch
from taskfarmer_mpi.tasklists.task import Run, Task
from taskfarmer_mpi.visits.pace import Pace
from taskfarmer_mpi.visits.tasks_in_hand import VERDICT_DELAY
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.journal import close_journal
from taskfarmer_mpi.workdir.journal_reading import JournalReader, read_records

SLOTS = 2


class FakePool:
    """Slots in which nothing runs; tasks end when a test says so."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.running: dict[int, tuple[Task, float]] = {}
        self.ended: deque[Run] = deque()
        self.started: list[int] = []
        self.cannot_start: set[int] = set()

    free = property(lambda self: SLOTS - len(self.running))
    busy = property(lambda self: len(self.running))
    next_slot = 0
    room = None

    def make_room(self) -> Room:
        raise AssertionError("no task has a size")

    def start(self, task: Task, launch: Launch) -> Run | None:
        assert launch.argv
        self.started.append(task.id)
        if task.id in self.cannot_start:
            return Run(task, 0, self._clock(), self._clock(), 127)
        self.running[task.id] = (task, self._clock())
        return None

    def end(self, task_id: int, code: int = 0) -> None:
        task, started = self.running.pop(task_id)
        self.ended.append(Run(task, 0, started, self._clock(), code))

    def reap(self) -> list[Run]:
        runs = list(self.ended)
        self.ended.clear()
        return runs

    def kill(self, _patience: float) -> list[Run]:
        for task_id in list(self.running):
            self.end(task_id, -9)
        return self.reap()

    has_survivors = False
    end_of_lease: FencedError | None = None

    def lease_end(self) -> FencedError | None:
        return self.end_of_lease

    def refresh(self) -> None:
        pass

    def close(self) -> None:
        pass


class Stage:
    """A farmer with its surroundings."""

    def __init__(self, tmp_path: Path, count: int, deadline: float = math.inf, **options: float) -> None:
        self.farm: Farm = make_farm(tmp_path, [f"/bin/true {i}" for i in range(count)])
        self.clock = Clock()
        self.pool = FakePool(self.clock)
        self.hand = Hand(self.farm, "me")
        outfit = Outfit(
            self.farm,
            BasicRunner(),
            self.pool,  # type: ignore[arg-type]
            SLOTS,
            self.hand.journal,
            self.hand.life,
            self.hand.task_lock,
        )
        self.farmer = Farmer(outfit, Limits(5.0, lambda: deadline, options.get("task_time")), clock=self.clock)

    def turn(self, seconds: float = 1.0) -> None:
        """Let the farmer make its steps for a while."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.farmer.step()
            self.clock.now += 0.01

    def lists(self) -> tuple[list[int], list[int], list[int]]:
        workdir = self.farm.workdir
        return sorted(ids_in(workdir.toprocess)), ids_in(workdir.finished), ids_in(workdir.failed)


def test_tasks_are_run_in_the_order_of_the_list_and_their_outcomes_recorded(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 4)
    stage.turn(0.1)
    assert stage.pool.started == [0, 1]
    stage.pool.end(1, 3)
    stage.turn(0.5)
    stage.pool.end(0)
    stage.turn(0.5)
    assert stage.pool.started == [0, 1, 2, 3]
    assert stage.lists() == ([], [0], [1])
    stage.pool.end(2)
    stage.pool.end(3)
    stage.turn()
    assert stage.lists() == ([], [0, 2, 3], [1])
    assert stage.farmer.is_idle
    assert (stage.farmer.tally.finished, stage.farmer.tally.failed) == (3, 1)


def test_a_task_that_cannot_be_started_failed_and_the_next_one_gets_its_slot(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 3)
    stage.pool.cannot_start = {0}
    stage.turn()
    assert stage.pool.started == [0, 1, 2]
    assert stage.lists()[2] == [0]


@pytest.mark.parametrize("code", [-15, -10, -9, 143, 130])
def test_the_verdict_on_a_death_by_signal_waits(tmp_path: Path, code: int) -> None:
    stage = Stage(tmp_path, 2)
    stage.turn(0.1)
    stage.pool.end(0, code)
    stage.turn(VERDICT_DELAY - 0.2)
    assert stage.lists()[2] == []
    stage.turn(1.0)
    assert stage.lists()[2] == [0]


@pytest.mark.parametrize("code", [-15, 143])
def test_a_death_by_signal_just_before_a_stop_is_an_interruption(tmp_path: Path, code: int) -> None:
    stage = Stage(tmp_path, 2)
    stage.turn(0.1)
    stage.pool.end(0, code)
    stage.pool.end(1, 7)
    stage.turn(VERDICT_DELAY / 2)
    stage.farmer.stop("SIGTERM")
    stage.turn()
    assert stage.lists() == ([0], [], [1])
    assert stage.farmer.is_idle


def test_a_stop_kills_what_runs_and_gives_everything_back(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 50)
    for _ in range(5):  # short tasks: it takes more than its slots can run
        stage.turn(0.05)
        for task_id in list(stage.pool.running):
            stage.pool.end(task_id)
    stage.turn(0.05)
    done = stage.farmer.tally.finished
    stage.farmer.stop("SIGUSR1")
    assert stage.pool.busy == 0
    stage.turn()
    to_do, finished, failed = stage.lists()
    assert sorted(to_do + finished) == list(range(50))
    assert (len(finished), failed) == (done, [])
    reader = JournalReader(stage.hand.journal.path)
    reader.advance()
    assert reader.state is not None
    assert (reader.state.held, reader.state.ended) == (set(), {})


def test_tasks_that_wait_behind_long_ones_are_given_to_the_others(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 200)
    for _ in range(20):
        stage.turn(0.02)
        for task_id in list(stage.pool.running):
            stage.pool.end(task_id)
    stage.turn(Pace(SLOTS).patience + 3.0)
    to_do, finished, _ = stage.lists()
    assert sorted([*to_do, *finished, *stage.pool.running]) == list(range(200))


def test_no_task_is_started_that_cannot_end_in_time(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 5, deadline=1010.0, task_time=4.0)
    stage.turn(5.0)
    assert stage.pool.started == [0, 1]
    stage.turn(2.0)
    stage.pool.end(0)
    stage.pool.end(1)
    stage.turn()
    assert stage.pool.started == [0, 1]
    assert stage.lists() == ([2, 3, 4], [0, 1], [])
    assert stage.farmer.is_idle
    assert "may take 4 s" in str(stage.farmer.drain_reason)


def test_the_runs_seen_so_far_tell_what_a_task_takes(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 5, deadline=1010.0)
    stage.turn(6.0)
    stage.pool.end(0)
    stage.pool.end(1)
    stage.turn()
    assert stage.pool.started == [0, 1]
    assert stage.farmer.is_idle


def test_a_farmer_that_was_declared_dead_records_nothing_and_kills_its_tasks(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 2)
    stage.turn(0.1)
    close_journal(stage.hand.journal.path)
    stage.pool.end(0)
    stage.turn()
    assert isinstance(stage.farmer.trouble, FencedError)
    assert stage.lists()[1:] == ([], [])
    assert stage.pool.busy == 0
    assert stage.farmer.is_idle


@pytest.mark.parametrize("name", ["alive", "tasks"])
def test_a_farmer_that_has_lost_one_of_its_life_locks_records_nothing(tmp_path: Path, name: str) -> None:
    stage = Stage(tmp_path, 2)
    stage.turn(0.1)
    lock = stage.hand.life if name == "alive" else stage.hand.task_lock
    fcntl.flock(lock.fd, fcntl.LOCK_UN)  # as a file system does whose node was cut off for too long
    other = LifeLock.seize(lock.path)
    assert other is not None
    stage.pool.end(0)
    stage.turn()
    assert isinstance(stage.farmer.trouble, FencedError)
    assert stage.lists()[1:] == ([], [])


def test_a_farmer_whose_locks_nobody_took_takes_them_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 2)
    stage.turn(0.1)
    for lock in (stage.hand.life, stage.hand.task_lock):
        fcntl.flock(lock.fd, fcntl.LOCK_UN)
    stage.pool.end(0)
    stage.turn()
    assert stage.farmer.trouble is None
    assert all(LifeLock.is_taken(lock.path) for lock in (stage.hand.life, stage.hand.task_lock))


def test_a_damaged_list_stops_the_farmer_and_leaves_its_outcomes_in_the_journal(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 3)
    stage.turn(0.1)
    stage.farm.workdir.toprocess.write_text("rubbish\n")
    stage.pool.end(0)
    stage.turn()
    assert "toprocess" in str(stage.farmer.trouble)
    assert stage.farmer.is_idle
    assert stage.farm.workdir.toprocess.read_text() == "rubbish\n"


def test_while_others_hold_the_lock_tasks_go_on(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 3)
    stage.turn(0.1)
    with (stage.farm.workdir.path / "lock").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        stage.pool.end(0)
        stage.turn(2.0)
        assert stage.farmer.trouble is None
        assert stage.lists()[1] == []
    stage.turn()
    assert stage.lists()[1] == [0]


def test_a_lock_that_is_never_had_is_trouble(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 3)
    with (stage.farm.workdir.path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        stage.turn(6.0)
    assert "no lock within 5 s" in str(stage.farmer.trouble)


def test_leaving_closes_the_journal_and_removes_the_locks(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 0)
    stage.turn(0.1)
    stage.farmer.leave()
    assert [path.suffix for path in stage.farm.workdir.farmers.iterdir()] == [".closed"]
    assert [path.name for path in stage.farm.workdir.path.glob("lock*")] == ["lock"]


def test_a_done_task_that_a_plain_farmer_put_back_is_not_run_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 3)
    workdir = stage.farm.workdir
    workdir.finished.write_text("1 /bin/true 1\n")
    workdir.timeline.write_text('[{"cat": "task"}]')
    stage.turn()
    assert stage.pool.started == [0, 2]
    for task_id in (0, 2):
        stage.pool.end(task_id)
    stage.turn()
    assert stage.lists() == ([], [1, 0, 2], [])
    assert stage.farmer.is_idle


def test_a_farmer_that_is_to_look_again_does_not_sleep_first(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 0)
    stage.turn()
    assert stage.farmer.is_idle
    assert stage.farmer.pause() > 0
    stage.farmer.look_again()
    assert stage.farmer.pause() == 0


def test_an_end_is_in_the_journal_before_its_slot_is_used_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 50)
    reaped: list[int] = []
    start, reap = stage.pool.start, stage.pool.reap

    def watched_reap() -> list[Run]:
        runs = reap()
        reaped.extend(run.task.id for run in runs)
        return runs

    def watched_start(task: Task, launch: Launch) -> Run | None:
        records = read_records(stage.hand.journal.path)
        assert [record["id"] for record in records if record["ev"] == "end"] == reaped
        return start(task, launch)

    stage.pool.reap, stage.pool.start = watched_reap, watched_start  # type: ignore[method-assign]
    for _ in range(20):
        stage.turn(0.05)
        for task_id in list(stage.pool.running):
            stage.pool.end(task_id)
    assert len(reaped) > 30
    assert stage.farmer.trouble is None


def test_what_ended_when_the_lease_was_over_is_not_recorded(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 4)
    stage.turn(0.1)
    stage.pool.end(0, 1)  # by the guardian, which kills what runs
    stage.pool.end_of_lease = FencedError("no answer")
    stage.turn(0.1)
    assert str(stage.farmer.trouble) == "no answer"
    assert stage.pool.running == {}
    assert '"end"' not in stage.hand.journal.path.read_text()
    assert stage.lists()[1:] == ([], [])
