"""Trees of control groups for the tests: files that stand in for them, and real ones where the machine allows it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from helpers import wait_for

SYSTEM = Path("/sys/fs/cgroup")


def pretend(folder: Path, groups: str, mounts: Mapping[str, str], files: Mapping[str, str | int]) -> Path:
    """Make files that look like a process's groups; return what stands for ``/proc/PID``.

    Parameters
    ----------
    folder
        Where.
    groups
        The content of ``/proc/PID/cgroup``.
    mounts
        Kind and options of a mounted tree (``cgroup2 rw``, ``cgroup rw,cpu``), by the root that is mounted, a blank, and the
        place in `folder`.
    files
        Their content, by their path in `folder`.
    """
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{content}\n")
    proc = folder / "proc" / "self"
    proc.mkdir(parents=True)
    (proc / "cgroup").write_text(groups)
    lines = ["22 1 0:21 / /proc rw,nosuid shared:12 - proc proc rw", "23 1 8:1 / / rw - ext4 /dev/sda1 rw"]
    for number, (place, kind) in enumerate(mounts.items()):
        root, _, point = place.partition(" ")
        where = str(folder / point).replace(" ", "\\040")
        name, _, options = kind.partition(" ")
        lines.append(f"{30 + number} 22 0:{30 + number} {root} {where} rw,relatime shared:9 - {name} {name} {options}")
    (proc / "mountinfo").write_text("".join(f"{line}\n" for line in lines))
    return proc


@contextmanager
def real_group(controller: str, limits: Mapping[str, str]) -> Iterator[Path]:
    """Make a real group of version 1 or 2 with limits, to whose `cgroup.procs` processes can write themselves.

    Parameters
    ----------
    controller
        ``cpu`` or ``memory``.
    limits
        What to write into which files; those of the version that is not there are left out.
    """
    old = SYSTEM / controller
    parent = old if (old / "cgroup.procs").exists() else SYSTEM
    group = parent / f"test-{uuid.uuid4().hex[:12]}"
    try:
        if parent == SYSTEM:
            (SYSTEM / "cgroup.subtree_control").write_text(f"+{controller}")
        group.mkdir()
        known = [name for name in limits if (group / name).exists()]
        for name in known:
            (group / name).write_text(limits[name])
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        pytest.skip(f"no control group can be made here: {error}")
    try:
        if not known:
            pytest.skip(f"{group} has no {', '.join(limits)}")
        yield group
    finally:
        wait_for(lambda: not (group / "cgroup.procs").read_text(), deadline=30, what="the end of all in the group")
        group.rmdir()
