"""When a job of PBS Pro, OpenPBS or Torque ends, by `qstat -f`.

It prints ``    name = value`` for each attribute of a job, and goes on in lines that begin with a tab (qstat(1B)). A running
job has ``Resource_List.walltime`` and began at ``stime`` (Torque: ``start_time``), in the form of ctime(3).
"""

from __future__ import annotations

import calendar
import math
import re
import time

from taskfarmer_mpi.common.programs import Ask, AskError, ask
from taskfarmer_mpi.job.schedulers.plain import parse_duration, plain_environment

JOB = re.compile(r"\d+(\[\d+\])?(\.[A-Za-z0-9._-]+)?")
"""What a job is called: its number, the index of an array, the server."""


def ask_end(job: str, run: Ask = ask) -> float:
    """Return when a job ends [s since the epoch]; infinite if it has no limit.

    A time in which it was suspended is not counted, so that end may be too early.

    Raises
    ------
    AskError
        If there is no answer, or one that is not understood.
    """
    attributes = parse_attributes(run("qstat", "-f", job, environ=plain_environment()))
    limit = attributes.get("Resource_List.walltime")
    begin = _parse_time(attributes.get("stime") or attributes.get("start_time") or "")
    if begin is None:
        raise AskError(f"qstat: job {job} has no time at which it started")
    if limit is None:
        return math.inf
    duration = parse_duration(limit)
    if duration is None:
        raise AskError(f"qstat: Resource_List.walltime = {limit[:40]}")
    return begin + duration


def parse_attributes(text: str) -> dict[str, str]:
    """Return the attributes of the first job that `qstat -f` shows."""
    found: dict[str, str] = {}
    for line in text.replace("\n\t", "").splitlines():
        name, is_attribute, value = line.partition(" = ")
        if is_attribute and line.startswith("    "):
            found.setdefault(name.strip(), value.strip())
    return found


def _parse_time(text: str) -> float | None:
    try:
        return float(calendar.timegm(time.strptime(text, "%a %b %d %H:%M:%S %Y")))
    except ValueError:
        return None
