"""What the environment says about who started this process: the launcher, its process management interface, the ranks."""

from __future__ import annotations

import re
from collections.abc import Mapping

_LAUNCHED = ("PMI_RANK", "PMI_FD", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE", "PALS_RANKID")
_SIZES = (
    "PMI_SIZE",
    "MPI_LOCALNRANKS",
    "OMPI_COMM_WORLD_SIZE",
    "SLURM_STEP_NUM_TASKS",
    "JSM_NAMESPACE_SIZE",
    "FLUX_JOB_SIZE",
)
_RANKS = (
    "PMI_RANK",
    "OMPI_COMM_WORLD_RANK",
    "PMIX_RANK",
    "PALS_RANKID",
    "SLURM_PROCID",
    "JSM_NAMESPACE_RANK",
    "FLUX_TASK_RANK",
)
_LOCAL_RANKS = (
    "MPI_LOCALRANKID",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "PALS_LOCAL_RANKID",
    "PMI_LOCAL_RANK",
    "SLURM_LOCALID",
    "JSM_NAMESPACE_LOCAL_RANK",
    "FLUX_TASK_LOCAL_ID",
)
_LOCAL_SIZES = (
    "MPI_LOCALNRANKS",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "PALS_LOCAL_SIZE",
    "PMI_LOCAL_SIZE",
    "JSM_NAMESPACE_LOCAL_SIZE",
)
_LAUNCHERS = {
    "HYDI_CONTROL_FD": "mpiexec of MPICH (Hydra)",
    "PRTE_LAUNCHED": "mpiexec of Open MPI",
    "OMPI_MCA_orte_hnp_uri": "mpiexec of Open MPI",
    "SLURM_STEP_ID": "srun",
    "PALS_RANKID": "PALS",
    "JSM_NAMESPACE_RANK": "jsrun",
    "FLUX_TASK_RANK": "flux run",
}
"""The variable that a launcher sets. Under srun, an mpiexec hands on what srun set: so the first one counts."""
SRUN = _LAUNCHERS["SLURM_STEP_ID"]

_INTERFACES = {
    "PMIX_NAMESPACE": "PMIx",
    "PMIX_RANK": "PMIx",
    "PALS_RANKID": "Cray PALS",
    "PMI_FD": "PMI over a socket (PMI_FD), as MPICH speaks it",
    "PMI_RANK": "PMI",
}


def is_launched(environ: Mapping[str, str]) -> bool:
    """Whether an MPI launcher started this process."""
    return any(name in environ for name in _LAUNCHED)


def launched_size(environ: Mapping[str, str]) -> int:
    """Return how many ranks the launcher started, as far as it says so."""
    return max(started_ranks(environ).values(), default=1)


def launched_rank(environ: Mapping[str, str]) -> int:
    """Return which rank the launcher says that this process is; 0 if it says nothing."""
    return next((int(environ[name]) for name in _RANKS if environ.get(name, "").isdecimal()), 0)


def local_rank(environ: Mapping[str, str]) -> int:
    """Return the number of this process among those that the launcher started on this node; 0 if it says nothing."""
    return next((int(environ[name]) for name in _LOCAL_RANKS if environ.get(name, "").isdecimal()), 0)


def local_size(environ: Mapping[str, str]) -> int:
    """Return how many processes the launcher started on this node, by its own word or Slurm's; 1 if nobody says so."""
    found = next((int(environ[name]) for name in _LOCAL_SIZES if environ.get(name, "").isdecimal()), 0)
    if not found and "SLURM_STEP_ID" in environ:
        groups = re.findall(r"(\d+)(?:\(x(\d+)\))?", environ.get("SLURM_STEP_TASKS_PER_NODE", ""))
        sizes = [int(size) for size, nodes in groups for _ in range(int(nodes or 1))]
        node = environ.get("SLURM_NODEID", "")
        found = sizes[int(node)] if node.isdecimal() and int(node) < len(sizes) else 0
    return found or 1


def started_ranks(environ: Mapping[str, str]) -> dict[str, int]:
    """Return the variables that say how many ranks were started, and what they say."""
    return {name: int(environ[name]) for name in _SIZES if environ.get(name, "").isdecimal()}


def launcher_of(environ: Mapping[str, str]) -> str | None:
    """Return the name of the launcher; None if there is none or it is not known."""
    return next((launcher for name, launcher in _LAUNCHERS.items() if name in environ), None)


def interface_of(environ: Mapping[str, str]) -> str | None:
    """Return by what interface the ranks find each other; None if the environment has nothing of the kind."""
    return next((interface for name, interface in _INTERFACES.items() if name in environ), None)


def is_pmix_only(environ: Mapping[str, str]) -> bool:
    """Whether the launcher offers PMIx and not the older PMI."""
    return "PMIX_RANK" in environ and not environ.keys() & {"PMI_FD", "PMI_RANK"}
