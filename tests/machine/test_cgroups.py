"""What control groups say of CPU time and of lack of memory."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from cgroups import pretend, real_group

from taskfarmer_mpi.machine.cgroups import cpu_quota, group_folders, oom_counter, read_oom_kills

V2 = {"/ sys/fs/cgroup": "cgroup2 rw,nsdelegate"}
V1 = {
    "/ sys/fs/cgroup/cpu,cpuacct": "cgroup rw,cpu,cpuacct",
    "/ sys/fs/cgroup/memory": "cgroup rw,memory",
    "/ sys/fs/cgroup/unified": "cgroup2 rw",
}
HYBRID = "4:memory:/job_7\n1:cpu,cpuacct:/job_7/step_0\n0::/unified\n"


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "quota"),
    [
        ("0::/\n", V2, {}, math.inf),
        ("0::/a\n", V2, {"sys/fs/cgroup/a/cpu.max": "max 100000"}, math.inf),
        ("0::/a\n", V2, {"sys/fs/cgroup/a/cpu.max": "150000 100000"}, 1.5),
        (
            "0::/a/b/c\n",
            V2,
            {"sys/fs/cgroup/a/b/c/cpu.max": "max 100000", "sys/fs/cgroup/a/cpu.max": "800000 200000"},
            4.0,
        ),
        (
            "0::/a/b\n",
            V2,
            {"sys/fs/cgroup/a/b/cpu.max": "600000 100000", "sys/fs/cgroup/a/cpu.max": "200000 100000"},
            2.0,
        ),
        ("0::/a b\n", {"/ sys/fs/c groups": "cgroup2 rw"}, {"sys/fs/c groups/a b/cpu.max": "300000 100000"}, 3.0),
        # In a container: its own tree is mounted, and what is above it cannot be seen.
        ("0::/\n", {"/ sys/fs/cgroup": "cgroup2 rw"}, {"sys/fs/cgroup/cpu.max": "50000 100000"}, 0.5),
        ("0::/../..\n", {"/.. sys/fs/cgroup": "cgroup2 rw"}, {"sys/fs/cgroup/cpu.max": "50000 100000"}, 0.5),
        (
            "2:cpu:/docker/x/sub\n",
            {"/docker/x sys/fs/cgroup/cpu": "cgroup rw,cpu"},
            {
                "sys/fs/cgroup/cpu/sub/cpu.cfs_quota_us": -1,
                "sys/fs/cgroup/cpu/sub/cpu.cfs_period_us": 100000,
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": 250000,
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": 50000,
            },
            5.0,
        ),
        (
            HYBRID,
            V1,
            {
                "sys/fs/cgroup/cpu,cpuacct/job_7/cpu.cfs_quota_us": 400000,
                "sys/fs/cgroup/cpu,cpuacct/job_7/cpu.cfs_period_us": 100000,
                "sys/fs/cgroup/unified/unified/cpu.max": "100000 100000",
            },
            4.0,
        ),
        ("0::/a\n", V2, {"sys/fs/cgroup/a/cpu.max": "0 0"}, math.inf),
        ("0::/a\n", V2, {"sys/fs/cgroup/a/cpu.max": "what"}, math.inf),
        ("nonsense\n", V2, {}, math.inf),
        ("0::/a\n", {}, {}, math.inf),
    ],
)
def test_the_smallest_quota_on_the_way_up_counts(
    groups: str, mounts: Mapping[str, str], files: Mapping[str, str | int], quota: float, tmp_path: Path
) -> None:
    assert cpu_quota(pretend(tmp_path, groups, mounts, files)) == quota


def test_groups_end_at_the_mount(tmp_path: Path) -> None:
    proc = pretend(tmp_path, "0::/a/b\n", V2, {"sys/fs/cgroup/a/b/x": 1, "sys/fs/cpu.max": "1 1"})
    top = tmp_path / "sys/fs/cgroup"
    assert group_folders("cpu", proc) == [top / "a" / "b", top / "a", top]


def test_without_proc_nothing_is_limited(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) == math.inf
    assert oom_counter(tmp_path) is None


EVENTS = "low 0\nhigh 0\nmax 17\noom 3\noom_kill {}\noom_group_kill 0"


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "counter"),
    [
        ("0::/a\n", V2, {"sys/fs/cgroup/a/memory.events": EVENTS.format(5)}, "sys/fs/cgroup/a/memory.events"),
        ("0::/a/b\n", V2, {"sys/fs/cgroup/a/memory.events": EVENTS.format(5)}, "sys/fs/cgroup/a/memory.events"),
        (
            HYBRID,
            V1,
            {"sys/fs/cgroup/memory/job_7/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 5"},
            "sys/fs/cgroup/memory/job_7/memory.oom_control",
        ),
        ("0::/a\n", V2, {"proc/vmstat": "nr_free_pages 7\noom_kill 5\npgfault 1"}, "proc/vmstat"),
        (HYBRID, V1, {"sys/fs/cgroup/memory/job_7/memory.oom_control": "under_oom 0"}, None),
    ],
)
def test_kills_for_lack_of_memory_are_counted_by_the_nearest_group_that_does(
    groups: str, mounts: Mapping[str, str], files: Mapping[str, str | int], counter: str | None, tmp_path: Path
) -> None:
    found = oom_counter(pretend(tmp_path, groups, mounts, files))
    assert found == (None if counter is None else tmp_path / counter)
    assert found is None or read_oom_kills(found) == 5


def test_the_quota_of_a_real_group_is_found() -> None:
    limits = {"cpu.max": "150000 100000", "cpu.cfs_quota_us": "150000"}
    code = "from taskfarmer_mpi.machine.cgroups import cpu_quota; print(cpu_quota())"
    with real_group("cpu", limits) as group:
        words = ["bash", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "bash", sys.executable, "-c", code]
        said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout == "1.5\n"
