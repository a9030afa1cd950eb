"""When the batch job ends."""

import time
from pathlib import Path

import pytest
from helpers import Site, accounted

from taskfarmer_mpi.job.walltime import job_end, parse_end


def test_slurms_own_variable_says_when_the_job_ends() -> None:
    assert job_end({"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": "1700000000"}, ask=lambda _: "never asked") == 1.7e9


def test_an_older_slurm_is_asked_once_for_the_job() -> None:
    asked = []

    def ask(job: str) -> str:
        asked.append(job)
        return time.strftime("%Y-%m-%dT%H:%M:%S\n", time.localtime(1.7e9))

    assert job_end({"SLURM_JOB_ID": "7"}, ask=ask) == 1.7e9
    assert asked == ["7"]


@pytest.mark.parametrize("environ", [{}, {"SLURM_JOB_ID": ""}, {"SLURM_JOB_ID": "x; rm"}])
def test_without_a_job_nobody_is_asked(environ: dict[str, str]) -> None:
    asked: list[str] = []
    assert job_end(environ, ask=lambda job: asked.append(job) or "") is None  # type: ignore[func-returns-value]
    assert asked == []


@pytest.mark.parametrize("text", ["", "N/A", "NONE", "Unknown", "slurm_load_jobs error"])
def test_a_job_without_a_limit_has_no_end(text: str) -> None:
    assert parse_end(text) is None


def test_a_missing_squeue_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert job_end({"SLURM_JOB_ID": "7"}) is None


def test_the_user_reads_how_many_tasks_were_left_for_lack_of_time_and_why(site: Site) -> None:
    tasks = ["sleep 0.4"] * 40
    environ = site.environ(SLURM_JOB_ID="7", SLURM_JOB_END_TIME=str(int(time.time()) + 9))
    farm = site.farm("-n", "1", "--grace", "2", "--task-time", "3", site.tasklist(tasks), environ=environ)
    farm.succeed(30, code=75)
    lists = accounted(site.path / "tasks_workdir", tasks)
    assert lists.failed == []
    assert lists.finished
    assert lists.toprocess
    assert "stopped early: a task may take 3 s, which is more than the time left; the same command goes on\n" in farm.stdout
    assert f"40 tasks: {len(lists.finished)} finished, 0 failed, {len(lists.toprocess)} left" in farm.stdout
