"""When a job of LSF ends, by `bjobs -o`.

``time_left`` is ``hours:minutes L`` where the job has a run limit (other letters are about an estimate, see ``bjobs -WL``),
``run_time`` is ``7 second(s)``, without what the job was suspended, and ``runtimelimit`` is in minutes (``3.0/hostA``), both
as ``hours:minutes:seconds`` where the site wants that (``LSB_HMS_TIME_FORMAT``); ``-`` is none.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping

from taskfarmer_mpi.common.programs import Ask, AskError, ask
from taskfarmer_mpi.job.schedulers.plain import parse_duration, plain_environment

_FIELDS = "time_left run_time runtimelimit delimiter='|'"
RESOLUTION = 150.0
"""By how much answers differ although nothing has changed [s]."""


def job_of(environ: Mapping[str, str]) -> str:
    """Return what `bjobs` calls the job of a process, of an array one element; nothing if it is in none."""
    number, index = environ.get("LSB_JOBID", ""), environ.get("LSB_JOBINDEX", "")
    if not number.isdecimal():
        return ""
    return f"{number}[{index}]" if index.isdecimal() and int(index) else number


def ask_end(job: str, run: Ask = ask) -> float:
    """Return when a job ends [s since the epoch]; infinite if it has no limit.

    Raises
    ------
    AskError
        If there is no answer, or one that is not understood.
    """
    said = run("bjobs", "-noheader", "-o", _FIELDS, job, environ=plain_environment()).strip()
    now = time.time()
    words = [word.strip() for word in said.split("|")]
    if len(words) != 3:
        raise AskError(f"bjobs: {said[:80] or 'no answer'}")
    left, used, limit = _parse_left(words[0]), _parse_run_time(words[1]), _parse_limit(words[2])
    if left is not None:
        return now + left
    if limit == math.inf:
        return math.inf
    if used is None or limit is None:
        raise AskError(f"bjobs: {said[:80]}")
    return now + limit - used


def _parse_left(text: str) -> float | None:
    """Return how long the job may still run [s]: whole minutes are taken for what they are at least."""
    match = re.fullmatch(r"(\d+):(\d+)(?::(\d+))? L", text)
    return int(match[1]) * 3600.0 + int(match[2]) * 60 + int(match[3] or 0) if match else None


def _parse_run_time(text: str) -> float | None:
    return parse_duration(text.removesuffix("second(s)").strip())


def _parse_limit(text: str) -> float | None:
    """Return a limit [s], which is normalised to another host where there is a name behind it: then it is not known."""
    if text in ("-", ""):
        return math.inf
    if ":" in text:
        return parse_duration(text)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?: min)?", text)
    return float(match[1]) * 60 if match else None
