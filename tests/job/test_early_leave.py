"""Ranks that leave before the end of their job, and nodes that go back to the scheduler: without MPI and without Slurm."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fakes import make_farm
from test_coordination import Job, make_job

from taskfarmer_mpi.common.programs import AskError, ask
from taskfarmer_mpi.errors import FarmError
from taskfarmer_mpi.farmer.pool import Pool
from taskfarmer_mpi.job.early_leave import END_DELAY, LOOK_INTERVAL, REQUEST_INTERVAL, EarlyLeave, Step
from taskfarmer_mpi.job.schedulers.slurm import give_nodes_back, job_of
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.runners.shell import BasicRunner
from taskfarmer_mpi.tasklists.task import Run, Task

DELAY = 3.0


class Scheduler:
    """A scheduler that takes nodes back, or refuses."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, set[str]]] = []
        self.refuses = False

    def give_back(self, job: str, step: str, nodes: set[str]) -> list[str]:
        self.calls.append((job, step, nodes))
        if self.refuses:
            raise AskError("scontrol: no")
        return sorted(nodes)


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler()


def leaving_job(tmp_path: Path, size: int, scheduler: Scheduler, hosts: dict[int, str] | None = None) -> Job:
    """Return a job whose ranks may leave."""
    job = make_job(tmp_path, size)
    step = Step("7", "0", hosts or {rank: f"n{rank}" for rank in range(size)})
    for coordinator in job.coordinators:
        coordinator.early_leave = EarlyLeave(coordinator.ranks, step, DELAY, give_back=scheduler.give_back, clock=job.clock)
    return job


def end(job: Job, rank: int) -> None:
    """Let the process of a rank end as it does after it left: its locks are gone."""
    hand = job.farmers[rank].hand
    hand.journal.close()
    hand.journal.path.rename(hand.journal.path.with_suffix(".closed"))
    for lock in (hand.life, hand.task_lock):
        lock.path.unlink()
        lock.release()
    job.alive.remove(rank)


def test_an_idle_rank_leaves_while_the_leader_works_and_its_tally_counts(tmp_path: Path, scheduler: Scheduler) -> None:
    job = leaving_job(tmp_path, 2, scheduler)
    job.farmers[0].is_idle = False
    job.farmers[1].tally.finished = 5
    job.turn(DELAY / 2)
    assert job.ends() == [None, None]
    job.turn(DELAY)
    assert job.ends() == [None, 0]
    end(job, 1)
    job.farmers[0].is_idle = True
    job.turn()
    assert job.ends() == [0]
    assert job.coordinators[0].reports[1].tally.finished == 5
    assert job.coordinators[0].ranks.dead == set()


def test_a_rank_that_works_stays(tmp_path: Path, scheduler: Scheduler) -> None:
    job = leaving_job(tmp_path, 2, scheduler)
    for farmer in job.farmers:
        farmer.is_idle = False
    job.turn(10 * DELAY)
    assert job.ends() == [None, None]


def test_a_rank_that_is_woken_when_it_asks_stays(tmp_path: Path, scheduler: Scheduler) -> None:
    job = leaving_job(tmp_path, 2, scheduler)
    leader, other = job.coordinators
    job.farmers[0].is_idle = False
    job.turn(DELAY - 0.5)
    job.farmers[0].sees_more = True
    leader.step()
    job.farmers[0].sees_more = False
    job.post.comm(1).send(0, "leaving")  # it asked before it heard that there is work
    job.clock.now += 1.0
    leader.step()
    assert leader.ranks.left == set()
    other.step()
    assert job.farmers[1].looks == 1
    assert other.end is None


def test_the_next_leader_knows_who_left(tmp_path: Path, scheduler: Scheduler) -> None:
    job = leaving_job(tmp_path, 3, scheduler)
    job.farmers[0].is_idle = job.farmers[1].is_idle = False
    job.farmers[2].tally.failed = 3
    job.turn(2 * DELAY)
    assert job.ends() == [None, None, 0]
    end(job, 2)
    job.kill(0)
    job.farmers[1].is_idle = True
    job.turn(10)
    assert job.ends() == [0]
    assert job.coordinators[1].is_leader
    assert job.coordinators[1].reports[2].tally.failed == 3
    assert (job.coordinators[1].ranks.dead, job.coordinators[1].ranks.left) == ({0}, {2})


def test_a_stop_after_some_left_reaches_the_others(tmp_path: Path, scheduler: Scheduler) -> None:
    job = leaving_job(tmp_path, 3, scheduler)
    job.farmers[0].is_idle = job.farmers[1].is_idle = False
    job.turn(2 * DELAY)
    end(job, 2)
    job.coordinators[1].spread_stop("SIGUSR1")
    job.farmers[1].stop("SIGUSR1")
    for farmer in job.farmers:
        farmer.is_idle = True
    job.turn()
    assert [job.farmers[rank].stop_reason for rank in (0, 1)] == ["SIGUSR1"] * 2
    assert job.coordinators[0].end == 0


def test_a_rank_in_trouble_does_not_leave(tmp_path: Path, scheduler: Scheduler) -> None:
    job = leaving_job(tmp_path, 2, scheduler)
    job.farmers[0].is_idle = False
    job.farmers[1].trouble = FarmError("full disk")
    job.turn(3 * DELAY)
    assert job.ends() == [None, None]


def _returned(job: Job, scheduler: Scheduler, seconds: float) -> list[set[str]]:
    """Let time pass, and return what went back to the scheduler until then."""
    end_of_turn = job.clock.now + seconds
    while job.clock.now < end_of_turn:
        job.turn(0.5)
        early_leave = job.coordinators[job.coordinators[job.alive[0]].leader].early_leave
        assert early_leave is not None
        early_leave.wait()
    return [nodes for _, _, nodes in scheduler.calls]


def test_a_node_goes_back_when_the_last_of_its_ranks_has_ended(tmp_path: Path, scheduler: Scheduler) -> None:
    job = leaving_job(tmp_path, 4, scheduler, {0: "n1", 1: "n1", 2: "n2", 3: "n2"})
    job.farmers[0].is_idle = job.farmers[3].is_idle = False
    job.turn(2 * DELAY)
    for rank in (1, 2):
        end(job, rank)
    assert _returned(job, scheduler, 3 * END_DELAY) == []
    job.farmers[3].is_idle = True
    assert _returned(job, scheduler, 3 * DELAY) == [], "it has asked, but its process is there"
    end(job, 3)
    assert _returned(job, scheduler, 3 * END_DELAY) == [{"n2"}]
    assert scheduler.calls[0][:2] == ("7", "0")


def test_nodes_that_become_free_one_soon_after_the_other_go_together(tmp_path: Path, scheduler: Scheduler) -> None:
    job = leaving_job(tmp_path, 4, scheduler)
    job.farmers[0].is_idle = False
    job.turn(2 * DELAY)
    for rank in (1, 2, 3):
        end(job, rank)
        job.turn(LOOK_INTERVAL)
    assert _returned(job, scheduler, 3 * END_DELAY) == [{"n1", "n2", "n3"}]


def test_a_scheduler_that_refuses_is_asked_less_and_less_and_said_once(
    tmp_path: Path, scheduler: Scheduler, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler.refuses = True
    job = leaving_job(tmp_path, 2, scheduler)
    job.farmers[0].is_idle = False
    job.turn(2 * DELAY)
    end(job, 1)
    with caplog.at_level(logging.WARNING):
        calls = _returned(job, scheduler, 8 * REQUEST_INTERVAL)
    assert calls == [{"n1"}] * 4
    assert [record.message for record in caplog.records] == ["nodes whose ranks have left stay in the job: scontrol: no"]


# -- the scheduler's side -------------------------------------------------------------------------


def _slurm(steps: str, nodes: list[str], said: list[tuple[str, ...]]) -> Callable[..., str]:
    def ask(*command: str) -> str:
        said.append(command)
        if "--steps" in command:
            return steps
        return "\n".join(nodes) if "hostnames" in command else "n[1-3]"

    return ask


def test_the_nodes_that_are_left_are_named_to_slurm() -> None:
    said: list[tuple[str, ...]] = []
    ask = _slurm("7.batch\n7.extern\n7.0\n", ["n1", "n2", "n3"], said)
    assert give_nodes_back("7", "0", {"n2"}, ask) == ["n2"]
    assert said[-1] == ("scontrol", "update", "JobId=7", "NodeList=n1,n3")


def test_an_element_of_an_array_names_itself_and_not_the_array() -> None:
    said: list[tuple[str, ...]] = []
    job = job_of({"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"})
    assert give_nodes_back(job, "0", {"n2"}, _slurm("7_2.batch\n7_2.0\n", ["n1", "n2", "n3"], said)) == ["n2"]
    assert said[-1] == ("scontrol", "update", "JobId=7_2", "NodeList=n1,n3")
    assert all("--jobs=7_2" in command for command in said if command[0] == "squeue")


@pytest.mark.parametrize(
    ("environ", "job"),
    [
        ({"SLURM_JOB_ID": "9"}, "9"),
        ({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"}, "7_0"),
        ({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7"}, "9"),
        ({"SLURM_JOB_ID": "x", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"}, ""),
        ({}, ""),
    ],
)
def test_a_job_is_named_as_slurm_s_commands_do(environ: dict[str, str], job: str) -> None:
    assert job_of(environ) == job


def test_the_first_node_stays_in_the_job() -> None:
    said: list[tuple[str, ...]] = []
    assert give_nodes_back("7", "0", {"n1"}, _slurm("7.0", ["n1", "n2", "n3"], said)) == []
    assert all("update" not in command for command in said)


def test_a_job_with_another_step_keeps_its_nodes() -> None:
    said: list[tuple[str, ...]] = []
    with pytest.raises(AskError, match=r"other steps, which may use these nodes: 7\.1"):
        give_nodes_back("7", "0", {"n2"}, _slurm("7.0\n7.1\n", ["n1", "n2", "n3"], said))
    assert len(said) == 1


def test_a_step_that_slurm_does_not_know_keeps_its_nodes() -> None:
    said: list[tuple[str, ...]] = []
    with pytest.raises(AskError, match="squeue does not show step 0 of job 7"):
        give_nodes_back("7", "0", {"n2"}, _slurm("7.batch", ["n1", "n2", "n3"], said))
    assert len(said) == 1


def test_the_pool_leaves_the_exit_status_of_a_command_to_who_asked(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["sleep 0.2"])
    task_lock = LifeLock.create(tmp_path / "tasks.lock", 0o600)
    pool = Pool(slots=1, farmer="one-who-asks", task_lock=task_lock, workdir=farm.workdir, environ={})
    task = Task(0, farm.catalog[0])
    assert pool.start(task, BasicRunner().launch(task.text)) is None
    with ThreadPoolExecutor() as threads:
        asked = [threads.submit(ask, "sh", "-c", "echo no >&2; exit 1") for _ in range(20)]
        runs: list[Run] = []
        while not all(answer.done() for answer in asked) or not runs:
            runs += pool.reap()
    pool.close()
    assert [str(answer.exception()) for answer in asked] == ["sh: no"] * 20
    assert [run.returncode for run in runs] == [0]


def test_a_missing_slurm_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AskError, match="squeue: No such file or directory"):
        give_nodes_back("7", "0", {"n2"})
