"""Schedulers other than Slurm: stand-ins for their programs check each call, and print what their documentation shows."""

import math
import os
import re
import time
from pathlib import Path

import pytest
from helpers import Site, accounted, settled

from taskfarmer_mpi.common.programs import AskError
from taskfarmer_mpi.job.schedulers.found import BatchJob, count_nodes, find_job
from taskfarmer_mpi.job.walltime import job_end
from taskfarmer_mpi.lives.owner import name_job, parse_job
from taskfarmer_mpi.machine.allotment import cpus_by_scheduler

PBS_PRO = """Job Id: 1234.pbs01
    Job_Name = farm
    Job_Owner = ann@login1
    resources_used.walltime = 00:10:05
    job_state = R
    Variable_List = PBS_O_HOME=/home/ann,PBS_O_LANG=en_US.UTF-8,
\tPBS_O_PATH=/usr/bin:/bin,PBS_O_WORKDIR=/home/ann
    Resource_List.ncpus = 128
    Resource_List.select = 2:ncpus=64
    Resource_List.walltime = {walltime}
    stime = {start}
    substate = 42
"""
TORQUE = """Job Id: 548.moab
    Job_Name = STDIN
    Resource_List.walltime = 01:00:00
    start_time = Thu Feb 22 14:27:48 2018
    Walltime.Remaining = 3593
"""
GRID_ENGINE = """<?xml version='1.0'?>
<job_info  xmlns:xsd="http://arc.liv.ac.uk/repos/darcs/sge/source/dist/util/resources/schemas/qstat/qstat.xsd">
  <queue_info>
    <job_list state="running">
      <JB_job_number>41</JB_job_number>
      <state>r</state>
      <JAT_start_time>2001-01-01T00:00:00</JAT_start_time>
      <hard_request name="h_rt" resource_contribution="0.000000">60</hard_request>
    </job_list>
    <job_list state="running">
      <JB_job_number>42</JB_job_number>
      <JAT_prio>0.55500</JAT_prio>
      <state>r</state>
      <JAT_start_time>2026-01-02T03:04:05</JAT_start_time>
      <queue_name>all.q@node1</queue_name>
      <slots>8</slots>
      <tasks>3</tasks>
      <hard_request name="h_rt" resource_contribution="0.000000">{limit}</hard_request>
      <hard_request name="mem_free" resource_contribution="0.000000">4G</hard_request>
    </job_list>
  </queue_info>
  <job_info>
  </job_info>
</job_info>
"""
BEGIN = 1767323045.0
"""2026-01-02 03:04:05 UTC."""


def _stand_in(folder: Path, program: str, said: str) -> Path:
    """Put a program in front of all others that notes how it was called, and in what time zone; return its notes."""
    (folder / "said").write_text(said)
    (folder / program).write_text(
        f"#!/bin/sh\nfor word; do printf '%s\\n' \"$word\" >> {folder}/asked; done\n"
        f'echo "$TZ $LC_ALL" > {folder}/settings\nexec cat {folder}/said\n'
    )
    (folder / program).chmod(0o755)
    return folder / "asked"


def _job(environ: dict[str, str]) -> BatchJob:
    job = find_job(environ)
    assert job is not None
    return job


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose programs come first; the user's own settings are not what a program should see."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("TZ", "America/New_York")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    return folder


FLUX_ASKED = ["job", "timeleft"]
LSF_ASKED = ["-noheader", "-o", "time_left run_time runtimelimit delimiter='|'"]
GRID_ENGINE_ASKED = ["-s", "r", "-r", "-xml"]
GRID_ENGINE_JOB = {"JOB_ID": "42", "SGE_JOB_SPOOL_DIR": "/var/spool/42.1"}


@pytest.mark.parametrize(
    ("environ", "program", "said", "asked", "end"),
    [
        (
            {"PBS_JOBID": "1234.pbs01"},
            "qstat",
            PBS_PRO.format(walltime="24:00:00", start="Fri Jan  2 03:04:05 2026"),
            ["-f", "1234.pbs01"],
            BEGIN + 86400,
        ),
        ({"PBS_JOBID": "1234[7].pbs01"}, "qstat", TORQUE, ["-f", "1234[7].pbs01"], 1519309668 + 3600),
        (
            {"PBS_JOBID": "9.x"},
            "qstat",
            "Job Id: 9.x\n    stime = Fri Jan  2 03:04:05 2026\n",
            ["-f", "9.x"],
            math.inf,
        ),
        (GRID_ENGINE_JOB | {"SGE_TASK_ID": "3"}, "qstat", GRID_ENGINE.format(limit=3600), GRID_ENGINE_ASKED, BEGIN + 3600),
        (
            GRID_ENGINE_JOB | {"SGE_TASK_ID": "undefined"},
            "qstat",
            GRID_ENGINE.format(limit="1:00:00"),
            GRID_ENGINE_ASKED,
            BEGIN + 3600,
        ),
        (GRID_ENGINE_JOB, "qstat", GRID_ENGINE.format(limit="INFINITY"), GRID_ENGINE_ASKED, math.inf),
        ({"FLUX_JOB_ID": "f2Xq", "FLUX_URI": "local:///x"}, "flux", "4294967295\n", FLUX_ASKED, math.inf),
        ({"LSB_JOBID": "77", "LSB_JOBINDEX": "0"}, "bjobs", "-|7 second(s)|-\n", [*LSF_ASKED, "77"], math.inf),
    ],
    ids=["PBS Pro", "Torque array", "PBS, no limit", "array of GE", "GE", "GE, no limit", "Flux, no limit", "LSF, no limit"],
)
def test_the_end_is_what_the_scheduler_says(
    environ: dict[str, str], program: str, said: str, asked: list[str], end: float, programs: Path
) -> None:
    notes = _stand_in(programs, program, said)
    job = _job(environ)
    assert job.ask_end(job.number) == end
    assert notes.read_text().splitlines() == asked
    assert (programs / "settings").read_text() == "UTC C\n"


@pytest.mark.parametrize(
    ("environ", "program", "said", "asked", "left"),
    [
        ({"FLUX_JOB_ID": "f2Xq"}, "flux", "300\n", FLUX_ASKED, 300),
        ({"FLUX_URI": "local:///run/user/1/flux/local-0"}, "flux", "1\n", FLUX_ASKED, 1),
        ({"LSB_JOBID": "77", "LSB_JOBINDEX": "4"}, "bjobs", "1:30 L|61 second(s)|91.0/hostA\n", [*LSF_ASKED, "77[4]"], 5400),
        ({"LSB_JOBID": "77"}, "bjobs", "0:10 E|600 second(s)|60.0\n", [*LSF_ASKED, "77"], 3000),
        ({"LSB_JOBID": "77"}, "bjobs", "00:10:30 L|00:10:00|00:20:30\n", [*LSF_ASKED, "77"], 630),
        ({"LSB_JOBID": "77"}, "bjobs", "0:10 X|00:10:00|01:00:00\n", [*LSF_ASKED, "77"], 3000),
    ],
    ids=["Flux", "script of flux batch", "LSF array", "LSF, an estimate", "LSF, hms", "LSF, an estimate, hms"],
)
def test_the_time_left_is_counted_from_the_answer(
    environ: dict[str, str], program: str, said: str, asked: list[str], left: float, programs: Path
) -> None:
    notes = _stand_in(programs, program, said)
    job = _job(environ)
    before = time.time()
    end = job.ask_end(job.number)
    assert before + left <= end <= time.time() + left
    assert notes.read_text().splitlines() == asked


@pytest.mark.parametrize(
    ("environ", "program", "said", "text"),
    [
        (
            {"PBS_JOBID": "1.x"},
            "qstat",
            "Job Id: 1.x\n    job_state = Q\n",
            "PBS job 1.x is not known (qstat: job 1.x has no",
        ),
        (
            {"PBS_JOBID": "1.x"},
            "qstat",
            PBS_PRO.format(walltime="soon", start="Fri Jan  2 03:04:05 2026"),
            "(qstat: Resource_List.walltime = soon)",
        ),
        ({"LSB_JOBID": "5"}, "bjobs", "Job <5> is not found\n", "LSF job 5 is not known (bjobs: Job <5> is not found)"),
        ({"LSB_JOBID": "5"}, "bjobs", "0:10 E|1 second(s)|60.0/hostA\n", "(bjobs: 0:10 E|1 second(s)|60.0/hostA)"),
        ({"FLUX_JOB_ID": "f1"}, "flux", "", "Flux job f1 is not known (flux job timeleft: no answer)"),
        (
            GRID_ENGINE_JOB,
            "qstat",
            "<job_info/>",
            "Grid Engine job 42 is not known (qstat: it does not show job 42",
        ),
        (
            GRID_ENGINE_JOB | {"SGE_TASK_ID": "4"},
            "qstat",
            GRID_ENGINE.format(limit=3600),
            "job 42.4 is not known",
        ),
        (
            GRID_ENGINE_JOB,
            "qstat",
            GRID_ENGINE.format(limit="x").replace('name="h_rt"', 'name="x"'),
            "job 42 did not ask for h_rt, and what its queue allows is not shown",
        ),
    ],
)
def test_what_is_no_answer_is_said_in_one_line(
    environ: dict[str, str], program: str, said: str, text: str, programs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _stand_in(programs, program, said)
    assert job_end(environ) is None
    (record,) = caplog.records
    assert text in record.getMessage()
    assert "nothing stops in time for it but --timeout or a signal" in record.getMessage()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"PBS_JOBID": "-f;rm"},
        {"PBS_JOBID": "--version"},
        {"LSB_JOBID": "7x"},
        {"JOB_ID": "42"},
        {"JOB_ID": "x", "SGE_JOB_SPOOL_DIR": "/x"},
    ],
)
def test_what_is_no_job_is_not_asked_for(environ: dict[str, str]) -> None:
    assert find_job(environ) is None


def test_a_job_in_a_job_of_slurm_is_slurms() -> None:
    assert _job({"SLURM_JOB_ID": "7", "FLUX_URI": "local:///x", "PBS_JOBID": "8.x"}).title == "job 7"
    assert _job({"PBS_JOBID": "8.x", "FLUX_URI": "local:///x"}).title == "PBS job 8.x"


@pytest.mark.parametrize(
    ("environ", "cpus"),
    [
        ({}, math.inf),
        ({"LSB_JOBID": "7", "LSB_MCPU_HOSTS": "node1 4 node2 8 "}, 8),
        ({"LSB_JOBID": "7", "LSB_MCPU_HOSTS": "node1 4 node2.site.org 8 node2 2"}, 10),
        ({"LSB_JOBID": "7", "LSB_MCPU_HOSTS": "node1 4"}, math.inf),
        ({"LSB_JOBID": "7", "LSB_MCPU_HOSTS": "node2"}, math.inf),
        ({"PBS_JOBID": "7.x", "NCPUS": "1", "OMP_NUM_THREADS": "1"}, math.inf),
        ({"PBS_JOBID": "7.x", "PBS_NUM_PPN": "16"}, 16),
        ({"JOB_ID": "7", "SGE_JOB_SPOOL_DIR": "/x", "NSLOTS": "6", "NHOSTS": "1"}, 6),
        ({"JOB_ID": "7", "SGE_JOB_SPOOL_DIR": "/x", "NSLOTS": "6", "NHOSTS": "2", "PE_HOSTFILE": "/nowhere"}, math.inf),
        ({"JOB_ID": "7", "NSLOTS": "6", "NHOSTS": "1"}, math.inf),
    ],
)
def test_the_cpus_of_a_node_are_those_of_the_scheduler(environ: dict[str, str], cpus: float) -> None:
    assert cpus_by_scheduler(environ, "node2.cluster") == cpus


def test_the_hosts_of_a_parallel_environment_say_how_many_cpus_each_has(tmp_path: Path) -> None:
    hosts = tmp_path / "pe_hostfile"
    hosts.write_text("node1 4 all.q@node1 UNDEFINED\nnode2.site.org 3 all.q@node2 UNDEFINED\n\n")
    environ = {"JOB_ID": "7", "SGE_JOB_SPOOL_DIR": "/x", "NSLOTS": "7", "NHOSTS": "2", "PE_HOSTFILE": str(hosts)}
    assert cpus_by_scheduler(environ, "node2") == 3


@pytest.mark.parametrize(
    ("environ", "nodes"),
    [({}, 1), ({"SLURM_JOB_NUM_NODES": "3"}, 3), ({"NHOSTS": "2"}, 2), ({"FLUX_JOB_NNODES": "x"}, 1)],
)
def test_the_nodes_of_a_job_are_counted(environ: dict[str, str], nodes: int) -> None:
    assert count_nodes(environ) == nodes


@pytest.mark.parametrize(
    ("environ", "name", "variables"),
    [
        ({}, "", {"SLURM_JOB_ID": ""}),
        ({"SLURM_JOB_ID": "7", "PBS_JOBID": "8.x"}, "7", {"SLURM_JOB_ID": "7"}),
        ({"PBS_JOBID": "8.x"}, "PBS_JOBID=8.x", {"PBS_JOBID": "8.x"}),
        ({"FLUX_JOB_ID": "f1", "SLURM_JOB_ID": ""}, "FLUX_JOB_ID=f1", {"FLUX_JOB_ID": "f1"}),
    ],
)
def test_a_journal_names_the_job_and_its_variable(environ: dict[str, str], name: str, variables: dict[str, str]) -> None:
    assert name_job(environ) == name
    assert parse_job(name) == variables


def _farm_in_job(site: Site, program: str, said: str, **variables: str) -> str:
    """Run 30 tasks of half a second in a job that ends soon; return what the farm says."""
    folder = site.path / "bin"
    folder.mkdir()
    notes = _stand_in(folder, program, said)
    environ = site.environ(**variables)
    environ["PATH"] = f"{folder}:{os.environ['PATH']}"
    tasks = ["sleep 0.5"] * 60
    farm = site.farm("-n", "1", "--grace", "2", "--task-time", "3", site.tasklist(tasks), environ=environ)
    farm.succeed(60, code=75)
    lists = accounted(site.path / "tasks_workdir", tasks)
    assert lists.failed == []
    assert lists.toprocess
    assert notes.exists()
    return farm.stdout


@pytest.mark.parametrize("scheduler", ["PBS", "Flux", "LSF", "Grid Engine"])
def test_a_farm_stops_before_its_job_ends_and_goes_on_in_the_next(scheduler: str, site: Site) -> None:
    now = time.time()
    said, variables = {
        "PBS": (
            PBS_PRO.format(walltime="00:00:12", start=time.strftime("%a %b %d %H:%M:%S %Y", time.gmtime(now))),
            {"PBS_JOBID": "1234.pbs01"},
        ),
        "Flux": ("12\n", {"FLUX_JOB_ID": "f1"}),
        "LSF": ("0:0 E|48 second(s)|1.0\n", {"LSB_JOBID": "77"}),
        "Grid Engine": (
            re.sub("2026-[^<]*", time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)), GRID_ENGINE.format(limit="00:00:12")),
            GRID_ENGINE_JOB,
        ),
    }[scheduler]
    program = {"PBS": "qstat", "Flux": "flux", "LSF": "bjobs", "Grid Engine": "qstat"}[scheduler]
    text = _farm_in_job(site, program, said, **variables)
    assert "stopped early: a task may take 3 s, which is more than the time left; the same command goes on\n" in text
    tasks = ["sleep 0.5"] * 60
    site.farm("-n", "20", site.path / "tasks").succeed(60)
    settled(site.path / "tasks_workdir", tasks)


def test_a_program_that_is_missing_is_no_error(programs: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert job_end({"LSB_JOBID": "7"}) is None
    assert "bjobs: No such file or directory" in caplog.text
    assert not list(programs.iterdir())


def test_a_failing_program_is_an_error_of_asking(programs: Path) -> None:
    (programs / "qstat").write_text("#!/bin/sh\necho 'qstat: Unknown Job Id 1.x' >&2\nexit 153\n")
    (programs / "qstat").chmod(0o755)
    job = _job({"PBS_JOBID": "1.x"})
    with pytest.raises(AskError, match="Unknown Job Id"):
        job.ask_end(job.number)
