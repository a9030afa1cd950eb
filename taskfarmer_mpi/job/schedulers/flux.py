"""When a job of Flux ends, by `flux job timeleft`: whole seconds, of the job or of the instance that runs as one."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from taskfarmer_mpi.common.programs import Ask, AskError, ask
from taskfarmer_mpi.job.schedulers.plain import plain_environment

_NEVER = 2**32 - 1
"""What it prints where there is no limit: UINT_MAX."""


def job_of(environ: Mapping[str, str]) -> str:
    """Return the job of a process; `batch` for a batch script, for which Flux names none, and nothing outside of jobs."""
    return environ.get("FLUX_JOB_ID", "") or ("batch" if environ.get("FLUX_URI") else "")


def ask_end(_: str, run: Ask = ask) -> float:
    """Return when the job of this process ends [s since the epoch]; infinite if it has no limit.

    Raises
    ------
    AskError
        If there is no answer, or one that is not understood.
    """
    said = run("flux", "job", "timeleft", environ=plain_environment()).strip()
    if not said.isdecimal():
        raise AskError(f"flux job timeleft: {said[:80] or 'no answer'}")
    return math.inf if int(said) >= _NEVER else time.time() + int(said)
