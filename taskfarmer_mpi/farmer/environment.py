"""The environment of tasks: the farmer's own, without what its launcher added, and with what tasks need to know.

What launchers add is known by name; everything else is the user's, whatever its name looks like. Nothing is taken away where
no launcher is seen.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.lives.owner import FAMILY
from taskfarmer_mpi.workdir.files import Workdir


class _Launcher(Value):
    signs: frozenset[str]
    """Variables any of which says that it started this process."""
    added: tuple[str, ...]
    """Patterns of what it adds, as NAME=VALUE."""


def _launcher(signs: str, added: str) -> _Launcher:
    patterns = (pattern if "=" in pattern else f"{pattern}=*" for pattern in added.split())
    return _Launcher(frozenset(signs.split()), tuple(patterns))


_LAUNCHERS = (
    _launcher(  # jsrun of LSF
        "JSM_NAMESPACE_RANK JSM_NAMESPACE_SIZE",
        "JSM_*",
    ),
    _launcher(  # flux run; what names the job and its broker stays
        "FLUX_TASK_RANK FLUX_TASK_LOCAL_ID",
        "FLUX_JOB_NNODES FLUX_JOB_SIZE FLUX_KVS_NAMESPACE FLUX_PMI_LIBRARY_PATH FLUX_TASK_LOCAL_ID FLUX_TASK_RANK",
    ),
    _launcher(  # Hydra's, Slurm's and Cray's process managers, as MPICH's library reads them
        "PMI_FD PMI_PORT PMI_RANK PMI_CONTROL_PORT PMI_CONTROL_FD",
        """
        PMI_APPNUM PMI_CONTROL_* PMI_FD PMI_HOSTNAME PMI_ID PMI_JOBID PMI_LOCAL_RANK PMI_LOCAL_SIZE PMI_PORT PMI_RANK
        PMI_SHARED_SECRET PMI_SIZE PMI_SPAWNED PMI_UNIVERSE_SIZE
        """,
    ),
    _launcher(  # mpiexec of MPICH
        "HYDI_CONTROL_FD MPI_LOCALRANKID",
        "GFORTRAN_UNBUFFERED_PRECONNECTED=y HYDI_CONTROL_FD MPI_LOCALNRANKS MPI_LOCALRANKID",
    ),
    _launcher(  # HPE Cray PALS, and srun --mpi=cray_shasta
        "PALS_RANKID PALS_APID",
        "PALS_APID PALS_APINFO PALS_FD PALS_LOCAL_RANKID PALS_LOCAL_SIZE PALS_NODEID PALS_RANKID PALS_SPOOL_DIR",
    ),
    _launcher(  # any PMIx server
        "PMIX_RANK PMIX_NAMESPACE",
        """
        PMIX_BFROP_BUFFER_TYPE PMIX_DSTORE_* PMIX_GDS_MODULE PMIX_HOSTNAME PMIX_ID PMIX_KEEPALIVE_PIPE
        PMIX_MCA_mca_base_component_show_load_errors=1 PMIX_NAMESPACE PMIX_PARAM_FILE_PASSED PMIX_PTL_MODULE PMIX_RANK
        PMIX_SECURITY_MODE PMIX_SERVER_* PMIX_SYSTEM_TMPDIR PMIX_VERSION SLURM_PMIXP_* SLURM_PMIX_MAPPING_SERV
        """,
    ),
    _launcher(  # mpiexec of Open MPI 4 and 5
        "OMPI_COMM_WORLD_SIZE OMPI_COMM_WORLD_RANK",
        """
        HFI_NO_BACKTRACE=1 IPATH_NO_BACKTRACE=1 OMPI_APP_CTX_* OMPI_ARGV OMPI_COMMAND OMPI_COMM_WORLD_* OMPI_FILE_LOCATION
        OMPI_FIRST_RANKS OMPI_LIBDIR_LOC OMPI_MCA_PREFIXES OMPI_MCA_cpu_type OMPI_MCA_ess=* OMPI_MCA_ess_base_*
        OMPI_MCA_initial_wdir OMPI_MCA_mpi_oversubscribe OMPI_MCA_num_procs OMPI_MCA_orte_app_num
        OMPI_MCA_orte_bound_at_launch OMPI_MCA_orte_ess_* OMPI_MCA_orte_hnp_uri OMPI_MCA_orte_jobfam_session_dir
        OMPI_MCA_orte_launch OMPI_MCA_orte_local_daemon_uri OMPI_MCA_orte_num_nodes OMPI_MCA_orte_precondition_transports
        OMPI_MCA_orte_top_session_dir OMPI_MCA_pmix=^s1,s2,cray,isolated OMPI_MCA_shmem_RUNTIME_QUERY_hint OMPI_NUM_APP_CTX
        OMPI_TOOL_NAME OMPI_UNIVERSE_SIZE OMPI_VERSION OMPI_WORLD_* OPAL_USER_PARAMS_GIVEN PRTE_LAUNCHED PRTE_SHARED_FS
        """,
    ),
)
_STEP = _launcher(
    "SLURM_STEP_ID SLURM_STEPID",
    """
    SLURM_CPU_BIND* SLURM_GTIDS SLURM_LAUNCH_NODE_IPADDR SLURM_LOCALID SLURM_MEM_BIND* SLURM_NODEID SLURM_NPROCS SLURM_NTASKS
    SLURM_PROCID SLURM_SRUN_COMM_* SLURM_STEPID SLURM_STEPMGR SLURM_STEP_* SLURM_TASK_PID
    """,
)
"""What describes one step of a Slurm job; what describes the job stays."""

_SCHEDULED = frozenset({"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "PE_HOSTFILE"})
"""Variables any of which says that a scheduler gave this process its nodes."""
_LOCAL_MPI: tuple[tuple[frozenset[str], Mapping[str, str]], ...] = (
    (frozenset({"HYDRA_LAUNCHER", "HYDRA_BOOTSTRAP", "HYDRA_RMK"}), {"HYDRA_LAUNCHER": "fork", "HYDRA_RMK": "user"}),
    (
        frozenset({"OMPI_MCA_plm", "OMPI_MCA_ras"}),
        {"OMPI_MCA_plm": "isolated", "OMPI_MCA_ras": "^slurm,tm,lsf,gridengine"},
    ),
    (
        frozenset({"PRTE_MCA_plm", "PRTE_MCA_ras"}),
        {"PRTE_MCA_plm": "ssh", "PRTE_MCA_ras": "^slurm,tm,pbs,lsf,gridengine"},
    ),
)
"""What has an mpiexec start its processes on its own node, by itself, and which variables of the user's forbid it."""

_MAKE_FLAGS = ("MAKEFLAGS", "MFLAGS", "CARGO_MAKEFLAGS")
_JOBSERVER = r"(?<![^ ])--jobserver-(?:auth|fds)=-?\d+,-?\d+(?: |$)"


_OF_OTHER_FARMS = ("TASKFARMER_FAILED", "TASKFARMER_NAME", "TASKFARMER_TEMPDIR", "TASKFARMER_TIME_LEFT")
"""What a farm has whose task this farm is, and this one perhaps not."""


def without_launcher(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what a launcher, and the step of a job, tell a rank."""
    launchers = [launcher for launcher in _LAUNCHERS if not launcher.signs.isdisjoint(environ)]
    if not launchers and _STEP.signs.isdisjoint(environ):
        return dict(environ)
    patterns = [pattern for launcher in (*launchers, _STEP) for pattern in launcher.added]
    added = re.compile("|".join(map(fnmatch.translate, patterns)))
    return {name: value for name, value in environ.items() if not added.match(f"{name}={value}")}


def task_environment(environ: Mapping[str, str], farmer: str, workdir: Workdir, rank: int) -> dict[str, str]:
    """Return the environment that all tasks of a farmer share."""
    kept = _without_jobserver(without_launcher(environ))
    for name in _OF_OTHER_FARMS:
        kept.pop(name, None)
    family = f"{kept[FAMILY]}:{farmer}" if kept.get(FAMILY) else farmer
    return (
        kept
        | _local_starts(kept)
        | {
            FAMILY: family,
            "TASKFARMER_ATTEMPT": "1",
            "TASKFARMER_FARMER": farmer,
            "TASKFARMER_RANK": str(rank),
            "TASKFARMER_WORKDIR": str(workdir.path),
        }
    )


def _local_starts(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what lets ``mpiexec`` and ``srun`` start within a task, although the farmer's own step has all CPUs."""
    if _SCHEDULED.isdisjoint(environ):
        return {}
    more: dict[str, str] = {}
    for choices, settings in _LOCAL_MPI:
        if choices.isdisjoint(environ):
            more |= settings
    if "SLURM_JOB_ID" in environ and environ.keys().isdisjoint({"SLURM_OVERLAP", "SLURM_EXCLUSIVE"}):
        more["SLURM_OVERLAP"] = "1"
    return more


def _without_jobserver(environ: Mapping[str, str]) -> dict[str, str]:
    """Take the job server of a ``make`` above out of its flags: its descriptors are not passed on to tasks.

    One that is named by a path (``fifo:PATH``) works in a task.
    """
    flags = {name: cleaned for name in _MAKE_FLAGS if (cleaned := _clean_flags(environ.get(name, ""))) is not None}
    return {name: flags.get(name, value) for name, value in environ.items() if flags.get(name, value) or not value}


def _clean_flags(flags: str) -> str | None:
    """Return flags of make without a job server; None if there is none that is dead."""
    options, separator, variables = flags.partition(" -- ")
    if "--jobserver" not in options or not re.search(_JOBSERVER, options):
        return None
    words = re.sub(_JOBSERVER, "", options).split(" ")
    words = [word for word in words if word != "-j"]  # with a job server it means no limit
    return " ".join(words).rstrip() + separator + variables


def describe_differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return the sign (``-``, ``+`` or ``~``), name and value of all that differs between two environments."""
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    signs = {name: "+" if name not in before else "-" if name not in after else "~" for name in names}
    return [(signs[name], name, after.get(name, before.get(name, ""))) for name in names]
