"""The end of a batch job that moves while farmers are at work."""

from __future__ import annotations

import math
import re
import sys
import time

import pytest
from helpers import MPIEXEC, Process, Site, settled, wait_for

from taskfarmer_mpi.common.programs import AskError
from taskfarmer_mpi.job import job_end
from taskfarmer_mpi.job.job_end import DOUBT, GAP, LAST_LOOK, LOOK_INTERVAL, SHORTEST_INTERVAL, Clocks, JobEnd
from taskfarmer_mpi.job.schedulers.slurm import ask_end

BEGIN = 1_000_000.0
"""The wall clock where the steady one is 0 [s since the epoch]."""


class Scheduler:
    """Says when the job ends, and a clock that a test moves."""

    def __init__(
        self, end: float, *, askers: int = 1, grace: float = 15.0, offset: float = 0.0, resolution: float = 0.0
    ) -> None:
        self.now = 0.0
        self.end: float | None = end
        self.asked: list[float] = []
        clocks = Clocks(lambda: self.now, lambda: BEGIN + self.now, offset)
        known = BEGIN + end + offset
        self.job = JobEnd(known, self._say, grace=grace, askers=askers, resolution=resolution, clocks=clocks)

    def _say(self) -> float:
        self.asked.append(self.now)
        if self.end is None:
            raise AskError("no answer")
        return BEGIN + self.end

    def step(self, *, is_leader: bool = True, task_time: float = 0.0) -> bool:
        """Make a step, and another one with the answer if it asked."""
        is_news = self.job.step(is_leader=is_leader, task_time=task_time)
        worker = self.job._worker
        if worker is None:
            return is_news
        worker.join()
        return self.job.step(is_leader=is_leader, task_time=task_time)

    def run(self, seconds: float, *, is_leader: bool = True, task_time: float = 0.0) -> int:
        """Make steps for a while; return how often the others were to be told."""
        end, news = self.now + seconds, 0
        while self.now < end:
            news += self.step(is_leader=is_leader, task_time=task_time)
            self.now += 1.0
        return news


def test_the_leader_asks_every_few_minutes_and_nobody_else_does() -> None:
    leader, other = Scheduler(86400), Scheduler(86400)
    assert leader.run(3600) == other.run(3600, is_leader=False) == 0
    assert len(leader.asked) in (11, 12, 13)
    assert min(b - a for a, b in zip(leader.asked, leader.asked[1:], strict=False)) >= 0.9 * LOOK_INTERVAL
    assert other.asked == []


@pytest.mark.parametrize("end", [40_000.0, 2_000.0, math.inf])
def test_an_end_that_moved_is_believed_told_and_said_once(end: float, caplog: pytest.LogCaptureFixture) -> None:
    scheduler = Scheduler(10_000)
    scheduler.end = end
    assert scheduler.run(1.2 * LOOK_INTERVAL) == 1
    assert scheduler.job.moment == pytest.approx(end - 15)
    assert scheduler.job.tell() == (None if end == math.inf else BEGIN + end)
    (record,) = caplog.records
    assert re.fullmatch(r"the job ends (at [-\d]+ [:\d]+|never) now; it was to end at [-\d]+ [:\d]+", record.getMessage())


def test_an_end_that_differs_by_a_second_is_no_news() -> None:
    scheduler = Scheduler(10_000)
    scheduler.end = 10_001
    assert scheduler.run(2 * LOOK_INTERVAL) == 0


def test_an_end_that_differs_by_less_than_the_answers_are_exact_is_no_news() -> None:
    scheduler = Scheduler(10_000, resolution=150.0)
    scheduler.end = 10_100
    assert scheduler.run(2 * LOOK_INTERVAL) == 0
    scheduler.end = 10_200
    assert scheduler.run(2 * LOOK_INTERVAL) == 1


def test_a_rank_hears_the_end_by_the_clock_of_rank_0() -> None:
    leader, other = Scheduler(10_000, offset=7.0), Scheduler(10_000, offset=-3.0)
    leader.end = 20_000
    assert leader.run(400) == 1
    assert leader.job.tell() == BEGIN + 20_007
    other.job.hear(leader.job.tell())
    assert other.job.moment == pytest.approx(20_010 - 15)
    other.job.hear(None)
    assert other.job.moment == math.inf
    with pytest.raises(TypeError):
        other.job.hear("soon")


@pytest.mark.parametrize("task_time", [0.0, 5_000.0])
def test_it_is_asked_shortly_before_tasks_are_no_longer_started_and_before_the_stop(task_time: float) -> None:
    scheduler = Scheduler(10_000)
    scheduler.run(10_000, task_time=task_time)
    for moment in (10_000 - 15 - task_time, 10_000 - 15):
        assert any(LAST_LOOK[0] <= moment - asked <= LAST_LOOK[1] + SHORTEST_INTERVAL for asked in scheduler.asked)


def test_without_answers_it_is_asked_less_and_less_often_and_nothing_changes() -> None:
    scheduler = Scheduler(100_000)
    scheduler.end = None
    assert scheduler.run(6 * 3600) == 0
    assert len(scheduler.asked) <= 10
    assert scheduler.job.moment == 100_000 - 15
    scheduler.end = 50_000
    scheduler.run(4000)
    assert scheduler.job.moment == 50_000 - 15


def test_an_end_in_the_past_is_no_answer() -> None:
    scheduler = Scheduler(10_000)
    scheduler.end = 5.0
    assert scheduler.run(400) == 0
    assert scheduler.job.moment == 10_000 - 15


def test_who_was_suspended_does_not_stop_before_the_scheduler_has_answered() -> None:
    leader, other = Scheduler(1000), Scheduler(1000)
    leader.run(100)
    other.run(100, is_leader=False)
    leader.now = other.now = 2000.0
    leader.end = 2900.0
    assert not other.step(is_leader=False)
    assert other.job.moment == math.inf
    assert leader.step()
    assert leader.job.moment == pytest.approx(2900 - 15)
    other.job.hear(leader.job.tell())
    assert other.job.moment == pytest.approx(2900 - 15)


def test_who_hears_nothing_after_a_pause_believes_the_old_end() -> None:
    scheduler = Scheduler(1000)
    scheduler.run(100, is_leader=False)
    scheduler.now += GAP + 1
    scheduler.step(is_leader=False)
    assert scheduler.job.moment == math.inf
    scheduler.run(DOUBT + 1, is_leader=False)
    assert scheduler.job.moment == 1000 - 15


def test_others_are_told_after_a_pause_also_if_nothing_has_moved() -> None:
    scheduler = Scheduler(10_000)
    scheduler.run(100)
    scheduler.now += 30
    assert scheduler.step()


@pytest.mark.parametrize(("askers", "rate"), [(1, 1 / 250), (100, 100 / 250), (1000, 1.0), (5000, 1.0)])
def test_many_farmers_that_do_not_know_of_each_other_ask_seldom_together(askers: int, rate: float) -> None:
    scheduler = Scheduler(10_000_000, askers=askers)
    scheduler.run(100_000)
    assert len(scheduler.asked) * askers / 100_000 <= rate


def test_where_nobody_knows_nobody_is_asked_and_a_pause_means_nothing() -> None:
    clock = [0.0]
    job = JobEnd(BEGIN + 500, None, grace=15, clocks=Clocks(lambda: clock[0], lambda: BEGIN + clock[0]))
    clock[0] = 400.0
    assert not job.step(is_leader=True, task_time=0)
    assert job.moment == 500 - 15


def test_a_question_that_takes_long_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_end, "SHORTEST_INTERVAL", 0.0)
    monkeypatch.setattr(job_end, "LOOK_INTERVAL", 0.0)
    answers: list[float] = []

    def ask() -> float:
        wait_for(lambda: answers, deadline=30, what="the answer")
        return answers[0]

    job = JobEnd(time.time() + 1000, ask, grace=0)
    begin = time.monotonic()
    for _ in range(100):
        assert not job.step(is_leader=True, task_time=0)
    assert time.monotonic() - begin < 5
    answers.append(time.time() + 5000)
    wait_for(lambda: job.step(is_leader=True, task_time=0), deadline=30, what="the news")
    assert job.moment > time.monotonic() + 4000


@pytest.mark.parametrize(
    ("said", "end"),
    [
        ("1970-01-02T00:00:00\n", 86400.0),
        ("1970-01-02T00:00:00\n1970-01-01T12:00:00\nN/A\n", 43200.0),
        ("N/A\n", math.inf),
        ("NONE", math.inf),
    ],
)
def test_what_squeue_says_is_understood(said: str, end: float) -> None:
    assert ask_end("7", lambda *_command, **_: said) == end


@pytest.mark.parametrize("said", ["", "\n", "slurm_load_jobs error: Invalid job id specified", "12:30"])
def test_what_is_no_end_is_no_answer(said: str) -> None:
    with pytest.raises(AskError):
        ask_end("7", lambda *_command, **_: said)


SQUEUE = """#!/bin/sh
env | grep -E '^(SQUEUE_|SLURM_TIME_FORMAT|LC_TIME)' && exit 1
echo "$*" >> {0}/asked
[ -e {0}/end ] || exec sleep 1000
exec cat {0}/end
"""


def _with_squeue(site: Site) -> dict[str, str]:
    """Return the environment of a Slurm job whose end is in 14 s, with a stand-in that hangs until a file has the end."""
    folder = site.path / "bin"
    folder.mkdir()
    (folder / "squeue").write_text(SQUEUE.format(folder))
    (folder / "squeue").chmod(0o755)
    environ = site.environ(SLURM_JOB_ID="7", SLURM_JOB_END_TIME=str(int(time.time()) + 14), SLURM_TIME_FORMAT="%H")
    return environ | {"PATH": f"{folder}:{environ['PATH']}", "SQUEUE_FORMAT": "%i"}


def _say_end(site: Site, end: float) -> None:
    path = site.path / "bin" / "end.new"
    path.write_text(time.strftime("%Y-%m-%dT%H:%M:%S\n", time.gmtime(end)))
    path.rename(site.path / "bin" / "end")


IMPATIENT = (
    "import runpy, sys; from taskfarmer_mpi.job import job_end\n"
    "job_end.SHORTEST_INTERVAL, job_end.LAST_LOOK = 1.0, (4.0, 5.0)\n"
    "sys.argv[0] = 'taskfarmer-mpi'; runpy.run_module('taskfarmer_mpi', run_name='__main__', alter_sys=True)"
)
"""A farmer that asks often, as a test does not last for minutes."""


def _start_impatient(site: Site, ranks: int, tasks: list[str], environ: dict[str, str]) -> Process:
    launcher = [MPIEXEC, "-n", str(ranks)] if ranks > 1 else []
    words = (sys.executable, "-c", IMPATIENT, "-n", "1", "--grace", "2", "--task-time", "0", site.tasklist(tasks))
    return site.start(*launcher, *words, environ=environ)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_farm_goes_on_where_its_job_was_extended_and_only_one_rank_asks(ranks: int, site: Site) -> None:
    tasks = ["sleep 1"] * 16 * ranks
    environ = _with_squeue(site)
    _say_end(site, time.time() + 500)
    farm = _start_impatient(site, ranks, tasks, environ)
    farm.succeed(90)
    settled(site.path / "tasks_workdir", tasks)
    assert farm.stderr.count("the job ends at ") == 1
    assert (site.path / "bin" / "asked").read_text().splitlines() == ["--noheader --jobs=7 --format=%e"]


def test_a_squeue_that_hangs_keeps_no_farmer_from_its_stop(site: Site) -> None:
    tasks = ["sleep 1"] * 60
    farm = _start_impatient(site, 1, tasks, _with_squeue(site))
    farm.succeed(60, code=75)
    assert "the batch job is about to end" in farm.stdout
