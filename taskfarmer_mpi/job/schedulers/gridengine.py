"""When a job of Grid Engine ends, by `qstat -r -xml`: its start, and the hard limit that it asked for (``-l h_rt=``).

The elements are those of Grid Engine's qstat.xsd. A limit that only its queue has is not seen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from taskfarmer_mpi.common.programs import Ask, AskError, ask
from taskfarmer_mpi.job.schedulers.plain import parse_duration, plain_environment

_LIMIT = re.compile(r'<hard_request name="h_rt"[^>]*>([^<]*)<')


def job_of(environ: Mapping[str, str]) -> str:
    """Return the number of the job of a process, of an array with that of the task; nothing if it is in none."""
    number, task = environ.get("JOB_ID", ""), environ.get("SGE_TASK_ID", "")
    if not number.isdecimal() or "SGE_JOB_SPOOL_DIR" not in environ:
        return ""
    return f"{number}.{task}" if task.isdecimal() else number


def ask_end(job: str, run: Ask = ask) -> float:
    """Return when a job ends [s since the epoch]; infinite if it asked for no limit by that word.

    Raises
    ------
    AskError
        If there is no answer, or one that is not understood.
    """
    listed = run("qstat", "-s", "r", "-r", "-xml", environ=plain_environment())
    entry = _entry_of(job, listed)
    if entry is None:
        raise AskError(f"qstat: it does not show job {job} as running")
    limit, begin = _LIMIT.search(entry), _content(entry, "JAT_start_time")
    if limit is None:
        raise AskError(f"qstat: job {job} did not ask for h_rt, and what its queue allows is not shown")
    if limit[1].strip().upper() == "INFINITY":
        return math.inf
    duration, start = parse_duration(limit[1]), _parse_time(begin)
    if duration is None or start is None:
        raise AskError(f"qstat: job {job} started {begin[:40] or 'at no time'}, with h_rt={limit[1][:40]}")
    return start + duration


def _entry_of(job: str, listed: str) -> str | None:
    number, _, task = job.partition(".")
    for entry in listed.split("<job_list")[1:]:
        if _content(entry, "JB_job_number") == number and task in ("", _content(entry, "tasks")):
            return entry
    return None


def _content(entry: str, name: str) -> str:
    return entry.partition(f"<{name}>")[2].partition("<")[0].strip()


def _parse_time(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
