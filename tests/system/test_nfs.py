"""Farms on a real NFS whose nodes have kernels of their own lose nothing and run nothing twice, whatever is lost or cut off.

The scenarios are those of scripts/nfs-scenario, with which many more are played. They wait for leases most of the time, so
several sets of machines play at once.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest
from campaign.nfs import BENCH, LEASE, MOUNT, ROOT, Nodes
from campaign.series import Play, Series
from conftest import skip_or_fail
from helpers import MPIEXEC

PROGRAMS = ("linux.uml", "rpc.nfsd", "mount.nfs", "rpcbind", "mkfs.ext4", "modprobe", "ip", "strace")
LANES = (
    (
        Play("cut-with-lock", call="fdatasync", nth=3, file="finished"),
        Play("cut-with-lock", call="write", nth=3, file="finished"),
        Play("cut-with-lock", call="flock", nth=24),
        Play("cut-with-lock", call="ftruncate", nth=4, file="toprocess", cut=0.4 * LEASE),
    ),
    (
        Play("cut-while-tasks-run"),
        Play("stale-names"),
        Play("ranks-on-two-nodes"),
        Play("restart-server"),
        Play("dry-beside-dead-node"),
    ),
    (
        Play("short-cut", "4.0"),
        Play("lose-node-with-lock", "4.0"),
        Play("cut-before-truncate", "4.0"),
        Play("kill-farmer", "3"),
        Play("lose-node", "3"),
    ),
)
"""What is played, each row on machines of its own."""
COUNTER = ROOT / "tests" / "campaign" / "remote_calls.py"
MOST_CALLS = 24
"""So many calls may a visit make to a server of NFSv4.2: 22 as a rule."""


@pytest.fixture(scope="module")
def programs() -> None:
    """Skip what cannot run here, or fail."""
    if os.environ.get("TEST_NFS") == "no":
        pytest.skip("TEST_NFS=no: this system has no user-mode-linux")
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    missing = [program for program in PROGRAMS if not shutil.which(program, path=path)]
    if os.geteuid() != 0 or missing:
        skip_or_fail(f"{BENCH.name} needs root, and {', '.join(missing) or 'nothing more'}")


@pytest.fixture(scope="module")
def series(programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Series]:  # noqa: ARG001
    """Play everything, beside the tests that wait for it."""
    series = Series(
        tmp_path_factory.mktemp("nfs"), LANES, Path(os.environ["TEST_KEEP"]) if "TEST_KEEP" in os.environ else None
    )
    yield series
    series.close()


def _is_played(play: Play) -> bool:
    """Whether this MPI can play it: only MPICH's mpiexec can be told how to reach the other node."""
    return (
        "ranks" not in play.scenario
        or "HYDRA" in subprocess.run([MPIEXEC, "--version"], capture_output=True, text=True).stdout
    )


@pytest.mark.parametrize("play", [play for lane in LANES for play in lane], ids=str)
def test_nothing_is_lost_and_nothing_runs_twice_on_nfs(play: Play, series: Series) -> None:
    if play not in series.results:
        pytest.skip("this mpiexec is not MPICH's")
    played = series.results[play].result(timeout=900)
    print(f"{played.seconds:.0f} s; cut off before: {', '.join(played.seen) or 'no call'}")
    assert played.faults == []


@pytest.mark.usefixtures("programs")
def test_a_visit_makes_few_calls_to_the_server() -> None:
    nodes = Nodes(nodes=1, lease=90)
    try:
        counted = nodes.run("node1", sys.executable, COUNTER, MOUNT, "visit", deadline=180)
    finally:
        nodes.stop()
    assert counted.returncode == 0, counted.stderr
    assert median(sum(visit.values()) for visit in json.loads(counted.stdout)) <= MOST_CALLS
