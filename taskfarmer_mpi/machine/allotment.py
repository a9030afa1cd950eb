"""How many CPUs a batch system gave to a job on this node, by the variables that it sets.

Slurm's are in `cpus`. PBS sets NCPUS to what OMP_NUM_THREADS is, which says nothing of a node; Flux binds each process to
its CPUs.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from itertools import pairwise


def cpus_by_scheduler(environ: Mapping[str, str], host: str | None = None) -> float:
    """Return how many CPUs the job has on this node; infinite if nobody says so.

    Parameters
    ----------
    environ
        The environment.
    host
        The name of this node (default: what the kernel says).
    """
    host = os.uname().nodename if host is None else host
    if "LSB_JOBID" in environ:
        return _sum_of(host, _lsf_hosts(environ.get("LSB_MCPU_HOSTS", "")))
    if "PBS_JOBID" in environ:
        return _number(environ.get("PBS_NUM_PPN", ""))  # Torque's
    if "SGE_JOB_SPOOL_DIR" in environ:
        if environ.get("NHOSTS", "1") == "1":
            return _number(environ.get("NSLOTS", ""))
        return _sum_of(host, _grid_engine_hosts(environ.get("PE_HOSTFILE", "")))
    return math.inf


def _number(text: str) -> float:
    return int(text) if text.isdecimal() and int(text) else math.inf


def _sum_of(host: str, given: Iterator[tuple[str, str]]) -> float:
    own = host.partition(".")[0]
    counts = [int(count) for name, count in given if name.partition(".")[0] == own and count.isdecimal()]
    return sum(counts) or math.inf


def _lsf_hosts(text: str) -> Iterator[tuple[str, str]]:
    """Yield hosts and their slots: ``hostA 4 hostB 2``."""
    yield from list(pairwise(text.split()))[::2]


def _grid_engine_hosts(path: str) -> Iterator[tuple[str, str]]:
    """Yield hosts and their slots: lines of host, slots, queue and processors."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(1 << 20).splitlines()
    except OSError:
        return
    yield from ((words[0], words[1]) for line in lines if len(words := line.split()) > 1)
