"""How many slots `--proc auto` gives, and whom a warning tells that he has one CPU of many."""

from __future__ import annotations

import math
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from cgroups import pretend, real_group
from helpers import MPIEXEC, Site

from taskfarmer_mpi.machine.cpus import Cpus, cpus_of_nodes, find_cpus, narrow_nodes, share_out

ALL = frozenset(os.sched_getaffinity(0))
STEP = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_JOB_CPUS_PER_NODE": "32(x4),16", "SLURM_CPUS_ON_NODE": "8"}


def _cpus(count: int, **more: float) -> Cpus:
    return Cpus(frozenset(range(count)), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ranks", "shares", "on_nodes"),
    [
        ({0: ("a", _cpus(8))}, [8], {"a": 8}),
        ({0: ("a", _cpus(8, node=2.5))}, [2], {"a": 2}),
        ({0: ("a", _cpus(8, node=0.5))}, [1], {"a": 1}),
        ({0: ("a", _cpus(8, rank=3))}, [3], {"a": 8}),
        ({0: ("a", _cpus(2, rank=4, node=8))}, [2], {"a": 2}),
        ({0: ("a", _cpus(8)), 1: ("a", _cpus(8)), 2: ("b", _cpus(8))}, [4, 4, 8], {"a": 8, "b": 8}),
        ({0: ("a", _cpus(8, node=4)), 1: ("a", _cpus(8, node=4))}, [2, 2], {"a": 4}),
        ({0: ("a", Cpus(frozenset({0, 1}))), 1: ("a", Cpus(frozenset({2, 3})))}, [2, 2], {"a": 4}),
        ({0: ("a", Cpus(frozenset({0, 1}), node=2)), 1: ("a", Cpus(frozenset({2, 3}), node=2))}, [1, 1], {"a": 2}),
        ({0: ("a", _cpus(1)), 1: ("a", _cpus(1)), 2: ("a", _cpus(1))}, [1, 1, 1], {"a": 1}),
    ],
)
def test_ranks_share_what_their_node_may_use(
    ranks: dict[int, tuple[str, Cpus]], shares: list[int], on_nodes: dict[str, int]
) -> None:
    assert list(share_out(ranks).values()) == shares
    assert cpus_of_nodes(ranks) == on_nodes


@pytest.mark.parametrize(
    ("environ", "is_step", "rank", "node"),
    [
        ({}, False, math.inf, math.inf),
        (STEP, True, math.inf, 8),
        ({**STEP, "SLURM_CPUS_PER_TASK": "2"}, True, 2, 8),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "4", "SLURM_CPUS_PER_TASK": "2"}, False, math.inf, 4),
        ({"SLURM_CPUS_ON_NODE": "4"}, False, math.inf, math.inf),
        ({**STEP, "SLURM_CPUS_ON_NODE": "many", "SLURM_CPUS_PER_TASK": "0"}, True, math.inf, math.inf),
    ],
)
def test_what_slurm_gave_counts(environ: Mapping[str, str], is_step: bool, rank: float, node: float, tmp_path: Path) -> None:
    found = find_cpus(environ, is_step=is_step, is_launched=is_step, proc=tmp_path)
    assert (found.own, found.rank, found.node) == (ALL, rank, node)


def test_under_mpiexec_in_a_job_the_variables_of_its_own_step_do_not_count(tmp_path: Path) -> None:
    environ = {**STEP, "SLURM_CPUS_ON_NODE": "1", "SLURM_CPUS_PER_TASK": "1"}
    found = find_cpus(environ, is_step=False, is_launched=True, proc=tmp_path)
    assert (found.rank, found.node, found.job) == (math.inf, math.inf, 16)


def test_a_quota_counts_beside_what_slurm_gave(tmp_path: Path) -> None:
    files = {"cgroup/a/cpu.max": "450000 100000"}
    proc = pretend(tmp_path, "0::/a\n", {"/ cgroup": "cgroup2 rw"}, files)
    found = find_cpus(STEP, is_step=True, is_launched=True, proc=proc)
    assert (found.node, found.job) == (4.5, 4)


@pytest.mark.parametrize(
    ("cpus", "is_told"),
    [
        (_cpus(1, job=32), True),
        (_cpus(8, rank=1, job=32), True),
        (_cpus(8, node=1, job=32), True),
        (_cpus(1, job=1), False),
        (_cpus(1), False),
        (_cpus(2, job=32), False),
    ],
)
def test_one_rank_with_one_cpu_of_many_is_told_of(cpus: Cpus, is_told: bool) -> None:
    assert narrow_nodes({0: ("a", cpus)}) == ({"a": 32} if is_told else {})
    assert narrow_nodes({0: ("a", cpus), 1: ("a", cpus)}) == {}


def _announced(site: Site, *command: str | Path) -> str:
    site.tasklist(["true"])
    farm = site.start(*command, sys.executable, "-m", "taskfarmer_mpi", "-n", "auto", "tasks")
    farm.succeed(60)
    return farm.stderr


@pytest.mark.skipif(len(ALL) < 2, reason="needs two CPUs")
def test_a_rank_that_its_launcher_bound_to_one_cpu_is_warned_of_once(site: Site) -> None:
    one = str(min(ALL))
    said = _announced(site, MPIEXEC, "-n", "1", shutil.which("taskset") or "taskset", "-c", one)
    assert said.count("may use 1 of the ") == 1
    assert re.search(r"may use 1 of the \d+ CPUs that the job has there: give it all \(srun --cpus-per-task=", said)
    assert "1 x 1 slots" in said


def test_a_farmer_that_the_user_bound_to_one_cpu_is_not_warned_of(site: Site) -> None:
    said = _announced(site, shutil.which("taskset") or "taskset", "-c", str(min(ALL)))
    assert "1 x 1 slots" in said
    assert "may use" not in said


@pytest.mark.skipif(len(ALL) < 2, reason="needs two CPUs")
@pytest.mark.parametrize(("quota", "slots"), [("100000", 1), ("150000", 1), ("200000", 2), ("9900000", len(ALL))])
def test_a_real_quota_counts(quota: str, slots: int, site: Site) -> None:
    with real_group("cpu", {"cpu.max": f"{quota} 100000", "cpu.cfs_quota_us": quota}) as group:
        said = _announced(site, "bash", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "bash")
    assert f"1 x {slots} slots" in said
