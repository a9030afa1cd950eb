"""When the batch job ends, by the scheduler's word."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from taskfarmer_mpi.common.programs import AskError
from taskfarmer_mpi.common.programs import ask as ask_program


def job_end(environ: Mapping[str, str], ask: Callable[[str], str] | None = None) -> float | None:
    """Return when the Slurm job ends [s since the epoch]; None if there is no job, no limit or no answer.

    Parameters
    ----------
    environ
        The environment: ``SLURM_JOB_END_TIME`` (Slurm 23.02 and newer) says it, else ``SLURM_JOB_ID`` says whom to ask for.
    ask
        Returns the end time of a job as `squeue` prints it; for tests.
    """
    known = environ.get("SLURM_JOB_END_TIME", "")
    if known.isdecimal():
        return float(known)
    job = environ.get("SLURM_JOB_ID", "")
    if not job.isdecimal():
        return None
    return parse_end((ask or _ask_squeue)(job))


def parse_end(text: str) -> float | None:
    """Return the end of a job from what `squeue` prints: local time, or a word where there is no limit."""
    try:
        return time.mktime(time.strptime(text.strip(), "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return None


def _ask_squeue(job: str) -> str:
    try:
        return ask_program("squeue", "--noheader", f"--jobs={job}", "--format=%e")
    except AskError:
        return ""
