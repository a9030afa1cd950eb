"""Memory of nodes and control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cgroups import pretend

from taskfarmer_mpi.machine.memory import Memory, available_memory, find_memory

MIB = 1 << 20
NODE = "MemTotal:        1048576 kB\nMemFree:  1 kB\nMemAvailable:     524288 kB\n"


def _meminfo(proc: Path) -> Path:
    (proc.parent / "meminfo").write_text(NODE)
    return proc


def test_a_node_without_limits_has_its_memory(tmp_path: Path) -> None:
    proc = _meminfo(pretend(tmp_path, "0::/a\n", {"/ cgroup": "cgroup2 rw"}, {"cgroup/a/memory.max": "max"}))
    assert find_memory(proc) == Memory(1024 * MIB)
    assert available_memory(proc) == 512 * MIB


@pytest.mark.parametrize(
    ("version", "limit", "usage", "pages"),
    [
        ("cgroup2 rw", "memory.max", "memory.current", "inactive_file"),
        ("cgroup rw,memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_the_tightest_control_group_counts_without_pages_of_files(
    version: str, limit: str, usage: str, pages: str, tmp_path: Path
) -> None:
    files: dict[str, str | int] = {
        f"cgroup/a/{limit}": 256 * MIB,
        f"cgroup/a/{usage}": 200 * MIB,
        "cgroup/a/memory.stat": f"anon 5\n{pages} {40 * MIB}",
        f"cgroup/a/b/{limit}": "max" if "2" in version else 9223372036854771712,
        f"cgroup/a/b/{usage}": 100 * MIB,
    }
    groups = "0::/a/b\n" if "2" in version else "4:memory:/a/b\n"
    proc = _meminfo(pretend(tmp_path, groups, {"/ cgroup": version}, files))
    assert find_memory(proc) == Memory(1024 * MIB, 256 * MIB, str(tmp_path / "cgroup" / "a"))
    assert available_memory(proc) == 96 * MIB


def test_what_is_not_known_is_no_limit(tmp_path: Path) -> None:
    proc = pretend(tmp_path, "", {}, {})
    assert find_memory(proc) == Memory(0)
    assert available_memory(proc) is None


def test_this_node_has_some() -> None:
    found, available = find_memory(), available_memory()
    assert found.node == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert available is not None
    assert 0 < available < found.node
