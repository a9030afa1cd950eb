"""When the batch job ends, by the scheduler's word."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable, Mapping

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.programs import Ask, AskError
from taskfarmer_mpi.common.programs import ask as ask_program

log = Log(__name__)

_VARIABLE = "SLURM_JOB_END_TIME"
_NEVER = ("N/A", "NONE", "UNKNOWN", "UNLIMITED")


def job_end(environ: Mapping[str, str], ask: Callable[[str], str] | None = None) -> float | None:
    """Return when the Slurm job ends [s since the epoch]; None if there is no job, no limit or no answer.

    Parameters
    ----------
    environ
        The environment: ``SLURM_JOB_END_TIME`` (Slurm 23.02 and newer) says it, else ``SLURM_JOB_ID`` says whom to ask for.
    ask
        Returns the end time of a job as `squeue` prints it, in UTC; for tests.
    """
    known = stated_end(environ)
    if known is not None and known > time.time():
        return known
    if known is not None:
        log.warning("%s=%.0f is in the past, of a job that is over: it is not believed; unset it", _VARIABLE, known)
    job = environ.get("SLURM_JOB_ID", "")
    if not job.isdecimal():
        return None
    try:
        end = ask_end(job, ask or ask_squeue)
    except AskError as error:
        if known is None:
            lack = "nothing stops in time for it but --timeout or a signal"
            log.warning("the end of job %s is not known (%s): %s", job, error, lack)
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


def plan_question(environ: Mapping[str, str]) -> Callable[[], float] | None:
    """Return how to ask again when the Slurm job ends, as `ask_end` says it; None if there is no job."""
    job = environ.get("SLURM_JOB_ID", "")
    return functools.partial(ask_end, job) if job.isdecimal() else None


def ask_end(job: str, ask: Callable[[str], str] | None = None) -> float:
    """Return when a job, or the first of its parts, ends by `squeue` [s since the epoch]; infinite if it has no limit.

    Raises
    ------
    AskError
        If there is no answer, or one that is not understood.
    """
    said = (ask or ask_squeue)(job).split()
    if said and all(word.upper() in _NEVER for word in said):
        return math.inf
    ends = [end for end in map(parse_end, said) if end is not None]
    if not ends:
        raise AskError(f"squeue: {' '.join(said)[:80] or 'no answer'}")
    return min(ends)


def parse_end(text: str) -> float | None:
    """Return the end of a job from what `squeue` prints: UTC, as it is asked, or a word where there is no limit."""
    import calendar

    try:
        return float(calendar.timegm(time.strptime(text.strip(), "%Y-%m-%dT%H:%M:%S")))
    except ValueError:
        return None


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which Slurm's commands print what is asked for, whatever the user has set for himself."""
    hidden = ("SQUEUE_", "SLURM_TIME_FORMAT", "SLURM_BITSTR_LEN", "LC_", "LANG", "TZ")
    return {name: value for name, value in environ.items() if not name.startswith(hidden)} | {"TZ": "UTC", "LC_ALL": "C"}


def ask_squeue(job: str, run: Ask = ask_program) -> str:
    """Return what `squeue` says of the end of a job, in UTC.

    Raises
    ------
    AskError
        If it says nothing.
    """
    return run("squeue", "--noheader", f"--jobs={job}", "--format=%e", environ=clean_environment(os.environ))
