"""How much memory this node, or this process's control groups, have, and how much of it is available.

The node's is in `/proc/meminfo` (proc_meminfo(5)); control groups are those of version 1 and 2. What the kernel can take
back from them at once, pages of files, counts as available.
"""

from __future__ import annotations

import re
from pathlib import Path

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.machine.cgroups import OWN, group_folders

_LINE = re.compile(r"^(\w+):\s+(\d+) kB$", re.MULTILINE)
_LIMITS = ("memory.max", "memory.limit_in_bytes")
_USAGES = ("memory.current", "memory.usage_in_bytes")
_RECLAIMABLE = re.compile(r"^(?:total_)?inactive_file (\d+)$", re.MULTILINE)


class Memory(Value):
    """What a process and its neighbours may use."""

    node: int
    """What the node has [bytes]; 0 if it is not known."""
    limit: int = 0
    """What the tightest of its control groups may use [bytes]; 0 if none has a limit below the node's."""
    group: str = ""
    """That control group: processes in it share the limit."""


def find_memory(proc: Path = OWN) -> Memory:
    """Return how much memory there is.

    Parameters
    ----------
    proc
        What the kernel says of this process.
    """
    node = _meminfo(proc).get("MemTotal", 0)
    limits = [(limit, str(folder)) for folder in group_folders("memory", proc) if (limit := _read(folder, _LIMITS))]
    limit, group = min(limits, default=(0, ""))
    return Memory(node, limit, group) if limit and (not node or limit < node) else Memory(node)


def available_memory(proc: Path = OWN) -> int | None:
    """Return how much memory can be had now, by the node and by all control groups [bytes]; None if that is not known."""
    found = [_meminfo(proc).get("MemAvailable")]
    found += [_left(folder) for folder in group_folders("memory", proc)]
    return min((left for left in found if left is not None), default=None)


def _meminfo(proc: Path) -> dict[str, int]:
    """Return what `/proc/meminfo` says [bytes]."""
    try:
        return {name: 1024 * int(size) for name, size in _LINE.findall((proc.parent / "meminfo").read_text())}
    except OSError:
        return {}


def _left(folder: Path) -> int | None:
    """Return what a control group may use more than it does [bytes]; None if it has no limit."""
    limit, usage = _read(folder, _LIMITS), _read(folder, _USAGES)
    if not limit:
        return None
    try:
        match = _RECLAIMABLE.findall((folder / "memory.stat").read_text())
    except OSError:
        match = []
    return max(limit - usage + max(map(int, match), default=0), 0)


def _read(folder: Path, names: tuple[str, ...]) -> int:
    """Return the number in the first of some files that is there [bytes]; 0 if it has none."""
    for name in names:
        try:
            text = (folder / name).read_text().strip()
        except OSError:
            continue
        return int(text) if text.isdecimal() else 0
    return 0
