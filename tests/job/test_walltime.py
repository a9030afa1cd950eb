"""When the batch job ends."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import Site, accounted

from taskfarmer_mpi.common.programs import Ask, AskError
from taskfarmer_mpi.job.schedulers.found import BatchJob
from taskfarmer_mpi.job.schedulers.slurm import ask_end, parse_end
from taskfarmer_mpi.job.walltime import job_end

LATER = int(time.time()) + 3600


def _slurm(say: Callable[[str], str]) -> BatchJob:
    """Return job 7 of a Slurm whose `squeue` prints what is said of a job."""

    def end(job: str, /, run: Ask = lambda *command, **_: say(command[2].removeprefix("--jobs="))) -> float:
        return ask_end(job, run)

    return BatchJob("Slurm", "7", end)


def _never_asked(job: str) -> str:
    pytest.fail(f"squeue was asked for job {job}")


def test_slurms_own_variable_says_when_the_job_ends() -> None:
    assert job_end({"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": str(LATER)}, _slurm(_never_asked)) == LATER


def test_an_older_slurm_is_asked_once_for_the_job() -> None:
    asked = []

    def say(job: str) -> str:
        asked.append(job)
        return time.strftime("%Y-%m-%dT%H:%M:%S\n", time.gmtime(LATER))

    assert job_end({"SLURM_JOB_ID": "7"}, _slurm(say)) == LATER
    assert asked == ["7"]


@pytest.mark.parametrize("environ", [{}, {"SLURM_JOB_ID": ""}, {"SLURM_JOB_ID": "x; rm"}])
def test_without_a_job_nobody_is_asked(environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "squeue").write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert job_end(environ) is None
    assert not (tmp_path / "asked").exists()


def test_a_scheduler_that_does_not_answer_is_told_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    def say(job: str) -> str:
        raise AskError(f"squeue: {job}: Invalid job id specified")

    assert job_end({"SLURM_JOB_ID": "7"}, _slurm(say)) is None
    (record,) = caplog.records
    assert "the end of job 7 is not known (squeue: 7: Invalid job id specified)" in record.getMessage()


@pytest.mark.parametrize("text", ["", "N/A", "NONE", "Unknown", "slurm_load_jobs error"])
def test_a_job_without_a_limit_has_no_end(text: str) -> None:
    assert parse_end(text) is None


@pytest.mark.parametrize("stale", [1, 1700000000, int(time.time()) - 1], ids=["first", "long ago", "a second ago"])
def test_an_end_in_the_past_is_not_believed_and_named_in_one_line(stale: int, caplog: pytest.LogCaptureFixture) -> None:
    environ = {"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": str(stale)}
    assert job_end(environ, _slurm(lambda _: "")) is None
    (record,) = caplog.records
    assert f"SLURM_JOB_END_TIME={stale} is in the past" in record.getMessage()
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(LATER))
    assert job_end(environ, _slurm(lambda _: text)) == LATER


@pytest.mark.parametrize(
    "more",
    [
        {"SLURM_TIME_FORMAT": "relative"},
        {"SQUEUE_FORMAT": "%i", "SQUEUE_USERS": "nobody", "SQUEUE_SORT": "x"},
        {"TZ": "America/New_York", "LC_TIME": "de_DE"},
    ],
)
def test_squeue_is_asked_in_utc_and_without_the_users_settings(
    more: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text(
        "#!/bin/sh\nenv | grep -E '^(SQUEUE_|SLURM_TIME_FORMAT|LC_TIME)' && exit 1\n"
        f"exec date --date=@{LATER} +%Y-%m-%dT%H:%M:%S\n"
    )
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name, value in more.items():
        monkeypatch.setenv(name, value)
    assert job_end({"SLURM_JOB_ID": "7"}) == LATER


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
