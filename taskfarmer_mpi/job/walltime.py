"""When the batch job ends, by the scheduler's word."""

from __future__ import annotations

import calendar
import logging
import os
import time
from collections.abc import Callable, Mapping

from taskfarmer_mpi.common.programs import AskError
from taskfarmer_mpi.common.programs import ask as ask_program

log = logging.getLogger(__name__)

_VARIABLE = "SLURM_JOB_END_TIME"


def job_end(environ: Mapping[str, str], ask: Callable[[str], str] | None = None) -> float | None:
    """Return when the Slurm job ends [s since the epoch]; None if there is no job, no limit or no answer.

    Parameters
    ----------
    environ
        The environment: ``SLURM_JOB_END_TIME`` (Slurm 23.02 and newer) says it, else ``SLURM_JOB_ID`` says whom to ask for.
    ask
        Returns the end time of a job as `squeue` prints it, in UTC; for tests.
    """
    known = environ.get(_VARIABLE, "")
    if known.isdecimal():
        if float(known) > time.time():
            return float(known)
        log.warning("%s=%s is in the past, of a job that is over: it is not believed; unset it", _VARIABLE, known)
    job = environ.get("SLURM_JOB_ID", "")
    if not job.isdecimal():
        return None
    end = parse_end((ask or _ask_squeue)(job))
    return end if end is not None and end > time.time() else None


def parse_end(text: str) -> float | None:
    """Return the end of a job from what `squeue` prints: UTC, as it is asked, or a word where there is no limit."""
    try:
        return float(calendar.timegm(time.strptime(text.strip(), "%Y-%m-%dT%H:%M:%S")))
    except ValueError:
        return None


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which Slurm's commands print what is asked for, whatever the user has set for himself."""
    hidden = ("SQUEUE_", "SLURM_TIME_FORMAT", "SLURM_BITSTR_LEN", "LC_", "LANG", "TZ")
    return {name: value for name, value in environ.items() if not name.startswith(hidden)} | {"TZ": "UTC", "LC_ALL": "C"}


def _ask_squeue(job: str) -> str:
    try:
        return ask_program("squeue", "--noheader", f"--jobs={job}", "--format=%e", environ=clean_environment(os.environ))
    except AskError:
        return ""
