"""Deals cores to the slots of ranks: whole ones, as many to each slot, of one NUMA node where that is possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from taskfarmer_mpi.machine.topology import Core
from taskfarmer_mpi.resources.sharing import groups

Holders = Mapping[int, Sequence[Core]]
"""The cores that each rank of a node may use."""


def most_slots(holders: Holders) -> dict[int, int]:
    """Return how many slots each rank can have with a core each, if those that share cores have equally many."""
    found: dict[int, int] = {}
    for group in groups(_cpus(holders)):
        cores = len({core.cpus for rank in group for core in holders[rank]})
        found |= {rank: min(cores // len(group), len(holders[rank])) for rank in group}
    return found


def deal_cores(holders: Holders, slots: Mapping[int, int]) -> dict[int, list[frozenset[int]]] | None:
    """Return the CPUs of each slot of each rank; None if there are not enough cores.

    Parameters
    ----------
    holders
        The cores that each rank may use.
    slots
        How many slots each rank has.
    """
    dealt: dict[int, list[frozenset[int]]] = {}
    for group in groups(_cpus(holders)):
        cores = {core.cpus for rank in group for core in holders[rank]}
        bound = min(len(cores) // sum(slots[rank] for rank in group), *(len(holders[rank]) // slots[rank] for rank in group))
        for width in range(bound, 0, -1):
            part = _deal_group({rank: holders[rank] for rank in group}, slots, width)
            if part is not None:
                dealt |= part
                break
        else:
            return None
    return dealt


def _cpus(holders: Holders) -> dict[int, frozenset[int]]:
    return {rank: frozenset().union(*(core.cpus for core in cores)) for rank, cores in holders.items()}


def _deal_group(holders: Holders, slots: Mapping[int, int], width: int) -> dict[int, list[frozenset[int]]] | None:
    """Deal to ranks that share cores, first to those with the least choice; None if that does not work with this width."""
    used: set[int] = set()
    dealt: dict[int, list[frozenset[int]]] = {}
    for rank in sorted(holders, key=lambda rank: (len(holders[rank]), rank)):
        dealt[rank] = []
        for _ in range(slots[rank]):
            free = [core for core in holders[rank] if used.isdisjoint(core.cpus)]
            if len(free) < width:
                return None
            chosen = _near_each_other(free, width)
            cpus = frozenset().union(*(core.cpus for core in chosen))
            used |= cpus
            dealt[rank].append(cpus)
    return dealt


def _near_each_other(free: list[Core], width: int) -> list[Core]:
    """Return some cores of one NUMA node, of the one with the most free ones; else the first ones of all."""
    nodes: dict[int, list[Core]] = {}
    for core in free:
        nodes.setdefault(core.node, []).append(core)
    roomiest = max(nodes.values(), key=len)
    return (roomiest if len(roomiest) >= width else free)[:width]
