"""Farmers under a real Slurm of five nodes: batch scripts, signals, time limits, ranks and nodes that die."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import skip_or_fail
from helpers import (
    MPIEXEC,
    ROOT,
    Process,
    Site,
    Stopwatch,
    Witness,
    accounted,
    clean_environment,
    command_of,
    is_alive,
    parent_of,
    processes_with,
    read_timeline,
    settled,
    slices,
    wait_for,
)
from past import most_at_once, runs_of

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.logs.reading import Logs
from taskfarmer_mpi.workdir.files import Workdir

SCRIPTS = ROOT / "slurm"
CLUSTER = ROOT / "scripts" / "slurm-cluster"
NODES = ["n1", "n2", "n3", "n4", "n5"]
FELLED = "n2"
"""The node that a test sets down; jobs that last through all tests keep away from it."""

MPI_TYPE = os.environ.get("TEST_SLURM_MPI", "pmi2")
"""By which interface srun joins the ranks: it must fit the MPI library."""
REPEATS = int(os.environ.get("TEST_SLURM_REPEATS", "1"))
"""How often the test of dying ranks is done; a shutdown is timed as often, but 4 times at least."""
_ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "PREEMPTED"}


@dataclass(frozen=True, slots=True)
class JobState:
    """What Slurm says about a job or an element of an array."""

    state: str
    code: int
    restarts: int


@dataclass(frozen=True, slots=True)
class Job:
    """A submitted batch job."""

    cluster: Cluster
    id: str
    output: Path

    def states(self) -> list[JobState]:
        """Return the state of the job, or of each element of an array."""
        found = []
        for line in self.cluster.ask("scontrol", "--oneliner", "show", "job", self.id).splitlines():
            values = dict(re.findall(r"(\w+)=(\S+)", line))
            found.append(JobState(values["JobState"], int(values["ExitCode"].split(":")[0]), int(values["Restarts"])))
        return found

    def wait(self, deadline: float) -> list[JobState]:
        """Return how it ended; fail if it does not end in time [s]."""
        wait_for(self._has_ended, deadline=deadline, what=f"end of job {self.id}: {self.output}")
        return self.states()

    def _has_ended(self) -> bool:
        time.sleep(0.1)
        return all(one.state in _ENDED for one in self.states())

    def succeed(self, deadline: float) -> None:
        """Fail unless all of it ends in time [s] with exit code 0."""
        for one in self.wait(deadline):
            assert (one.state, one.code) == ("COMPLETED", 0), self.said()

    def said(self) -> str:
        """Return what it wrote so far, for a script that names its own output too."""
        return self.output.read_text() if self.output.exists() else "no output"


@dataclass(frozen=True, slots=True)
class Cluster:
    """The Slurm of this session."""

    variables: dict[str, str]

    def environ(self, site: Site) -> dict[str, str]:
        """Return an environment in which Slurm's commands find it, and batch scripts our Python."""
        locks = site.path / "locks"
        locks.mkdir(exist_ok=True)
        return site.environ(**self.variables, PYTHON=sys.executable, SCRATCH=str(locks), SLURM_MPI_TYPE=MPI_TYPE)

    def ask(self, *command: str) -> str:
        """Return what a command of Slurm prints."""
        environ = clean_environment(**self.variables)
        done = subprocess.run(command, env=environ, timeout=30, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout

    def farm(self, site: Site, *arguments: str | Path, options: Sequence[str] = ()) -> Process:
        """Start a farmer on each node with srun."""
        command = ("srun", "--nodes=5", *options, sys.executable, "-m", "taskfarmer_mpi", *arguments)
        return site.start(*command, environ=self.environ(site))

    def submit(self, site: Site, *command: str | Path, name: str = "job", environ: dict[str, str] | None = None) -> Job:
        """Submit a batch job: options, script and its arguments."""
        output = site.path / f"{name}.out"
        process = site.start(
            "sbatch", "--parsable", f"--output={output}", *command, environ=self.environ(site) | (environ or {})
        )
        process.succeed(30)
        return Job(self, process.stdout.strip(), output)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Start a Slurm of five nodes, and take it down at the end."""
    options = ["--nodes", "5", "--cpus", "32", "--proctrack", os.environ.get("TEST_SLURM_PROCTRACK", "linuxproc")]
    start = [str(CLUSTER), "start", *options]
    done = subprocess.run(start, env=clean_environment(), timeout=120, check=False, capture_output=True, text=True)
    if done.returncode in (69, 77):
        skip_or_fail(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    variables = dict(word.split("=", 1) for word in shlex.split(done.stdout) if "=" in word)
    yield Cluster(variables)
    subprocess.run([CLUSTER, "stop"], env=clean_environment(**variables), timeout=120, check=True, capture_output=True)


@pytest.fixture(autouse=True)
def all_nodes_up(cluster: Cluster) -> None:
    """Have each test begin with five nodes."""
    wait_for(lambda: _usable_nodes(cluster) == NODES, deadline=120, what="all nodes up")


def _usable_nodes(cluster: Cluster) -> list[str]:
    lines = cluster.ask("sinfo", "--noheader", "--Node", "--format=%N %T").splitlines()
    return sorted({line.split()[0] for line in lines if line.split()[1] in ("idle", "mixed", "allocated")})


def _node(farmer: str) -> str:
    return farmer.split("-")[1]


def _is_begun(witness: Witness, farmers: int = 5) -> bool:
    """Whether so many farmers have started a task."""
    return len({run.farmer for runs in witness.runs().values() for run in runs}) >= farmers


def _wait_until_begun(witness: Witness, farmers: int = 5) -> None:
    wait_for(lambda: _is_begun(witness, farmers), deadline=120, what=f"{farmers} farmers at work")


def _nothing_left_running(site: Site) -> None:
    wait_for(lambda: not site.leftovers(), deadline=15, what="no process left on any node")


# -- the cluster itself ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [[], ["begin"], ["start", "--nodes", "0"], ["start", "--proctrack", "no"], ["stop", "x"]]
)
def test_the_cluster_script_refuses_what_it_does_not_know(arguments: list[str], site: Site) -> None:
    process = site.start(CLUSTER, *arguments)
    process.succeed(10, code=2)
    assert process.stderr.startswith("slurm-cluster: ")
    assert process.stderr.count("\n") == 1


def test_a_second_start_leaves_the_first_cluster_alone(cluster: Cluster, site: Site) -> None:
    process = site.start(CLUSTER, "start", environ=cluster.environ(site))
    process.succeed(10, code=1)
    assert "one is there already" in process.stderr
    assert _usable_nodes(cluster) == NODES


def test_stop_removes_only_what_start_made(site: Site) -> None:
    folder = site.path / "slurm-cluster.planted"
    folder.mkdir()
    for precious in (folder, site.path):
        process = site.start(CLUSTER, "stop", environ=site.environ(SLURM_CLUSTER_DIR=str(precious)))
        process.succeed(10, code=1)
        assert "not a directory that start made" in process.stderr
    assert folder.is_dir()


# -- jobs that go over a time limit ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LongJob:
    """A job that is submitted before the first test and looked at in the last ones."""

    site: Site
    witness: Witness
    tasks: list[str]
    job: Job

    @property
    def workdir(self) -> Path:
        """Its work directory."""
        return self.site.path / "tasks_workdir"


REQUEUED = 180
"""Tasks of 1 s that four slots can do in three jobs of less than 25 s, and not in two."""

LONG = 125.0
"""How long tasks last that a job of two minutes does not come to the end of [s]."""
CHANGES = {
    "extended": "sleep 30; scontrol update JobId={0} TimeLimit=4",
    "suspended": "sleep 65; scontrol suspend {0}; sleep 45; scontrol resume {0}",
}
"""What is done to jobs of two minutes that farmers stop 15 s before their end."""


@pytest.fixture(scope="module")
def long_jobs(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, LongJob]]:
    """Submit all jobs that last for a minute, to run beside the other tests."""
    keep_away = f"--exclude={FELLED}"
    endless = {"SLURM_JOB_END_TIME": "4000000000"}  # so the farmers do not know of the limit

    def submit(
        name: str, count: int, seconds: float, *options: str, more: Sequence[str], environ: dict[str, str] | None = None
    ) -> LongJob:
        folder = tmp_path_factory.mktemp(name)
        site, witness = Site(folder), Witness(folder / "witness")
        tasks = witness.tasks(count, seconds)
        script, *arguments = more
        command = ["--time=1", *options, keep_away, str(SCRIPTS / script), str(site.tasklist(tasks)), *arguments]
        return LongJob(site, witness, tasks, cluster.submit(site, *command, environ=environ))

    two = ("--nodes=2", "--cpus-per-task=2")
    brief = ["requeue.sh", "--timeout", "4"]
    jobs = {
        "requeued": _submit_in_one_line(cluster, tmp_path_factory.mktemp("requeued"), "-N2", "-t1m", "-c2", keep_away),
        "elements": submit("elements", 12, 1.0, "--array=0-1", "--nodes=1", "--cpus-per-task=1", more=brief),
        "stuck": submit("stuck", 4, 1000.0, *two, more=["requeue.sh", "--grace", "50"]),
        "limited": submit("limited", 2000, 0.5, *two, more=["multinode.sh"], environ=endless),
        "script told": submit("script-told", 2000, 0.5, *two, "--signal=B:USR1@10", more=["multinode.sh"], environ=endless),
        "ranks told": submit("ranks-told", 2000, 0.5, *two, "--signal=USR1@10", more=["multinode.sh"], environ=endless),
    }
    for name, changes in CHANGES.items():
        moved = jobs[name] = submit(name, 4, LONG, *two, "--time=2", more=["multinode.sh"])
        moved.site.start("bash", "-c", changes.format(moved.job.id), environ=cluster.environ(moved.site))
    yield jobs
    for long_job in jobs.values():
        long_job.site.clear()


def _submit_in_one_line(cluster: Cluster, folder: Path, *options: str) -> LongJob:
    site, witness = Site(folder), Witness(folder / "witness")
    tasks = witness.tasks(REQUEUED, 1.0)
    tasklist = site.tasklist(tasks)
    words = ["--until-done", *options, f"--output={folder}/job.out", str(tasklist), "--grace", "35", "--task-time", "3"]
    environ = cluster.environ(site)
    del environ["PYTHON"]  # the script names it
    submit = site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", "submit", *words, environ=environ)
    submit.succeed(60)
    (number,) = re.findall(r"^submitted job (\d+)$", submit.stdout, re.MULTILINE)
    assert f"squeue -j {number}; once it has begun: taskfarmer-ctl watch {site.path}/tasks_workdir" in submit.stdout
    assert "asks for 2 nodes with 2 CPUs each, for 00:01:00" in submit.stdout
    return LongJob(site, witness, tasks, Job(cluster, number, folder / "job.out"))


def test_jobs_with_a_time_limit_start(long_jobs: dict[str, LongJob]) -> None:
    for long_job in long_jobs.values():
        _wait_until_begun(long_job.witness, farmers=2)


# -- the whole list -------------------------------------------------------------------------------


def test_srun_does_every_task_once_on_five_nodes(cluster: Cluster, site: Site, witness: Witness) -> None:
    tasks = witness.tasks(2000, 0.01)
    farm = cluster.farm(site, "-n", "2", site.tasklist(tasks))
    farm.succeed(180)
    runs = witness.once_each(2000)
    assert settled(site.path / "tasks_workdir", tasks).failed == []
    assert sorted({_node(run.farmer) for run in runs.values()}) == NODES
    events = read_timeline(site.path / "tasks_workdir")
    processes = [event["args"]["name"] for event in events if event["ph"] == "M" and event["name"] == "process_name"]
    names = [name for name in processes if name.startswith("rank ")]
    assert len(processes) == len(names) + 1  # the counters of the whole directory
    assert sorted(name for name in names for node in NODES if re.search(rf"\b{node}\b", name)) == sorted(names)
    assert len(names) == 5
    runs_of = Counter(event["pid"] for event in slices(site.path / "tasks_workdir"))
    assert len(runs_of) == 5
    assert runs_of.total() == 2000
    _nothing_left_running(site)


@pytest.mark.parametrize("script", ["array.sh", "multinode.sh", "mixed.sh"])
def test_a_batch_script_comes_to_the_end_of_its_list(script: str, cluster: Cluster, site: Site, witness: Witness) -> None:
    tasks = witness.tasks(200, 0.05)
    folder = site.path / "a folder"
    folder.mkdir()
    job = cluster.submit(site, "--cpus-per-task=2", SCRIPTS / script, site.tasklist(tasks, "a folder/my 'tasks'"))
    job.succeed(180)
    _nothing_left_running(site)  # the array of mixed.sh may be later
    runs = witness.once_each(200)
    assert settled(folder / "my 'tasks'_workdir", tasks).failed == []
    assert len({run.farmer for run in runs.values()}) == 5


@pytest.mark.parametrize("script", ["array.sh", "multinode.sh", "mixed.sh", "requeue.sh"])
def test_a_batch_script_hands_the_exit_code_through(script: str, cluster: Cluster, site: Site) -> None:
    job = cluster.submit(site, "--cpus-per-task=1", SCRIPTS / script, site.tasklist(["true", "exit 7"]))
    assert 1 in {one.code for one in job.wait(180)}, job.said()
    _nothing_left_running(site)
    accounted(site.path / "tasks_workdir", ["true", "exit 7"])
    assert "1" in (site.path / "tasks_workdir" / "failed").read_text()


@pytest.mark.parametrize("script", ["array.sh", "multinode.sh", "mixed.sh", "requeue.sh"])
def test_a_batch_script_without_a_tasklist_says_how_to_use_it(script: str, site: Site) -> None:
    process = site.start("bash", SCRIPTS / script)
    process.succeed(10, code=2)
    assert re.fullmatch(rf"usage: sbatch {script} TASKLIST .*\n", process.stderr)


def test_an_mpi_job_an_array_and_pytaskfarmer_share_one_list(
    cluster: Cluster, site: Site, witness: Witness, pytaskfarmer: Path
) -> None:
    tasks = witness.tasks(400, 0.1)
    tasklist = site.tasklist(tasks)
    old_command = shlex.join([str(pytaskfarmer.parent / "python"), "-u", str(pytaskfarmer), "-n", "2", str(tasklist)])
    old = cluster.submit(site, "--wrap", old_command, name="old")
    wait_for(witness.runs, deadline=120, what="PyTaskFarmer runs a task")
    job = cluster.submit(site, "--nodes=3", "--cpus-per-task=2", SCRIPTS / "multinode.sh", tasklist)
    array = cluster.submit(
        site, "--array=0-1", "--nodelist=n5", "--cpus-per-task=2", SCRIPTS / "array.sh", tasklist, name="array-%a"
    )
    for one in (old, job, array):
        one.succeed(180)
    runs = witness.once_each(400)
    assert settled(site.path / "tasks_workdir", tasks).failed == []
    workers = Counter(run.farmer for run in runs.values())
    print(workers)
    assert len(workers) == 6, "each of three ranks, two plain farmers and one PyTaskFarmer ran something"
    assert workers["-"] > 0


def test_srun_without_mpi_warns_and_the_list_is_done(cluster: Cluster, site: Site, witness: Witness) -> None:
    tasks = witness.tasks(60, 0.05)
    farm = cluster.farm(site, "-n", "1", site.tasklist(tasks), options=["--mpi=none"])
    farm.succeed(180)
    witness.once_each(60)
    assert settled(site.path / "tasks_workdir", tasks).failed == []
    assert "5 processes were started, but MPI connects none of them" in farm.stderr
    assert "srun --mpi=pmi2" in farm.stderr


def test_the_ranks_that_are_there_do_the_list_when_one_never_comes(cluster: Cluster, site: Site, witness: Witness) -> None:
    tasks = witness.tasks(60, 0.05)
    farm = _farm_without_one(cluster, site, "exec sleep 15", "-n", "1", "--mpi-timeout", "3", site.tasklist(tasks))
    farm.succeed(120)
    said = "MPI did not start within 3 s, as a rank is missing or cannot be reached: those that are there work"
    assert farm.stderr.count(said) == 1
    runs = witness.once_each(60)
    assert {_node(run.farmer) for run in runs.values()} <= set(NODES) - {"n4"}
    assert settled(site.path / "tasks_workdir", tasks).failed == []


def test_a_signal_stops_ranks_that_wait_for_one_that_never_comes(cluster: Cluster, site: Site) -> None:
    farm = _farm_without_one(cluster, site, "trap '' USR1; exec sleep 6", site.tasklist(["true"]))
    wait_for(lambda: len(farm.farmers()) == 4 and _all_handle_signals(farm.farmers()), deadline=60, what="four farmers")
    farm.kill(signal.SIGUSR1)
    watch = Stopwatch()
    wait_for(lambda: not farm.farmers(), deadline=20, what="the end of four farmers")
    assert watch.read() < 4
    farm.succeed(60, code=75)
    assert farm.stderr.count("told to stop before the ranks came together") == 4


def _farm_without_one(cluster: Cluster, site: Site, instead: str, *arguments: str | Path) -> Process:
    """Start a farmer on each node but n4, where something else is run in its place."""
    farmer = shlex.join([sys.executable, "-m", "taskfarmer_mpi", *map(str, arguments)])
    script = f"[ $SLURM_PROCID = 3 ] && {{ {instead}; }}; exec {farmer}"
    options = ("--nodes=5", "--kill-on-bad-exit=0", "--wait=0")
    return site.start("srun", *options, "bash", "-c", script, environ=cluster.environ(site))


def _all_handle_signals(pids: list[int]) -> bool:
    """Whether all of these processes have a handler of their own for SIGUSR1."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    masks = [int(match[1], 16) for text in texts if (match := re.search(r"^SigCgt:\s*(\S+)", text, re.MULTILINE))]
    return all(mask >> (signal.SIGUSR1 - 1) & 1 for mask in masks)


# -- the doctor -----------------------------------------------------------------------------------


def _doctor(cluster: Cluster, site: Site, *options: str, code: int) -> str:
    command = ("srun", "--nodes=5", "--time=10", *options, sys.executable, "-m", "taskfarmer_mpi.ctl", "doctor")
    process = site.start(*command, environ=cluster.environ(site))
    process.succeed(60, code=code)
    assert process.stdout.count("taskfarmer-ctl doctor on n1, ") == 1, process.said()
    return process.stdout


def test_the_doctor_gives_one_page_with_the_proof_between_nodes(cluster: Cluster, site: Site) -> None:
    page = _doctor(cluster, site, code=0)
    assert "exclude: none of 4 other ranks on 5 hosts got a lock that rank 0 held" in page
    assert "n1, n2, n3, n4, n5: 1 rank with " in page
    assert "srun --mpi=pmi2" in page
    assert re.search(r"ranks: +5; .*SLURM_STEP_NUM_TASKS=5", page)
    assert re.search(r"job \d+ ends at .*, in 0:0[89]:\d\d", page)
    assert "nothing needs a mend" in page


def test_the_doctor_finds_a_launch_without_mpi(cluster: Cluster, site: Site) -> None:
    page = _doctor(cluster, site, "--mpi=none", code=1)
    assert "5 processes were started, but MPI connects none of them" in page


# -- submission in one line -----------------------------------------------------------------------


def test_a_second_submission_asks_for_what_the_first_run_tells(cluster: Cluster, site: Site, witness: Witness) -> None:
    tasks = witness.tasks(90, 0.05)
    tasklist = site.tasklist(tasks[:30])

    def submit(*words: str) -> str:
        options = (f"--exclude={FELLED}", "--open-mode=append", f"--output={site.path}/job.out", *words)
        command = (sys.executable, "-m", "taskfarmer_mpi.ctl", "submit", "-c", "2", *options)
        process = site.start(*command, tasklist, environ=cluster.environ(site))
        process.succeed(60)
        (number,) = re.findall(r"^submitted job (\d+)$", process.stdout, re.MULTILINE)
        Job(cluster, number, site.path / "job.out").succeed(120)
        return process.stdout

    assert "no earlier run of the list tells more: what the script has counts, unless you give -t\n" in submit("-N", "3")
    site.tasklist(tasks)
    said = submit()
    assert re.search(r"^60 tasks left, by an earlier run of .* in all, the longest of ", said), said
    assert "asks for 3 nodes with 2 CPUs each, for 00:03:00" in said
    witness.once_each(90)
    _nothing_left_running(site)


def test_what_slurm_refuses_is_one_line(cluster: Cluster, site: Site) -> None:
    words = ("submit", "-N1", "-p", "nowhere", site.tasklist(["true"]))
    process = site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", *words, environ=cluster.environ(site))
    process.succeed(60, code=2)
    assert re.fullmatch(r"taskfarmer-ctl: not submitted: sbatch: error: .*[Pp]artition.*\n", process.stderr)


# -- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["--signal=USR1 --batch", "--signal=USR1", "--signal=USR1 --full", ""])
def test_scancel_of_a_batch_script_stops_it_with_nothing_lost(
    how: str, cluster: Cluster, site: Site, witness: Witness
) -> None:
    tasks = witness.tasks(200, 0.7)
    job = cluster.submit(site, "--cpus-per-task=2", SCRIPTS / "multinode.sh", site.tasklist(tasks))
    _wait_until_begun(witness)
    cluster.ask("scancel", *how.split(), job.id)
    ended = job.wait(120)[0]
    _nothing_left_running(site)
    assert ended.state == ("FAILED" if how else "CANCELLED"), job.said()
    assert ended.code == 75
    lists = accounted(site.path / "tasks_workdir", tasks)
    assert lists.failed == []
    _check_interrupted(witness, lists.toprocess)


def _check_interrupted(witness: Witness, to_do: list[int]) -> None:
    """Check that exactly the tasks that came to their end are off the list."""
    ended = {task_id for task_id, runs in witness.runs().items() if any(run.end is not None for run in runs)}
    noted_late = ended & set(to_do)  # it wrote its end, and was killed before it ended
    assert len(noted_late) <= 2, noted_late
    assert witness.overlaps() == []


def test_scancel_of_a_job_without_a_relay_loses_nothing(cluster: Cluster, site: Site, witness: Witness) -> None:
    """Srun gets SIGTERM from Slurm, too, and kills its ranks: the next farmer cleans up."""
    tasks = witness.tasks(60, 0.7)
    tasklist = site.tasklist(tasks)
    command = shlex.join([sys.executable, "-m", "taskfarmer_mpi", "-n", "2", str(tasklist)])
    job = cluster.submit(site, "--nodes=5", "--wrap", f"srun {command}")
    _wait_until_begun(witness)
    cluster.ask("scancel", job.id)
    assert job.wait(120)[0].state == "CANCELLED"
    _nothing_left_running(site)
    cluster.farm(site, "-n", "4", tasklist).succeed(180)
    assert settled(site.path / "tasks_workdir", tasks).failed == []
    assert witness.overlaps() == []


def test_a_preempted_job_stops_in_order_in_its_grace_time(cluster: Cluster, site: Site, witness: Witness) -> None:
    tasks = witness.tasks(60, 0.5)
    place = ("--nodes=1", "--nodelist=n4", "--exclusive")
    job = cluster.submit(site, *place, SCRIPTS / "multinode.sh", site.tasklist(tasks), "--proc=2")
    _wait_until_begun(witness, farmers=1)
    urgent = cluster.submit(site, "--partition=urgent", *place, "--wrap", "sleep 1", name="urgent")
    urgent.succeed(180)
    ended = job.wait(180)[0]
    assert (ended.state, ended.code) == ("FAILED", 75), job.said()
    assert "stopped early: SIGTERM" in job.said()
    _nothing_left_running(site)
    lists = accounted(site.path / "tasks_workdir", tasks)
    assert lists.failed == []
    assert lists.toprocess
    _check_interrupted(witness, lists.toprocess)


def test_a_preempted_job_of_the_requeue_script_goes_on_later(cluster: Cluster, site: Site, witness: Witness) -> None:
    tasks = witness.tasks(24, 0.5)
    place = ("--nodes=1", "--nodelist=n4", "--exclusive")
    job = cluster.submit(site, *place, SCRIPTS / "requeue.sh", site.tasklist(tasks), "--proc=2")
    finished = site.path / "tasks_workdir" / "finished"
    wait_for(lambda: finished.exists() and finished.read_text(), deadline=120, what="a finished task")
    cluster.submit(site, "--partition=urgent", *place, "--wrap", "sleep 1", name="urgent").succeed(180)
    ended = job.wait(180)[0]
    assert (ended.state, ended.code, ended.restarts) == ("COMPLETED", 0, 1), job.said()
    assert settled(site.path / "tasks_workdir", tasks).failed == []
    assert witness.overlaps() == []


def test_a_cancelled_job_of_the_requeue_script_stays_away(cluster: Cluster, site: Site, witness: Witness) -> None:
    tasks = witness.tasks(200, 0.3)
    job = cluster.submit(site, "--cpus-per-task=1", SCRIPTS / "requeue.sh", site.tasklist(tasks))
    finished = site.path / "tasks_workdir" / "finished"
    wait_for(lambda: finished.exists() and finished.read_text(), deadline=120, what="a finished task")
    cluster.ask("scancel", job.id)
    ended = job.wait(120)[0]
    assert (ended.state, ended.restarts) == ("CANCELLED", 0)
    _nothing_left_running(site)
    assert accounted(site.path / "tasks_workdir", tasks).failed == []


def test_a_signal_at_one_rank_ends_all_processes_soon(cluster: Cluster, tmp_path: Path) -> None:
    times = []
    for number in range(max(4, REPEATS)):
        folder = tmp_path / str(number)
        folder.mkdir()
        site, witness = Site(folder), Witness(folder / "witness")
        try:
            times.append(_time_shutdown(cluster, site, witness))
        finally:
            site.clear()
    print(f"{len(times)} runs: median {statistics.median(times):.2f} s, maximum {max(times):.2f} s")
    assert max(times) < 2.0, times


def _time_shutdown(cluster: Cluster, site: Site, witness: Witness) -> float:
    """Return the time from SIGUSR1 at a rank of five with 8 slots to the end of the last process [s]."""
    tasks = witness.tasks(80, 1000)
    farm = cluster.farm(site, "-n", "8", site.tasklist(tasks))
    wait_for(lambda: len(witness.runs()) == 40, deadline=120, what="all slots busy")
    rank = _farmer_on("n3", witness)
    processes = site.leftovers()
    watch = Stopwatch()
    os.kill(rank, signal.SIGUSR1)
    wait_for(lambda: not any(map(is_alive, processes)), deadline=120, what="the end of all processes")
    took = watch.read()
    farm.succeed(10, code=75)
    assert accounted(site.path / "tasks_workdir", tasks).failed == []
    _nothing_left_running(site)
    return took


def _farmer_on(node: str, witness: Witness) -> int:
    """Return the process of a node's farmer."""
    farmers = {run.farmer_pid for runs in witness.runs().values() for run in runs if _node(run.farmer) == node}
    assert len(farmers) == 1
    return farmers.pop()


# -- ranks and nodes that die ---------------------------------------------------------------------


def _kill(*nodes: str) -> Callable[[Cluster, Witness], None]:
    def kill(_cluster: Cluster, witness: Witness) -> None:
        for pid in [_farmer_on(node, witness) for node in nodes]:
            os.kill(pid, signal.SIGKILL)

    return kill


def _wipe_out(_cluster: Cluster, witness: Witness) -> None:
    """End all on a node at once, as with a loss of power: its guardian sees nothing of it."""
    farmer = _farmer_on("n4", witness)
    name = next(run.farmer for runs in witness.runs().values() for run in runs if run.farmer_pid == farmer)
    os.kill(farmer, signal.SIGSTOP)
    guardian = [pid for pid in _children_of(farmer) if "taskfarmer_mpi.lives.guardian" in " ".join(command_of(pid))]
    assert len(guardian) == 1
    for pid in (*guardian, *processes_with(f"TASKFARMER_FARMER={name}"), farmer):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _children_of(parent: int) -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal() and parent_of(int(name)) == parent]


def _fell(cluster: Cluster, _witness: Witness) -> None:
    cluster.ask("scontrol", "update", f"nodename={FELLED}", "state=down", "reason=test")


@pytest.mark.parametrize("repeat", range(REPEATS))
@pytest.mark.parametrize(
    ("strike", "struck"),
    [
        pytest.param(_kill("n1"), ["n1"], id="rank_0"),
        pytest.param(_kill("n4"), ["n4"], id="rank_3"),
        pytest.param(_kill("n1", "n3"), ["n1", "n3"], id="two_ranks"),
        pytest.param(_wipe_out, ["n4"], id="all_on_a_node"),
        pytest.param(_fell, [FELLED], id="a_node"),
    ],
)
def test_the_others_end_the_list_when_ranks_die(
    strike: Callable[[Cluster, Witness], None],
    struck: list[str],
    repeat: int,  # noqa: ARG001
    cluster: Cluster,
    site: Site,
    witness: Witness,
) -> None:
    tasks = witness.tasks(60, 0.4)
    job = cluster.submit(site, "--cpus-per-task=2", SCRIPTS / "multinode.sh", site.tasklist(tasks))
    _wait_until_begun(witness)
    strike(cluster, witness)
    wait_for(lambda: _all_ended(witness, 60), deadline=60, what="the last task")
    watch = Stopwatch()
    ended = job.wait(120)[0]
    took = watch.read()
    print(f"the job ended {took:.1f} s after its last task")
    assert took < 10
    assert (ended.state, ended.code) == ("COMPLETED", 0), job.said()
    assert settled(site.path / "tasks_workdir", tasks).failed == []
    assert witness.overlaps() == []
    causes = {run.cause for runs in runs_of(site.path / "tasks_workdir").values() for run in runs} - {None}
    if strike is not _fell:  # Slurm ends one process there after the other
        assert causes == {Cause.NODE_LOST if strike is _wipe_out else Cause.FARMER_DIED}
    repeated = [run for runs in witness.runs().values() for run in runs[:-1]]
    assert {_node(run.farmer) for run in repeated} <= set(struck)
    assert f"{5 - len(struck)} farmers" in job.said()
    assert "faulthandler" not in job.said()
    assert "Timeout" not in job.said(), "MPI did not end in order"
    _nothing_left_running(site)


def _all_ended(witness: Witness, count: int) -> bool:
    runs = witness.runs()
    return len(runs) == count and all(of_task[-1].end is not None for of_task in runs.values())


# -- control over tasks ---------------------------------------------------------------------------

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")
CONTROL = (
    *("--proc", "2", "--pin", "--retries", "1", "--retry-on", "exit-code", "--retry-delay", "0.1", "--limit", "db=2"),
    *("--logs", "packed", "--crash-limit", "3", "--halt", "soon,fail=50", "--task-timeout", "300", "--task-grace", "1"),
    *("--progress", "none"),
)


def _ask(site: Site, *words: str | Path, environ: dict[str, str]) -> str:
    process = site.start(*CTL, *words, environ=environ)
    process.succeed(90)
    return process.stdout


def _look(site: Site, workdir: Path, environ: dict[str, str]) -> dict[str, Any]:
    time.sleep(0.2)
    status: dict[str, Any] = json.loads(_ask(site, "status", "--json", workdir, environ=environ))
    return status


def test_limits_retries_pins_pause_and_cancel_over_ranks_a_plain_farmer_a_death_and_a_second_job(
    cluster: Cluster, site: Site, witness: Witness
) -> None:
    lines = ["exec sleep 600", *["exec sleep 601"] * 2]  # one to cancel, two that hang
    settings = {0: "#TF", 1: "#TF timeout=1 retries=0", 3: "#TF"}
    groups: dict[str, range] = {}

    def add(name: str, *more: str) -> None:
        groups[name] = range(len(lines), len(lines) + len(more))
        lines.extend(more)

    add("warm", *witness.tasks(20, 1.0))
    settings[len(lines)] = "#TF limit=db"
    add("limited", *(witness.task(1000 + i, 0.3) for i in range(12)))
    settings[len(lines)] = "#TF"
    add("flaky", *["echo attempt $TASKFARMER_ATTEMPT; [ $TASKFARMER_ATTEMPT != 1 ] || exit 3"] * 10)
    add("wrong", *["exit 7"] * 3)
    add("pinned", *["echo CPUS=$TASKFARMER_CPUS OMP=$OMP_NUM_THREADS"] * 5)
    add("others", *(witness.task(2000 + i, 0.3) for i in range(150)))
    tasks = site.tasklist([line for i, task in enumerate(lines) for line in (settings.get(i), task) if line])
    workdir, environ = Path(f"{tasks}_workdir"), cluster.environ(site)

    first = cluster.submit(site, "--cpus-per-task=2", SCRIPTS / "multinode.sh", tasks, *CONTROL)
    _wait_until_begun(witness)
    _ask(site, "pause", workdir, environ=environ)
    plain = site.farm("--mpi", "off", "--proc", "2", "--progress", "none", "--workdir", workdir, environ=environ)
    second = cluster.submit(site, "--nodes=2", "--cpus-per-task=2", SCRIPTS / "multinode.sh", tasks, "--proc", "2", name="2")

    def are_all_waiting() -> bool:
        status = _look(site, workdir, environ)
        alive = [one for one in status["farmers"] if one["state"] == "alive" and one["slots"]]
        return len(alive) == 8 and [run["task"] for run in status["running"]] == [0] and bool(status["paused"])

    wait_for(are_all_waiting, deadline=120, what="eight farmers that are paused while one task runs")
    assert "1 task" in _ask(site, "cancel", workdir, "0", environ=environ)
    before = _look(site, workdir, environ)["tasks"]
    assert before["to_do"] + before["taken"] > 100
    _ask(site, "resume", workdir, environ=environ)

    def farmers_at_work_on_n4() -> list[str]:
        return [run["farmer"] for run in _look(site, workdir, environ)["running"] if run["host"] == "n4"]

    victim = wait_for(farmers_at_work_on_n4, deadline=60, what="a task on n4")[0]
    os.kill(int(victim.split("-")[-2]), signal.SIGKILL)
    codes = {job.wait(180)[0].code for job in (first, second)} | {plain.wait(180)}
    assert codes == {1}, first.said() + second.said() + plain.said()

    lists = settled(workdir, lines)
    assert sorted(lists.failed) == [0, 1, 2, *groups["wrong"]]
    runs = runs_of(workdir)
    ends = {task: [run.cause for run in found if run.cause is not Cause.FARMER_DIED] for task, found in runs.items()}
    assert ends[0] == [Cause.CANCELLED]
    assert ends[1] == ends[2] == [Cause.TIME_LIMIT]
    assert [ends[task] for task in groups["flaky"]] == [[Cause.EXIT, None]] * 10
    assert [ends[task] for task in groups["wrong"]] == [[Cause.EXIT, Cause.EXIT]] * 3
    assert all(ends[task] == [None] for name in ("warm", "limited", "pinned", "others") for task in groups[name])
    assert 1 <= most_at_once(workdir, groups["limited"]) <= 2
    died = [run for found in runs.values() for run in found if run.cause is Cause.FARMER_DIED]
    assert 1 <= len(died) <= 2
    status = _look(site, workdir, environ)
    assert [one["host"] for one in status["farmers"] if one["state"] == "died"] == ["n4"]
    shares = Counter[str]()
    for one in status["farmers"]:
        shares[one["job"]] += one["finished"]
    assert set(shares) == {"", first.id, second.id}
    assert all(shares.values()), shares
    logs = Logs(Workdir(workdir), range(len(lines)))
    assert {logs.ends(task)[1] for task in groups["flaky"]} == {b"attempt 2\n"}
    assert {logs.packed(task)[1].read() for task in groups["flaky"] if 1 in logs.packed(task)} <= {b"attempt 1\n"}
    assert {re.sub(rb"\d+", b"N", logs.ends(task)[1]) for task in groups["pinned"]} == {b"CPUS=N OMP=N\n"}
    assert len(list((workdir / "logs").iterdir())) < 20  # only of the farmer that was killed
    assert witness.overlaps() == []
    _nothing_left_running(site)


def test_a_halt_ends_the_tasks_of_all_ranks_a_plain_farmer_and_a_second_job(cluster: Cluster, site: Site) -> None:
    up = site.path / "up"
    failing = f"while [ $(wc -l <{up}) -lt 12 ]; do sleep 0.1; done; exit 1"
    lines = [*[failing] * 2, *[f"echo up >>{up}; exec sleep 600"] * 30]
    up.touch()
    tasks = site.tasklist(lines)
    workdir, environ = Path(f"{tasks}_workdir"), cluster.environ(site)
    options = ("--proc", "2", "--halt", "now,fail=2", "--progress", "none")
    first = cluster.submit(site, "--cpus-per-task=2", SCRIPTS / "multinode.sh", tasks, *options)
    wait_for(lambda: (workdir / "farm.ini").exists(), deadline=60, what="the work directory")
    plain = site.farm("--mpi", "off", *options[:2], "--progress", "none", "--workdir", workdir, environ=environ)
    second = cluster.submit(site, "--nodes=2", "--cpus-per-task=2", SCRIPTS / "multinode.sh", tasks, *options[:2], name="2")
    codes = [job.wait(120)[0].code for job in (first, second)]
    assert [*codes, plain.wait(60)] == [75] * 3, first.said() + second.said() + plain.said()
    lists = accounted(workdir, lines)
    assert (sorted(lists.failed), sorted(lists.toprocess)) == ([0, 1], list(range(2, 32)))
    assert "2 tasks failed (--halt now,fail=2)" in first.said()
    _nothing_left_running(site)
    refused = site.farm("--mpi", "off", "--workdir", workdir, environ=environ)
    refused.succeed(30, code=2)
    assert "halted: " in refused.stderr


# -- ranks that leave early -----------------------------------------------------------------------


def _early_job(cluster: Cluster, site: Site, tasklist: Path, *options: str) -> Job:
    return cluster.submit(
        site, "--cpus-per-task=1", SCRIPTS / "multinode.sh", tasklist, "-v", "--leave-early", "0.5", *options
    )


def _left(job: Job) -> int:
    return job.said().count("this rank leaves before the end")


def test_idle_ranks_leave_their_nodes_to_others_while_the_last_task_runs(
    cluster: Cluster, site: Site, witness: Witness
) -> None:
    tasks = [*witness.tasks(8, 0.2), witness.task(8, 14), "exit 7"]
    job = _early_job(cluster, site, site.tasklist(tasks))
    wait_for(lambda: _freed_nodes(cluster, job), deadline=120, what="a node that went back to Slurm")
    assert not _all_ended(witness, 9), "the last task still runs"
    ended = job.wait(120)[0]
    said = job.said()
    assert (ended.state, ended.code) == ("FAILED", 1), said
    assert 3 <= _left(job) <= 4, said
    assert "is dead" not in said
    assert "Timeout" not in said
    assert "(this job: 9 finished, 1 failed)" in said
    assert "5 farmers" in said
    lists = settled(site.path / "tasks_workdir", tasks)
    assert lists.failed == [9]
    assert not list(site.path.glob("slurm_job_*"))
    _nothing_left_running(site)


def _freed_nodes(cluster: Cluster, job: Job) -> list[str]:
    listed = cluster.ask("squeue", "--noheader", f"--jobs={job.id}", "--format=%N").strip()
    kept = cluster.ask("scontrol", "show", "hostnames", listed).split() if listed else []
    return [node for node in NODES if node not in kept] if kept else []


def test_the_next_leader_ends_the_job_of_ranks_that_left(cluster: Cluster, site: Site, witness: Witness) -> None:
    tasks = witness.tasks(10, lambda task_id: 6.0 if task_id < 4 else 0.1)
    job = _early_job(cluster, site, site.tasklist(tasks), "-n", "2")
    wait_for(lambda: _have_idle_ones_left(job, witness), deadline=120, what="all idle ranks left")
    os.kill(_farmer_on("n1", witness), signal.SIGKILL)
    ended = job.wait(180)[0]
    assert (ended.state, ended.code) == ("COMPLETED", 0), job.said()
    assert settled(site.path / "tasks_workdir", tasks).failed == []
    assert witness.overlaps() == []
    assert "rank 0, which led this job, is dead" in job.said()
    assert not re.search(r"rank [1-4]\b[^:]* is dead", job.said()), "a rank that left is not dead"
    assert "4 farmers" in job.said(), "what those did that left counts"
    _nothing_left_running(site)


def _have_idle_ones_left(job: Job, witness: Witness) -> bool:
    """Whether all have left but rank 0 and those with one of the first four tasks, which may not have heard of it."""
    runs = witness.runs()
    busy = {_node(runs[task_id][-1].farmer) for task_id in range(4) if task_id in runs} - {"n1"}
    return len(runs) == 10 and _left(job) == 4 - len(busy) > 0


def test_a_stop_after_ranks_left_ends_the_job_in_order(cluster: Cluster, site: Site) -> None:
    tasks = ["sleep 1000", *[f"sleep 0.{number}" for number in range(1, 6)]]
    job = _early_job(cluster, site, site.tasklist(tasks))
    wait_for(lambda: _left(job) >= 3, deadline=120, what="three ranks that left")
    cluster.ask("scancel", "--signal=USR1", "--batch", job.id)
    ended = job.wait(20)[0]
    assert (ended.state, ended.code) == ("FAILED", 75), job.said()
    assert accounted(site.path / "tasks_workdir", tasks).toprocess == [0]
    _nothing_left_running(site)


def test_each_element_of_an_array_knows_its_own_end(cluster: Cluster, site: Site) -> None:
    asking = "import os, time; from taskfarmer_mpi.job.walltime import job_end; "
    code = asking + "print(round((job_end(os.environ) - time.time()) / 60))"
    script = site.path / "ask.sh"
    waiting = "until [ -e go ]; do sleep 0.1; done; unset SLURM_JOB_END_TIME"
    script.write_text(f"#!/bin/bash\n{waiting}\necho $SLURM_ARRAY_TASK_ID $(\"$PYTHON\" -c '{code}') >> ends\n")
    array = cluster.submit(site, "--array=0-2", "--time=30", script, name="array-%a")
    wait_for(lambda: [one.state for one in array.states()] == ["RUNNING"] * 3, deadline=60, what="all elements run")
    for element, minutes in ((0, 10), (1, 20), (2, 15)):
        cluster.ask("scontrol", "update", f"JobId={array.id}_{element}", f"TimeLimit={minutes}")
    (site.path / "go").touch()
    array.succeed(60)
    assert sorted((site.path / "ends").read_text().splitlines()) == ["0 10", "1 20", "2 15"]


# -- the end of the long jobs ---------------------------------------------------------------------


def test_a_list_that_nothing_gets_done_of_is_not_requeued(long_jobs: dict[str, LongJob]) -> None:
    stuck = long_jobs["stuck"]
    ended = stuck.job.wait(180)[0]
    assert (ended.state, ended.code, ended.restarts) == ("FAILED", 75, 0), stuck.job.said()
    assert "no task ended in this run" in stuck.job.said()
    lists = accounted(stuck.workdir, stuck.tasks)
    assert len(lists.toprocess) == len(stuck.tasks)
    _nothing_left_running(stuck.site)


def test_a_requeued_job_ends_its_list_with_the_third_run(long_jobs: dict[str, LongJob]) -> None:
    requeued = long_jobs["requeued"]
    ended = requeued.job.wait(180)[0]
    assert (ended.state, ended.code, ended.restarts) == ("COMPLETED", 0, 2), requeued.job.said()
    assert requeued.job.said().count("back into the queue") == 2
    assert requeued.job.said().count("a task may take 3 s, which is more than the time left") == 2
    requeued.witness.once_each(REQUEUED)
    assert settled(requeued.workdir, requeued.tasks).failed == []
    _nothing_left_running(requeued.site)


def test_elements_of_an_array_put_themselves_back_into_the_queue(long_jobs: dict[str, LongJob]) -> None:
    array = long_jobs["elements"]
    ended = array.job.wait(180)
    said = array.job.said()
    assert [(one.state, one.code) for one in ended] == [("COMPLETED", 0)] * 2, said
    assert said.count("back into the queue") == sum(one.restarts for one in ended) > 0, said
    assert array.witness.overlaps() == []
    assert settled(array.workdir, array.tasks).failed == []
    _nothing_left_running(array.site)


@pytest.mark.parametrize("what", CHANGES)
def test_a_job_whose_end_was_moved_goes_on_to_the_new_one(what: str, long_jobs: dict[str, LongJob]) -> None:
    moved = long_jobs[what]
    moved.job.succeed(240)
    assert moved.job.said().count("the job ends at ") == 1, moved.job.said()
    moved.witness.once_each(len(moved.tasks))
    assert settled(moved.workdir, moved.tasks).failed == []
    _nothing_left_running(moved.site)


@pytest.mark.parametrize("who", ["script", "ranks"])
def test_a_signal_before_the_time_limit_stops_the_job_in_order(who: str, long_jobs: dict[str, LongJob]) -> None:
    told = long_jobs[f"{who} told"]
    ended = told.job.wait(150)[0]
    assert (ended.state, ended.code) == ("FAILED", 75), told.job.said()
    assert "stopped early: SIGUSR1" in told.job.said()
    _nothing_left_running(told.site)
    lists = accounted(told.workdir, told.tasks)
    assert lists.failed == []
    assert lists.toprocess
    _check_interrupted(told.witness, lists.toprocess)


def test_the_time_limit_itself_loses_nothing(long_jobs: dict[str, LongJob]) -> None:
    limited = long_jobs["limited"]
    ended = limited.job.wait(150)[0]
    assert ended.state == "TIMEOUT", limited.job.said()
    _nothing_left_running(limited.site)
    lists = accounted(limited.workdir, limited.tasks)
    assert lists.failed == []
    _check_interrupted(limited.witness, lists.toprocess)


# -- tasks that use Slurm themselves ----------------------------------------------------------------


def test_tasks_see_the_job_and_not_the_step_of_their_farmer(cluster: Cluster, site: Site) -> None:
    cluster.farm(site, "-n", "1", site.tasklist(["env; sleep 0.2"] * 10)).succeed(120)
    for path in (site.path / "tasks_workdir" / "logs").glob("log_*"):
        names = {line.partition("=")[0] for line in path.read_text().splitlines()}
        assert {"SLURM_JOB_ID", "SLURM_JOB_NODELIST", "SLURMD_NODENAME", "SLURM_OVERLAP"} <= names
        hidden = {"SLURM_NTASKS", "SLURM_NPROCS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "PMI_FD", "PMI_RANK"}
        assert not names & hidden
        assert not [name for name in names if name.startswith(("SLURM_STEP", "SLURM_CPU_BIND", "SLURM_SRUN_COMM"))]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("srun -n1 echo started", 1),
        ('srun -n1 -w "$SLURMD_NODENAME" echo started', 1),
        (f"{MPIEXEC} -n 2 echo started", 2),
    ],
    ids=["srun", "srun_on_its_node", "mpiexec"],
)
def test_a_launcher_in_a_line_starts_although_the_farm_has_all_cpus(
    line: str, expected: int, cluster: Cluster, site: Site
) -> None:
    farm = cluster.farm(site, "-n", "1", site.tasklist([line] * 5), options=["--exclusive"])
    farm.succeed(90)
    logs = [path.read_text().split() for path in (site.path / "tasks_workdir" / "logs").glob("log_*")]
    assert [log.count("started") for log in logs] == [expected] * 5


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_job_that_a_task_submitted_lives_on_when_the_farm_ends(
    number: signal.Signals, cluster: Cluster, site: Site
) -> None:
    script = site.path / "later.sh"
    script.write_text("#!/bin/bash\necho $$ > begun\nuntil [ -e go ]; do sleep 0.1; done\necho done > ended\n")
    lines = ["sbatch --parsable --output=/dev/null -w n1 later.sh; sleep 1000"]
    farm = site.start(
        "srun",
        "--nodes=1",
        "-w",
        "n1",
        "--ntasks=1",
        "--cpus-per-task=1",
        sys.executable,
        "-m",
        "taskfarmer_mpi",
        "-n",
        "1",
        site.tasklist(lines),
        environ=cluster.environ(site),
    )
    begun = site.path / "begun"
    pid = int(wait_for(lambda: begun.exists() and begun.read_text(), deadline=60, what="the submitted job begins"))
    (farmer,) = wait_for(farm.farmers, deadline=20, what="the farmer")
    os.kill(farmer, number)
    farm.wait(60)
    assert is_alive(pid)
    (site.path / "go").touch()
    wait_for((site.path / "ended").exists, deadline=20, what="the submitted job comes to its end")


def test_a_farm_that_a_task_submits_ends_its_own_list(cluster: Cluster, site: Site) -> None:
    inner = site.path / "inner"
    inner.write_text("/bin/true\n" * 50)
    lines = [f"sbatch --wait --output=inner.out --cpus-per-task=2 {SCRIPTS / 'multinode.sh'} {inner}"]
    cluster.submit(site, "--nodes=1", "--cpus-per-task=1", SCRIPTS / "multinode.sh", site.tasklist(lines)).succeed(180)
    assert settled(site.path / "tasks_workdir", lines).failed == []
    assert settled(site.path / "inner_workdir", ["/bin/true"] * 50).failed == []
