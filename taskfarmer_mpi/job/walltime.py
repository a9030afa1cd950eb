"""When the batch job ends, by the scheduler's word."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.programs import AskError
from taskfarmer_mpi.lives.owner import JOBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.job.schedulers.found import BatchJob

log = Log(__name__)

_VARIABLE = "SLURM_JOB_END_TIME"


def job_end(environ: Mapping[str, str], job: BatchJob | None = None) -> float | None:
    """Return when the batch job ends [s since the epoch]; None if there is no job, no limit or no answer.

    Parameters
    ----------
    environ
        The environment: ``SLURM_JOB_END_TIME`` (Slurm 23.02 and newer) says it, else the scheduler is asked.
    job
        The job (default: the one that the environment names).
    """
    known = stated_end(environ)
    if known is not None and known > time.time():
        return known
    if known is not None:
        log.warning("%s=%.0f is in the past, of a job that is over: it is not believed; unset it", _VARIABLE, known)
    job = job or own_job(environ)
    if job is None:
        return None
    try:
        end = job.ask_end(job.number)
    except AskError as error:
        if known is None:
            lack = "nothing stops in time for it but --timeout or a signal"
            log.warning("the end of %s is not known (%s): %s", job.title, error, lack)
        return None
    return end if time.time() < end < math.inf else None


def time_left(end: float | None, timeout: float | None, grace: float) -> float:
    """Return for how long tasks can run from now on [s].

    Parameters
    ----------
    end
        When the batch job ends [s since the epoch]; None if that is not known.
    timeout
        After what time the job stops by itself [s]; None for never.
    grace
        How long before the end of the batch job it stops [s].
    """
    return min(math.inf if timeout is None else timeout, math.inf if end is None else end - grace - time.time())


def stated_end(environ: Mapping[str, str]) -> float | None:
    """Return when the job ends by the environment [s since the epoch], which may be of another job; None if not said."""
    known = environ.get(_VARIABLE, "")
    return float(known) if known.isdecimal() else None


def own_job(environ: Mapping[str, str]) -> BatchJob | None:
    """Return the job of this process; None if it is in none that is known."""
    if environ.keys().isdisjoint((*JOBS, "FLUX_URI")):
        return None
    from taskfarmer_mpi.job.schedulers.found import find_job

    return find_job(environ)
