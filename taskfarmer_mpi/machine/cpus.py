"""How many CPUs a rank may use: those that it may run on, a quota of its control groups, and what the scheduler gave it."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.machine.cgroups import OWN, cpu_quota

_OTHER_SCHEDULERS = ("LSB_JOBID", "PBS_JOBID", "SGE_JOB_SPOOL_DIR")
_COUNTS = re.compile(r"(\d+)(?:\(x\d+\))?")


class Cpus(Value):
    """What one rank may use."""

    own: frozenset[int]
    """The CPUs that it may run on."""
    rank: float = math.inf
    """How many it alone may use by the word of the scheduler."""
    node: float = math.inf
    """How many all ranks of its node may use together, by a quota and by the word of the scheduler; it may be a fraction."""
    job: int = 0
    """How many the job has on this node, as far as is known; 0 if it is not."""

    @property
    def given(self) -> float:
        """How many this rank may use if it is alone on its node."""
        return min(len(self.own), self.rank, self.node)

    @property
    def is_narrow(self) -> bool:
        """Whether that is one although the job has more."""
        return self.given <= 1 < self.job


def find_cpus(environ: Mapping[str, str], *, is_step: bool, is_launched: bool, proc: Path = OWN) -> Cpus:
    """Return what this process may use.

    Parameters
    ----------
    environ
        The environment.
    is_step
        Whether `srun` started this process: then Slurm's variables are about it.
    is_launched
        Whether an MPI launcher did: then the job has the CPUs that its parent may use, if Slurm says nothing.
    proc
        What the kernel says of this process.
    """
    own = frozenset(os.sched_getaffinity(0))
    quota = cpu_quota(proc)
    is_batch = "SLURM_JOB_ID" in environ and not is_launched
    step = _number(environ, "SLURM_CPUS_ON_NODE") if is_step or is_batch else math.inf
    rank = _number(environ, "SLURM_CPUS_PER_TASK") if is_step else math.inf
    if "SLURM_JOB_ID" not in environ and not environ.keys().isdisjoint(_OTHER_SCHEDULERS):
        from taskfarmer_mpi.machine.allotment import cpus_by_scheduler

        step = cpus_by_scheduler(environ)
    return Cpus(own, rank, min(quota, step), int(min(_cpus_of_job(environ, is_launched=is_launched), quota)))


def _number(environ: Mapping[str, str], name: str) -> float:
    text = environ.get(name, "")
    return int(text) if text.isdecimal() and int(text) else math.inf


def _cpus_of_job(environ: Mapping[str, str], *, is_launched: bool) -> int:
    """Return how many CPUs the job has on each of its nodes at least; 0 if nobody says so."""
    counts = [int(match[1]) for match in _COUNTS.finditer(environ.get("SLURM_JOB_CPUS_PER_NODE", ""))]
    if counts or not is_launched:
        return min(counts, default=0)
    with suppress(OSError):
        return len(os.sched_getaffinity(os.getppid()))
    return 0


def share_out(ranks: Mapping[int, tuple[str, Cpus]], percent: int = 100) -> dict[int, int]:
    """Return how many slots each rank has for its share of the CPUs; at least one.

    Parameters
    ----------
    ranks
        The node of each rank, and what it may use there.
    percent
        For which part of that it has slots [%].
    """
    on_node = Counter(host for host, _ in ranks.values())
    on_cpus = Counter((host, cpus.own) for host, cpus in ranks.values())
    shares = {}
    for rank, (host, cpus) in ranks.items():
        share = min(len(cpus.own) // on_cpus[host, cpus.own], cpus.rank, cpus.node // on_node[host])
        shares[rank] = max(1, int(share * percent / 100))
    return shares


def cpus_of_nodes(ranks: Mapping[int, tuple[str, Cpus]]) -> dict[str, int]:
    """Return how many CPUs the ranks of each node may use together."""
    found = {}
    for node in dict.fromkeys(host for host, _ in ranks.values()):
        there = [cpus for host, cpus in ranks.values() if host == node]
        limit = min(cpus.node for cpus in there)
        found[node] = max(1, int(min(len(frozenset().union(*(cpus.own for cpus in there))), limit)))
    return found


def narrow_nodes(ranks: Mapping[int, tuple[str, Cpus]]) -> dict[str, int]:
    """Return the nodes whose only rank may use one CPU although the job has more there, and how many."""
    on_node = Counter(host for host, _ in ranks.values())
    return {host: cpus.job for host, cpus in ranks.values() if on_node[host] == 1 and cpus.is_narrow}
