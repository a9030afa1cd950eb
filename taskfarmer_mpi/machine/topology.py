"""Which CPUs of this node are threads of one core, and which cores share a memory: what the kernel says in `/sys`.

The files are described in the kernel's Documentation/ABI/stable/sysfs-devices-system-cpu and -node.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from taskfarmer_mpi.common.values import Value

SYSTEM = Path("/sys/devices/system")


class Core(Value):
    """A core, as far as a process may use it."""

    cpus: frozenset[int]
    """Its CPUs: one, or its hyperthreads."""
    node: int = 0
    """The NUMA node that it belongs to."""


def find_cores(cpus: Iterable[int], system: Path = SYSTEM) -> tuple[Core, ...]:
    """Return the cores that some CPUs belong to, by NUMA node and number; where nobody says so, each CPU is one.

    Parameters
    ----------
    cpus
        Those that a process may use; no other ones are returned.
    system
        What the kernel says of the node.
    """
    left, nodes, cores = set(cpus), _nodes(system), []
    for cpu in sorted(left):
        if cpu in left:
            together = frozenset(left & (_siblings(system, cpu) | {cpu}))
            left -= together
            cores.append(Core(together, nodes.get(cpu, 0)))
    return tuple(sorted(cores, key=lambda core: (core.node, min(core.cpus))))


def _siblings(system: Path, cpu: int) -> set[int]:
    folder = system / "cpu" / f"cpu{cpu}" / "topology"
    return _read_list(folder / "core_cpus_list") or _read_list(folder / "thread_siblings_list")


def _nodes(system: Path) -> dict[int, int]:
    """Return the NUMA node of each CPU."""
    numbers = (folder.name.removeprefix("node") for folder in (system / "node").glob("node*"))
    return {cpu: int(number) for number in numbers if number.isdecimal() for cpu in _read_node(system, number)}


def _read_node(system: Path, number: str) -> set[int]:
    return _read_list(system / "node" / f"node{number}" / "cpulist")


def _read_list(path: Path) -> set[int]:
    """Return the numbers of a file like `0-3,8`; none if it is not there, or says something else."""
    found: set[int] = set()
    try:
        for part in path.read_text().strip().split(","):
            first, _, last = part.partition("-")
            found |= set(range(int(first), int(last or first) + 1))
    except (OSError, ValueError):
        return set()
    return found
