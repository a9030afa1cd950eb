"""Who leads an MPI job and when it is over, without MPI: messages go through a box, time through a clock."""

import fcntl
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fakes import Clock, Hand, Post, ids_in, make_farm, take_tasks

from taskfarmer_mpi.errors import FarmError
from taskfarmer_mpi.farmer.tally import Tally
from taskfarmer_mpi.job.coordination import Coordinator
from taskfarmer_mpi.job.leader_duties import LeaderDuties
from taskfarmer_mpi.job.ranks import DEATH_DELAY
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.workdir.farm import Farm


@dataclass
class FakeFarmer:
    """A farmer that says what it is told to say."""

    hand: Hand
    is_idle: bool = True
    sees_more: bool = False
    shares_limits: bool = False
    unfit: str = ""
    stop_reason: str | None = None
    drain_reason: str | None = None
    trouble: FarmError | None = None
    tally: Tally = field(default_factory=lambda: Tally(2))
    looks: int = 0

    @property
    def journal(self) -> object:
        return self.hand.journal

    @property
    def takes_tasks(self) -> bool:
        return self.stop_reason is None and self.drain_reason is None and self.trouble is None

    def look_again(self) -> None:
        self.looks += 1

    def stop(self, reason: str) -> None:
        self.stop_reason = reason

    def give_up(self, error: FarmError) -> None:
        self.trouble = error


class Job:
    """The ranks of a job in one process."""

    def __init__(self, farm: Farm, size: int) -> None:
        self.clock = Clock()
        self.post = Post(size)
        self.farmers = [FakeFarmer(Hand(farm, f"rank{rank}")) for rank in range(size)]
        paths = {rank: farmer.hand.life.path for rank, farmer in enumerate(self.farmers)}
        self.coordinators = [
            Coordinator(
                channel=self.post.comm(rank),
                farmer=farmer,  # type: ignore[arg-type]
                duties=LeaderDuties(farm, farmer, 60.0, clock=self.clock),  # type: ignore[arg-type]
                life_paths=paths,
                clock=self.clock,
            )
            for rank, farmer in enumerate(self.farmers)
        ]
        self.alive = list(range(size))

    def kill(self, rank: int) -> None:
        self.farmers[rank].hand.die()
        self.alive.remove(rank)

    def turn(self, seconds: float = 5.0) -> None:
        """Let every living rank make its steps for a while."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            for rank in self.alive:
                self.coordinators[rank].step()
            self.clock.now += 0.05

    def ends(self) -> list[int | None]:
        return [self.coordinators[rank].end for rank in self.alive]


def make_job(tmp_path: Path, size: int) -> Job:
    return Job(make_farm(tmp_path, [f"true {i}" for i in range(10)]), size)


def test_a_plain_farmer_looks_at_the_list_once_more_and_ends(tmp_path: Path) -> None:
    job = make_job(tmp_path, 1)
    job.turn()
    assert (job.ends(), job.farmers[0].looks) == ([0], 1)


def test_the_leader_waits_for_a_rank_that_works(tmp_path: Path) -> None:
    job = make_job(tmp_path, 3)
    job.farmers[2].is_idle = False
    job.turn()
    assert job.ends() == [None, None, None]
    job.farmers[2].is_idle = True
    job.turn()
    assert job.coordinators[0].end == 0
    assert job.coordinators[0].reports.keys() == {1, 2}


def test_all_ranks_end_with_the_code_that_the_leader_says(tmp_path: Path) -> None:
    job = make_job(tmp_path, 3)
    job.turn()
    job.coordinators[0].spread("end", 1)
    job.turn()
    assert job.ends()[1:] == [1, 1]


def test_a_stop_at_any_rank_reaches_all_within_a_second(tmp_path: Path) -> None:
    job = make_job(tmp_path, 4)
    for farmer in job.farmers:
        farmer.is_idle = False
    job.coordinators[2].spread_stop("SIGUSR1")
    job.farmers[2].stop("SIGUSR1")
    job.turn(0.6)
    assert [farmer.stop_reason for farmer in job.farmers] == ["SIGUSR1"] * 4
    assert [entry for entry in job.post.log if entry[2] == "stop"] == [(2, rank, "stop") for rank in (0, 1, 3)]


def test_a_dead_ranks_tasks_go_back_and_idle_ranks_are_woken(tmp_path: Path) -> None:
    job = make_job(tmp_path, 3)
    dead = job.farmers[2]
    farm = dead.hand.farm
    taken = take_tasks(farm.workdir.toprocess, 4)
    dead.hand.note("taken", ids=[task.id for task in taken])
    dead.is_idle = False
    job.turn(0.5)
    job.kill(2)
    job.turn()
    assert sorted(ids_in(farm.workdir.toprocess)) == list(range(10))
    assert job.farmers[1].looks == 1
    assert job.coordinators[0].end == 0
    assert job.coordinators[0].ranks.dead == {2}


def test_a_rank_whose_lock_is_gone_for_a_moment_is_not_taken_for_dead(tmp_path: Path) -> None:
    job = make_job(tmp_path, 2)
    job.farmers[1].is_idle = False
    job.kill(1)
    job.turn(DEATH_DELAY / 2)
    assert job.coordinators[0].ranks.dead == set()


def test_the_lowest_living_rank_leads_when_rank_0_is_dead(tmp_path: Path) -> None:
    job = make_job(tmp_path, 3)
    job.farmers[0].is_idle = False
    job.kill(0)
    job.turn(10.0)
    assert job.coordinators[1].is_leader
    assert [coordinator.leader for coordinator in job.coordinators[1:]] == [1, 1]
    assert job.coordinators[1].end == 0
    job.coordinators[1].spread("end", 0)
    job.turn()
    assert job.ends() == [0, 0]


def test_ranks_that_all_work_have_another_leader_when_theirs_dies(tmp_path: Path) -> None:
    """Only a leader heeds `taskfarmer-ctl stop`, and tasks can take hours."""
    job = make_job(tmp_path, 3)
    for farmer in job.farmers:
        farmer.is_idle = False
    job.turn(3.0)
    job.kill(0)
    job.turn(13.0)
    assert [coordinator.leader for coordinator in job.coordinators[1:]] == [1, 1]
    job.kill(1)
    job.turn(13.0)
    assert job.coordinators[2].is_leader
    assert job.ends() == [None]


def test_a_stop_reaches_all_although_the_leader_is_dead(tmp_path: Path) -> None:
    job = make_job(tmp_path, 3)
    job.kill(0)
    job.coordinators[1].spread_stop("SIGUSR1")
    job.farmers[1].stop("SIGUSR1")
    job.farmers[2].is_idle = False
    job.turn(10.0)
    assert job.farmers[2].stop_reason == "SIGUSR1"


def test_a_stopped_leader_does_not_wait_for_a_dead_rank(tmp_path: Path) -> None:
    job = make_job(tmp_path, 2)
    job.farmers[1].is_idle = False
    job.kill(1)
    job.farmers[0].stop("SIGTERM")
    job.turn()
    assert job.coordinators[0].end == 0


def test_idle_ranks_are_woken_when_the_leader_sees_more_than_it_takes(tmp_path: Path) -> None:
    job = make_job(tmp_path, 3)
    job.farmers[2].is_idle = False
    job.turn(0.5)
    job.farmers[0].is_idle = False
    job.farmers[0].sees_more = True
    job.turn(0.5)
    assert job.farmers[1].looks == 1


def test_a_leader_that_starts_no_more_tasks_waits_for_the_others_and_ends(tmp_path: Path) -> None:
    job = make_job(tmp_path, 2)
    job.farmers[0].drain_reason = "no time"
    job.farmers[1].is_idle = False
    job.turn()
    assert job.ends() == [None, None]
    job.farmers[1].is_idle = True
    job.turn()
    assert (job.coordinators[0].end, job.farmers[0].looks) == (0, 0)


def test_the_leader_waits_for_a_dead_farmers_running_tasks_but_not_for_ever(tmp_path: Path) -> None:
    job = make_job(tmp_path, 1)
    farm = job.farmers[0].hand.farm
    other = Hand(farm, "other")
    other.note("taken", ids=[0])
    other.life.release()
    job.turn(30.0)
    assert job.coordinators[0].end is None
    job.turn(60.0)
    assert job.coordinators[0].end == 0
    assert "still run" in job.coordinators[0].recovery.waiting[0]


def test_a_leader_that_gives_up_hands_over_and_is_not_taken_for_dead(tmp_path: Path) -> None:
    job = make_job(tmp_path, 3)
    job.farmers[2].is_idle = False
    job.turn(0.5)
    job.farmers[0].give_up(FarmError("disk full"))
    job.farmers[0].hand.die()
    job.turn(5.0)
    assert [coordinator.leader for coordinator in job.coordinators] == [1, 1, 1]
    assert job.ends() == [None, None, None]
    job.farmers[2].is_idle = True
    job.turn()
    assert job.coordinators[1].end == 0
    assert job.coordinators[1].ranks.dead == set()


def test_a_rank_with_tasks_in_hand_stops_before_it_believes_the_end(tmp_path: Path) -> None:
    job = make_job(tmp_path, 2)
    job.farmers[1].is_idle = False
    job.turn(0.2)
    job.coordinators[0].spread("end", 75)
    job.turn(0.5)
    assert job.coordinators[1].end is None
    assert job.farmers[1].stop_reason == "rank 0 ended the job"
    job.farmers[1].is_idle = True
    job.turn(0.5)
    assert job.coordinators[1].end == 75


def test_a_leader_that_cannot_recover_does_not_end_the_job_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path, 2)
    job.farmers[1].is_idle = False

    def fail(*_: object) -> None:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr("taskfarmer_mpi.job.leader_duties.recover", fail)
    job.turn()
    assert job.farmers[0].trouble is not None
    assert job.ends() == [None, None]
    job.farmers[1].is_idle = True
    job.turn()
    assert [coordinator.leader for coordinator in job.coordinators] == [0, 0]  # nobody is whole; somebody must end it
    assert job.coordinators[0].end == 0


def test_a_rank_that_gave_up_ends_where_there_is_no_board_any_more(tmp_path: Path) -> None:
    job = make_job(tmp_path, 2)
    for farmer in job.farmers:
        farmer.give_up(FarmError("Read-only file system"))
    job.coordinators[1].step()
    assert job.coordinators[1].end is None, "it waits for how the job ends"
    job.post.boxes[1].append((1, "gone", 75))
    job.turn()
    assert job.coordinators[1].end == 75


def test_a_rank_at_work_goes_on_without_a_board(tmp_path: Path) -> None:
    job = make_job(tmp_path, 2)
    job.farmers[1].is_idle = False
    job.post.boxes[1].append((1, "gone", 75))
    job.turn()
    assert (job.coordinators[1].end, job.farmers[1].stop_reason) == (None, None)


def test_a_working_leader_settles_dead_farmers_as_long_as_others_may_wait_for_what_they_have(tmp_path: Path) -> None:
    job = make_job(tmp_path, 3)
    for farmer in job.farmers:
        farmer.is_idle = False
    job.turn(0.5)
    job.farmers[2].hand.note("taken", ids=[7])
    job.kill(2)
    job.farmers[0].sees_more = True
    job.turn(12.0)
    assert job.farmers[2].hand.journal.path.exists()
    job.farmers[0].shares_limits = True
    job.turn(6.0)
    assert not job.farmers[2].hand.journal.path.exists()
    assert job.farmers[0].looks <= 1


def test_a_working_leader_has_idle_ranks_run_what_a_dead_farmer_left(tmp_path: Path) -> None:
    job = make_job(tmp_path, 2)
    farm = job.farmers[0].hand.farm
    job.farmers[0].is_idle = False
    job.turn(0.5)
    other = Hand(farm, "other")
    taken = take_tasks(farm.workdir.toprocess, 3)
    other.note("taken", ids=[task.id for task in taken])
    other.die()
    job.turn(6.0)
    assert len(ids_in(farm.workdir.toprocess)) == 10
    assert job.farmers[1].looks == 1


def test_ranks_that_start_no_more_tasks_are_not_woken(tmp_path: Path) -> None:
    job = make_job(tmp_path, 2)
    job.farmers[1].drain_reason = "no time"
    job.turn(0.5)
    job.farmers[0].is_idle = False
    job.farmers[0].sees_more = True
    job.turn(1.0)
    assert job.farmers[1].looks == 0


def test_a_leader_that_becomes_idle_looks_at_once(tmp_path: Path) -> None:
    job = make_job(tmp_path, 2)
    job.farmers[0].is_idle = False
    job.turn(1.0)
    job.farmers[0].is_idle = True
    job.turn(0.5)
    assert job.coordinators[0].end == 0


def test_survivors_that_ask_at_the_same_time_elect_a_leader(tmp_path: Path) -> None:
    job = make_job(tmp_path, 5)
    job.kill(0)
    job.kill(2)
    with job.farmers[0].hand.life.path.open() as asker:  # another one that asks all the time
        fcntl.flock(asker, fcntl.LOCK_SH)
        job.turn(10.0)
    assert [job.coordinators[rank].leader for rank in job.alive] == [1, 1, 1]


def test_an_idle_rank_does_not_look_without_a_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(tmp_path, 2)
    job.farmers[0].is_idle = False
    job.kill(0)
    looks = []

    def is_taken(path: Path) -> bool:
        looks.append(path)
        return True

    monkeypatch.setattr(LifeLock, "is_taken", is_taken)
    for _ in range(1000):
        job.coordinators[1].step()
        job.clock.now += 0.001
    assert len(looks) < 10
