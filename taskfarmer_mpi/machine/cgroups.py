"""Limits of this process's control groups: CPU time, and whether the kernel killed something for lack of memory.

Control groups of version 1 and 2, also both at once and in containers (cgroups(7), proc_pid_mountinfo(5)).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

OWN = Path("/proc/self")
"""What the kernel says of this process."""
_OOM_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def group_folders(controller: str, proc: Path = OWN) -> list[Path]:
    """Return the folders of this process's group and of all groups above it that can be seen from here, the nearest first.

    Parameters
    ----------
    controller
        What limits or counts: ``cpu``, ``memory``.
    proc
        What the kernel says of the process.
    """
    try:
        groups = (proc / "cgroup").read_text(errors="surrogateescape").splitlines()
        mounts = (proc / "mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
    named = [group.split(":", 2) for group in groups if group.count(":") >= 2]
    old = [path for _, controllers, path in named if controller in controllers.split(",")]
    path = (old or [path for number, _, path in named if number == "0"] or [""])[0]
    for root, point in _mounts(mounts, "cgroup" if old else "cgroup2", controller if old else ""):
        inside = os.path.relpath(path, root) if path else ".."
        steps = [] if inside.startswith("..") else inside.split("/")  # what is above a container cannot be seen
        folder = Path(point, *steps)
        return [folder, *(above for above in folder.parents if above.is_relative_to(point))]
    return []


def _mounts(lines: list[str], kind: str, option: str) -> Iterator[tuple[str, str]]:
    """Yield root and place of the mounts of a kind of file system that have an option."""
    for line in lines:
        fields = line.split(" ")
        rest = fields[fields.index("-") + 1 :] if "-" in fields else []
        if len(rest) >= 3 and rest[0] == kind and (not option or option in rest[2].split(",")):
            root, point = (re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text) for text in fields[3:5])
            yield root, point


def cpu_quota(proc: Path = OWN) -> float:
    """Return how many CPUs' time this process's groups may use; infinite if that is not limited."""
    return min(map(_quota, group_folders("cpu", proc)), default=math.inf)


def _quota(folder: Path) -> float:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return int(quota) / int(period) if quota.isdecimal() and int(quota) and int(period) else math.inf
    except (OSError, ValueError):
        return math.inf


def oom_counter(proc: Path = OWN) -> Path | None:
    """Return the file that counts what was killed in this process's group for lack of memory, or else on this node."""
    for folder in group_folders("memory", proc):
        for name in ("memory.events", "memory.oom_control"):
            if read_oom_kills(folder / name) is not None:
                return folder / name
    vmstat = proc.parent / "vmstat"
    return vmstat if read_oom_kills(vmstat) is not None else None


def read_oom_kills(path: Path) -> int | None:
    """Return how many processes were killed for lack of memory by such a file; None if it does not say."""
    try:
        match = _OOM_KILLS.search(path.read_text())
    except OSError:
        return None
    return int(match[1]) if match else None
