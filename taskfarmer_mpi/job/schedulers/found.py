"""In whose job this process is, by the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from taskfarmer_mpi.common.programs import Ask
from taskfarmer_mpi.common.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class AskEnd(Protocol):
        """Asks a scheduler when a job ends [s since the epoch]."""

        def __call__(self, job: str, /, run: Ask = ...) -> float:
            """Return it; infinite if there is no limit."""


class BatchJob(Value):
    """A job of a scheduler."""

    scheduler: str
    """The name of the scheduler, as people call it."""
    number: str
    """What the scheduler calls the job."""
    ask_end: AskEnd
    """Returns when a job ends [s since the epoch], infinite if it has no limit; raises `AskError`."""
    resolution: float = 2.0
    """By how much answers differ although nothing has changed [s]."""

    @property
    def title(self) -> str:
        """What it is called in a sentence."""
        return f"job {self.number}" if self.scheduler == "Slurm" else f"{self.scheduler} job {self.number}"


def find_job(environ: Mapping[str, str]) -> BatchJob | None:
    """Return the job of this process; None if it is in none that is known."""
    return next((job for find in _FINDERS if (job := find(environ)) is not None), None)


def count_nodes(environ: Mapping[str, str]) -> int:
    """Return how many nodes the job has, as far as the environment says so; else 1."""
    names = ("SLURM_JOB_NUM_NODES", "PBS_NUM_NODES", "NHOSTS", "FLUX_JOB_NNODES")
    return next((int(environ[name]) for name in names if environ.get(name, "").isdecimal() and int(environ[name])), 1)


def _find_slurm(environ: Mapping[str, str]) -> BatchJob | None:
    if "SLURM_JOB_ID" not in environ:
        return None
    from taskfarmer_mpi.job.schedulers.slurm import ask_end, job_of

    number = job_of(environ)
    return BatchJob("Slurm", number, ask_end) if number else None


def _find_pbs(environ: Mapping[str, str]) -> BatchJob | None:
    number = environ.get("PBS_JOBID", "")
    if not number:
        return None
    from taskfarmer_mpi.job.schedulers.pbs import JOB, ask_end

    return BatchJob("PBS", number, ask_end) if JOB.fullmatch(number) else None


def _find_lsf(environ: Mapping[str, str]) -> BatchJob | None:
    if "LSB_JOBID" not in environ:
        return None
    from taskfarmer_mpi.job.schedulers.lsf import RESOLUTION, ask_end, job_of

    number = job_of(environ)
    return BatchJob("LSF", number, ask_end, RESOLUTION) if number else None


def _find_grid_engine(environ: Mapping[str, str]) -> BatchJob | None:
    if "JOB_ID" not in environ or "SGE_JOB_SPOOL_DIR" not in environ:
        return None
    from taskfarmer_mpi.job.schedulers.gridengine import ask_end, job_of

    number = job_of(environ)
    return BatchJob("Grid Engine", number, ask_end) if number else None


def _find_flux(environ: Mapping[str, str]) -> BatchJob | None:
    if "FLUX_URI" not in environ and "FLUX_JOB_ID" not in environ:
        return None
    from taskfarmer_mpi.job.schedulers.flux import ask_end, job_of

    number = job_of(environ)
    return BatchJob("Flux", number, ask_end) if number else None


_FINDERS: tuple[Callable[[Mapping[str, str]], BatchJob | None], ...] = (
    _find_slurm,
    _find_pbs,
    _find_lsf,
    _find_grid_engine,
    _find_flux,
)
"""A Flux that runs in the job of another scheduler is the inner one: the outer one's end counts."""
