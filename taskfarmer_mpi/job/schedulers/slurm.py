"""What a farm asks of Slurm: when the job ends, and to take nodes back."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from taskfarmer_mpi.common.programs import Ask, AskError, ask
from taskfarmer_mpi.job.schedulers.plain import plain_environment

_SETTINGS = ("SQUEUE_", "SLURM_TIME_FORMAT", "SLURM_BITSTR_LEN")
"""What users set for themselves that changes what is printed."""
_NEVER = ("N/A", "NONE", "UNKNOWN", "UNLIMITED")
_OWN_STEPS = frozenset(["batch", "extern", "interactive"])
"""Steps that any job may have, which need no node but the first."""


def job_of(environ: Mapping[str, str]) -> str:
    """Return what Slurm's commands call the job of a process, of an array one element; nothing if it is in none.

    One element has the number of the whole array, by which commands would take all elements.
    """
    number = environ.get("SLURM_JOB_ID", "")
    array, element = environ.get("SLURM_ARRAY_JOB_ID", ""), environ.get("SLURM_ARRAY_TASK_ID", "")
    if number.isdecimal() and array.isdecimal() and element.isdecimal():
        return f"{array}_{element}"
    return number if number.isdecimal() else ""


def give_nodes_back(job: str, step: str, nodes: set[str], run: Ask = ask) -> list[str]:
    """Take nodes out of a running job, where nothing of it runs any more; return those that were taken out.

    The first node stays: the batch script runs there.

    Parameters
    ----------
    job, step
        The IDs of the job and of the step that used the nodes.
    nodes
        Names of the nodes.
    run
        Runs a command of Slurm and returns what it prints.

    Raises
    ------
    AskError
        If Slurm does not do it or does not know this step, or the job has other steps, which may run on these nodes.
    """
    steps = run("squeue", "--noheader", "--steps", f"--jobs={job}", "--format=%i").split()
    numbers = {name.rpartition(".")[2]: name for name in steps}
    if step not in numbers:
        raise AskError(f"squeue does not show step {step} of job {job}")
    others = [name for number, name in numbers.items() if number not in {step, *_OWN_STEPS}]
    if others:
        raise AskError(f"the job has other steps, which may use these nodes: {' '.join(others)}")
    listed = run("squeue", "--noheader", f"--jobs={job}", "--format=%N").strip()
    present = run("scontrol", "show", "hostnames", listed).split()
    kept = [node for number, node in enumerate(present) if number == 0 or node not in nodes]
    if len(kept) == len(present):
        return []
    run("scontrol", "update", f"JobId={job}", f"NodeList={','.join(kept)}")
    return [node for node in present if node not in kept]


def ask_end(job: str, run: Ask = ask) -> float:
    """Return when a job, or the first of its parts, ends by `squeue` [s since the epoch]; infinite if it has no limit.

    Raises
    ------
    AskError
        If there is no answer, or one that is not understood.
    """
    said = run("squeue", "--noheader", f"--jobs={job}", "--format=%e", environ=plain_environment(*_SETTINGS)).split()
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
