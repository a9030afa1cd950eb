"""Deals GPUs to the slots of ranks: each slot its own ones, or a part of one where a user asked for that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from taskfarmer_mpi.machine.devices import Device
from taskfarmer_mpi.resources.sharing import groups

Holders = Mapping[int, Sequence[Device]]
"""The GPUs that each rank of a node may use."""


def most_slots(holders: Holders, per_task: float) -> dict[int, int]:
    """Return how many slots each rank can have, if those that share GPUs have equally many."""
    found: dict[int, int] = {}
    for group in groups(_identities(holders)):
        ours = {device.identity for rank in group for device in holders[rank]}
        found |= {rank: _places(len(ours), per_task) // len(group) for rank in group}
    return found


def deal_gpus(holders: Holders, slots: Mapping[int, int], per_task: float) -> dict[int, list[tuple[str, ...]]] | None:
    """Return the GPUs of each slot of each rank, by the names of that rank; None if there are not enough.

    Parameters
    ----------
    holders
        The GPUs that each rank may use.
    slots
        How many slots each rank has.
    per_task
        How many a task gets: a part of one, or some; 0 to share them out evenly.
    """
    dealt: dict[int, list[tuple[str, ...]]] = {}
    for group in groups(_identities(holders)):
        ours = {device.identity for rank in group for device in holders[rank]}
        count = per_task or max(1, len(ours) // sum(slots[rank] for rank in group))
        places = dict.fromkeys(ours, tasks_per_gpu(count))
        for rank in sorted(group, key=lambda rank: (len(holders[rank]), rank)):
            dealt[rank] = []
            for _ in range(slots[rank]):
                chosen = _choose(holders[rank], places, max(1, int(count)))
                if chosen is None:
                    return None
                dealt[rank].append(chosen)
    return dealt


def tasks_per_gpu(per_task: float) -> int:
    """Return how many tasks share one GPU."""
    return int(1 / per_task + 1e-9) if 0 < per_task < 1 else 1


def _places(count: int, per_task: float) -> int:
    return count * tasks_per_gpu(per_task) // max(1, int(per_task))


def _identities(holders: Holders) -> dict[int, frozenset[str]]:
    return {rank: frozenset(device.identity for device in devices) for rank, devices in holders.items()}


def _choose(devices: Sequence[Device], places: dict[str, int], count: int) -> tuple[str, ...] | None:
    """Take the GPUs with the most room, in their order; None if there are not enough with any."""
    free = sorted((device for device in devices if places[device.identity]), key=lambda one: -places[one.identity])
    chosen = free[:count]
    for device in chosen:
        places[device.identity] -= 1
    return tuple(device.name for device in devices if device in chosen) if len(chosen) == count else None
