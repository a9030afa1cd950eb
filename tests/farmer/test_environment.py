"""What a task gets of its farmer's environment: all that is the user's, nothing that a launcher added."""

from pathlib import Path

import pytest

from taskfarmer_mpi.farmer.environment import task_environment, without_launcher
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
OWN = {"TASKFARMER_FAMILY", "TASKFARMER_FARMER", "TASKFARMER_RANK", "TASKFARMER_WORKDIR"}


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
