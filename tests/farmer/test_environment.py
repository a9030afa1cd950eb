"""What a task gets of its farmer's environment: all that is the user's, nothing that a launcher added."""

import socket
import sys
import time
from pathlib import Path

import pytest
from helpers import MPIEXEC, Site
from stage import staged

from taskfarmer_mpi.farmer.environment import task_environment, without_launcher
from taskfarmer_mpi.runners.shell import Launch
from taskfarmer_mpi.workdir.files import Workdir

USERS = {
    "HOME": "/home/u",
    "HYDRA_TOPO_DEBUG": "1",
    "MPIEXEC_TIMEOUT": "300",
    "MPIR_CVAR_CH4_NETMOD": "ofi",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_MCA_btl": "tcp,self",
    "OMPI_MCA_orte_tmpdir_base": "/scratch",
    "OMPI_MCA_pml": "ob1",
    "PALS_CPU_BIND": "depth",
    "PMIX_MCA_gds": "hash",
    "PMI_MMAP_SYNC_WAIT_TIME": "600",
    "PRTE_MCA_prte_silence_shared_fs": "1",
}
"""What users set, with the names of launchers and MPI libraries."""
JOB = {
    "SLURM_CPUS_PER_TASK": "4",
    "SLURM_JOB_ID": "17",
    "SLURM_JOB_NODELIST": "n[1-5]",
    "SLURM_MPI_TYPE": "pmi2",
    "SLURM_NNODES": "5",
    "SLURM_SUBMIT_DIR": "/home/u",
    "SLURMD_NODENAME": "n2",
}
STEP = {
    "SLURM_CPU_BIND": "quiet,mask_cpu:0x1",
    "SLURM_CPU_BIND_LIST": "0x1",
    "SLURM_GTIDS": "0",
    "SLURM_LAUNCH_NODE_IPADDR": "127.0.0.1",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_NPROCS": "5",
    "SLURM_NTASKS": "5",
    "SLURM_PROCID": "0",
    "SLURM_SRUN_COMM_HOST": "127.0.0.1",
    "SLURM_STEPID": "0",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_TASK_PID": "999",
}
ADDED = {
    "mpiexec of MPICH": {
        "GFORTRAN_UNBUFFERED_PRECONNECTED": "y",
        "HYDI_CONTROL_FD": "7",
        "MPI_LOCALNRANKS": "1",
        "MPI_LOCALRANKID": "0",
        "PMI_FD": "9",
        "PMI_HOSTNAME": "vm",
        "PMI_RANK": "0",
        "PMI_SIZE": "1",
    },
    "srun with pmi2": {"PMI_FD": "9", "PMI_JOBID": "17.0", "PMI_RANK": "0", "PMI_SIZE": "5", **STEP},
    "jsrun": {"JSM_NAMESPACE_RANK": "0", "JSM_NAMESPACE_SIZE": "5", "JSM_SMPI_LIB": "x", "OMPI_COMM_WORLD_SIZE": "5"},
    "flux run": {
        "FLUX_JOB_SIZE": "5",
        "FLUX_TASK_LOCAL_ID": "0",
        "FLUX_TASK_RANK": "2",
        "PMI_FD": "9",
        "PMI_RANK": "2",
        "PMI_SIZE": "5",
    },
    "srun with cray_shasta": {
        "PALS_APID": "e7a1",
        "PALS_APINFO": "/var/spool/x",
        "PALS_LOCAL_RANKID": "0",
        "PALS_NODEID": "0",
        "PALS_RANKID": "0",
        "PALS_SPOOL_DIR": "/var/spool",
        "PMI_CONTROL_PORT": "20000,20001",
        "PMI_SHARED_SECRET": "99",
        **STEP,
    },
    "mpiexec of Open MPI 4": {
        "HFI_NO_BACKTRACE": "1",
        "OMPI_APP_CTX_NUM_PROCS": "1",
        "OMPI_COMM_WORLD_LOCAL_RANK": "0",
        "OMPI_COMM_WORLD_SIZE": "1",
        "OMPI_FIRST_RANKS": "0",
        "OMPI_MCA_ess": "^singleton",
        "OMPI_MCA_ess_base_jobid": "1030619137",
        "OMPI_MCA_initial_wdir": "/home/u",
        "OMPI_MCA_mpi_oversubscribe": "0",
        "OMPI_MCA_orte_ess_num_procs": "1",
        "OMPI_MCA_orte_hnp_uri": "1030619136.0;tcp://192.0.2.2:53137",
        "OMPI_MCA_orte_launch": "1",
        "OMPI_MCA_pmix": "^s1,s2,cray,isolated",
        "OMPI_MCA_shmem_RUNTIME_QUERY_hint": "mmap",
        "OMPI_UNIVERSE_SIZE": "2",
        "PMIX_GDS_MODULE": "ds21,ds12,hash",
        "PMIX_ID": "1030619137.0",
        "PMIX_MCA_mca_base_component_show_load_errors": "1",
        "PMIX_NAMESPACE": "1030619137",
        "PMIX_RANK": "0",
        "PMIX_SERVER_URI2": "1030619136.0;tcp4://127.0.0.1:47655",
    },
    "mpiexec of Open MPI 5": {
        "OMPI_ARGV": "",
        "OMPI_COMM_WORLD_RANK": "0",
        "OMPI_MCA_PREFIXES": "mca,opal",
        "OMPI_MCA_num_procs": "1",
        "OMPI_TOOL_NAME": "mpiexec",
        "OMPI_VERSION": "5.0.11",
        "OPAL_USER_PARAMS_GIVEN": "1",
        "PMIX_HOSTNAME": "vm",
        "PMIX_NAMESPACE": "prterun-vm-20866@1",
        "PMIX_RANK": "0",
        "PMIX_SERVER_TMPDIR": "/tmp/ompi.20866",
        "PRTE_LAUNCHED": "1",
        "PRTE_SHARED_FS": "FALSE",
    },
    "a step without MPI": STEP,
}
"""What was seen to be added by launchers."""
OWN = {"TASKFARMER_ATTEMPT", "TASKFARMER_FAMILY", "TASKFARMER_FARMER", "TASKFARMER_RANK", "TASKFARMER_WORKDIR"}


def environment(environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    return task_environment(environ, "farmer-1", Workdir(tmp_path / "work"), 0)


@pytest.mark.parametrize("added", ADDED.values(), ids=ADDED.keys())
def test_what_the_launcher_added_is_taken_away_and_nothing_else(added: dict[str, str]) -> None:
    assert without_launcher(USERS | JOB | added) == USERS | JOB


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"OMPI_MCA_ess": "^singleton", "OMPI_MCA_pmix": "^s1"},
        {"SLURM_NTASKS": "5", "SLURM_PROCID": "0"},
        {"GFORTRAN_UNBUFFERED_PRECONNECTED": "y"},
    ],
    ids=["nothing more", "settings of Open MPI", "a batch shell", "a setting of gfortran"],
)
def test_nothing_is_taken_away_where_no_launcher_is_seen(more: dict[str, str]) -> None:
    assert without_launcher(USERS | JOB | more) == USERS | JOB | more


def test_a_setting_that_differs_from_the_launchers_own_is_the_users() -> None:
    own = {"GFORTRAN_UNBUFFERED_PRECONNECTED": "n"}
    assert without_launcher(own | ADDED["mpiexec of MPICH"] | own) == own


def test_outside_of_a_scheduler_only_the_farmers_own_variables_come(tmp_path: Path) -> None:
    found = environment(USERS, tmp_path)
    assert found.keys() - USERS.keys() == OWN
    assert {name: found[name] for name in USERS} == USERS


@pytest.mark.parametrize("job", ["SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID"])
def test_in_a_job_programs_of_mpi_start_on_their_own_node(job: str, tmp_path: Path) -> None:
    found = environment({job: "17"}, tmp_path)
    assert found["HYDRA_LAUNCHER"] == "fork"
    assert found["OMPI_MCA_plm"] == "isolated"
    assert found["PRTE_MCA_plm"] == "ssh"
    assert found.get("SLURM_OVERLAP") == ("1" if job == "SLURM_JOB_ID" else None)


@pytest.mark.parametrize(
    ("name", "absent"),
    [
        ("HYDRA_LAUNCHER", "HYDRA_RMK"),
        ("HYDRA_BOOTSTRAP", "HYDRA_LAUNCHER"),
        ("OMPI_MCA_plm", "OMPI_MCA_ras"),
        ("PRTE_MCA_ras", "PRTE_MCA_plm"),
        ("SLURM_EXCLUSIVE", "SLURM_OVERLAP"),
        ("SLURM_OVERLAP", "SLURM_EXCLUSIVE"),
    ],
)
def test_what_the_user_chose_for_programs_of_mpi_stays(name: str, absent: str, tmp_path: Path) -> None:
    found = environment({"SLURM_JOB_ID": "17", name: "mine"}, tmp_path)
    assert found[name] == "mine"
    assert absent not in found


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (" -j4 --jobserver-auth=3,4 -- FOO=a\\ b", " -j4 -- FOO=a\\ b"),
        (" -j --jobserver-fds=3,4 -k", " -k"),
        ("k --jobserver-auth=-2,-2 -j2", "k -j2"),
        (" -j4 --jobserver-auth=3,4", " -j4"),
        (" -j4 --jobserver-auth=fifo:/tmp/GMfifo1", " -j4 --jobserver-auth=fifo:/tmp/GMfifo1"),
        (" -j", " -j"),
        (" -- X=--jobserver-auth=3,4", " -- X=--jobserver-auth=3,4"),
        ("--jobserver-auth=3,4", None),
    ],
)
@pytest.mark.parametrize("name", ["MAKEFLAGS", "MFLAGS", "CARGO_MAKEFLAGS"])
def test_a_job_server_whose_descriptors_are_closed_is_taken_out(
    name: str, flags: str, expected: str | None, tmp_path: Path
) -> None:
    assert environment({name: flags}, tmp_path).get(name) == expected


def test_farmers_above_are_named_first(tmp_path: Path) -> None:
    found = environment({"TASKFARMER_FAMILY": "outer", "TASKFARMER_FARMER": "outer"}, tmp_path)
    assert found["TASKFARMER_FAMILY"] == "outer:farmer-1"
    assert found["TASKFARMER_FARMER"] == "farmer-1"


def test_a_task_sees_the_number_of_its_slot_on_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with staged(tmp_path, monkeypatch) as stage:
        code, text = stage.run(Launch("/bin/sh", ["sh", "-c", "echo $TASKFARMER_SLOT $TASKFARMER_NODE_SLOT"]))
    assert (code, text) == (0, "0 6\n")


def test_the_slots_of_ranks_on_one_node_have_different_numbers(site: Site) -> None:
    tasks = ["echo $TASKFARMER_NODE_SLOT; sleep 0.5"] * 12
    site.farm("-n", "2", site.tasklist(tasks), ranks=2).succeed(60)
    logs = (site.path / "tasks_workdir" / "logs").glob("log_*")
    assert {path.read_text() for path in logs} == {"0\n", "1\n", "2\n", "3\n"}


def test_farmers_that_mpi_does_not_connect_are_numbered_by_their_launcher(site: Site) -> None:
    tasklist = site.tasklist(["echo $TASKFARMER_NODE_SLOT"])
    environ = site.environ(SLURM_LOCALID="2", SLURM_STEP_ID="0", SLURM_PROCID="2")
    site.farm("--mpi", "off", "-n", "3", tasklist, environ=environ).succeed(60)
    assert (site.path / "tasks_workdir" / "logs" / "log_0").read_text() == "6\n"


@pytest.mark.parametrize("ranks", [0, 2], ids=["plain", "two_ranks"])
def test_programs_of_mpi_run_in_a_line_of_a_job_without_srun(ranks: int, site: Site) -> None:
    """An srun in a line waits for ever while the step of the farmer has all CPUs; this one fails at once."""
    srun = site.path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text("#!/bin/sh\nexit 9\n")
    srun.chmod(0o755)
    job = {"SLURM_JOB_ID": "5", "SLURM_JOBID": "5", "SLURM_JOB_NODELIST": "n[1-5]", "SLURM_NODELIST": "n[1-5]"}
    job |= {"SLURM_NNODES": "5", "SLURM_TASKS_PER_NODE": "1(x5)", "SLURM_JOB_END_TIME": str(int(time.time()) + 3600)}
    environ = site.environ()
    path = f"{srun.parent}:{environ['PATH']}"
    # the farm's own launcher gets along without Slurm; the one in the line has to by itself
    wrapper = [f"env PATH={path} " + " ".join(f"'{name}={value}'" for name, value in job.items())]
    tasklist = site.tasklist([f"{MPIEXEC} -n 2 hostname"])
    farm = f"{wrapper[0]} {sys.executable} -m taskfarmer_mpi -n 1 {tasklist}"
    launcher = [MPIEXEC, "-n", str(ranks)] if ranks else []
    site.start(*launcher, "sh", "-c", farm, environ=environ).succeed(90)
    log = (site.path / "tasks_workdir" / "logs" / "log_0").read_text()
    assert log.split() == [socket.gethostname()] * 2


def test_check_shows_how_a_tasks_environment_differs(site: Site) -> None:
    environ = site.environ(PMI_RANK="0", MAKEFLAGS=" -j4 --jobserver-auth=3,4", SLURM_JOB_ID="5", OMPI_MCA_btl="self")
    check = site.start("taskfarmer-ctl", "check", "--environment", site.tasklist(["true"]), environ=environ)
    check.succeed(60)
    lines = [line.strip() for line in check.stdout.splitlines()]
    assert "- PMI_RANK=0" in lines
    assert "~ MAKEFLAGS=' -j4'" in lines
    assert {"+ HYDRA_LAUNCHER=fork", "+ SLURM_OVERLAP=1", "+ TASKFARMER_NODE_SLOT=N"} <= set(lines)
    assert not any("OMPI_MCA_btl" in line for line in lines)
