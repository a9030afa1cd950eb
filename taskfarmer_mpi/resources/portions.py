"""What each rank of a job gets of what its node has: how many slots, and what each of them has for itself."""

from __future__ import annotations

from collections.abc import Mapping

from taskfarmer_mpi.common.values import Value, replace
from taskfarmer_mpi.common.wording import count_of, say_memory
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.machine.devices import VARIABLES
from taskfarmer_mpi.policies.resources import Resources
from taskfarmer_mpi.policies.settings import GPU
from taskfarmer_mpi.resources import cores, gpus
from taskfarmer_mpi.resources.holdings import Holdings


class Seat(Value):
    """What one slot has for itself."""

    cpus: frozenset[int] = frozenset()
    """Its CPUs; none if it may run on all of its farmer's."""
    devices: tuple[str, ...] = ()
    """Its GPUs, as their variable names them."""


class Portion(Value):
    """What one rank has."""

    seats: tuple[Seat, ...]
    """One for each slot."""
    variable: str = ""
    """That by which programs find their GPUs; empty if these are not dealt."""
    memory: int = 0
    """What each task may use [bytes]; 0 if that does not matter."""
    room: int | None = None
    """What all of them may use together [bytes], where they have sizes; 0 if it is not known, None if nobody asked."""
    pool: tuple[str, ...] = ()
    """GPUs that are given to tasks by their sizes, and not to slots."""
    usual_gpus: int = 0
    """How many of them a task gets that has no size, in parts of which `policies.settings.GPU` are one."""

    def without_other_devices(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return an environment without variables for GPUs of other vendors, which Slurm may set, too."""
        others = set(VARIABLES) - {self.variable} if self.variable else set()
        return {name: value for name, value in environ.items() if name not in others}


def deal(
    wanted: Resources, holdings: Mapping[int, Holdings], slots: Mapping[int, int], *, is_auto: bool
) -> dict[int, Portion]:
    """Return the portion of each rank.

    Parameters
    ----------
    wanted
        What slots are to have.
    holdings
        What each rank may use.
    slots
        How many slots each rank is to have.
    is_auto
        Whether they can be fewer, as nobody asked for a number.

    Raises
    ------
    UserError
        If there is not enough for so many slots.
    """
    wished = {rank: _fit_memory(wanted, holdings, rank, slots[rank]) for rank in holdings}
    portions: dict[int, Portion] = {}
    for host in dict.fromkeys(one.host for one in holdings.values()):
        there = {rank: one for rank, one in holdings.items() if one.host == host}
        dealt = _deal_on(host, wanted, there, {rank: wished[rank] for rank in there}, is_auto=is_auto)
        pools = _deal_pools(host, there) if wanted.pools_devices else {}
        for rank, portion in dealt.items():
            share = _share_memory(wanted, holdings, rank) if wanted.pools_memory else None
            room = share and max(share, 1)
            usual = round(wanted.devices_per_task * GPU)
            portions[rank] = replace(portion, room=room, pool=pools.get(rank, ()), usual_gpus=usual)
    return portions


def _deal_pools(host: str, there: Mapping[int, Holdings]) -> dict[int, tuple[str, ...]]:
    """Return the GPUs of each rank of a node, as many for each."""
    of_gpus = {rank: one.devices for rank, one in there.items() if one.devices is not None}
    dealt = gpus.deal_gpus(of_gpus, dict.fromkeys(of_gpus, 1), 0)
    if dealt is None:
        found = len({device.identity for own in of_gpus.values() for device in own})
        raise UserError(f"--gpus: {len(of_gpus)} ranks on {host} for {count_of(found, 'GPU')}: start fewer ranks")
    return {rank: names[0] for rank, names in dealt.items()}


def _fit_memory(wanted: Resources, holdings: Mapping[int, Holdings], rank: int, slots: int) -> int:
    """Return how many slots a rank can have by its share of the memory."""
    share = _share_memory(wanted, holdings, rank)
    if not share or not wanted.memory_per_task:
        return slots
    if share < wanted.memory_per_task:
        own = holdings[rank]
        total = (own.memory.limit or own.memory.node) if own.memory is not None else 0
        kept = wanted.reserve_of(total)
        reserve = f" beside --memory-reserve {_say(kept)}" if kept else ""
        raise UserError(
            f"--memory-per-task {_say(wanted.memory_per_task)}: a rank on {own.host} has"
            f" {_say(max(share, 0))} for its tasks{reserve}"
        )
    return min(slots, share // wanted.memory_per_task)


def _share_memory(wanted: Resources, holdings: Mapping[int, Holdings], rank: int) -> int:
    """Return a rank's share of the memory [bytes], beside what is kept in reserve; 0 if nobody knows it."""
    own = holdings[rank]
    if own.memory is None or not own.memory.node:
        return 0
    there = [one.memory for one in holdings.values() if one.host == own.host and one.memory is not None]
    share = (own.memory.node - wanted.reserve_of(own.memory.node)) // len(there)
    if own.memory.limit:
        share = min(share, (own.memory.limit - wanted.reserve_of(own.memory.limit)) // there.count(own.memory))
    return share or -1


def _say(size: int) -> str:
    return say_memory(size // 1024)


def _deal_on(
    host: str, wanted: Resources, there: Mapping[int, Holdings], slots: dict[int, int], *, is_auto: bool
) -> dict[int, Portion]:
    """Deal what one node has."""
    of_cores = {rank: one.cores for rank, one in there.items() if one.cores is not None}
    of_gpus = {rank: one.devices for rank, one in there.items() if one.devices is not None and not wanted.pools_devices}
    if is_auto:
        most_gpus = gpus.most_slots(of_gpus, wanted.devices_per_task)
        slots = {rank: min(count, most_gpus.get(rank, count)) for rank, count in slots.items()}
        most_cores = cores.most_slots(of_cores)
        slots = {rank: max(1, min(count, most_cores.get(rank, count))) for rank, count in slots.items()}
    pins = cores.deal_cores(of_cores, slots)
    if pins is None:
        found = len({core.cpus for own in of_cores.values() for core in own})
        raise UserError(f"--pin: {_count(of_cores, slots)} on {host} for {count_of(found, 'core')}: {_REMEDY}")
    devices = gpus.deal_gpus(of_gpus, slots, wanted.devices_per_task)
    if devices is None:
        found = len({device.identity for own in of_gpus.values() for device in own})
        each = f" with {wanted.devices_per_task:g} each" if wanted.devices_per_task > 1 else ""
        raise UserError(
            f"--gpus: {_count(of_gpus, slots)}{each} on {host} for {count_of(found, 'GPU')}: {_REMEDY},"
            " or --gpus-per-task 0.5 for two tasks on each"
        )
    nothing = Seat()
    portions = {}
    for rank, one in there.items():
        seats = [nothing] * slots[rank]
        seats = [
            replace(seat, cpus=cpus) for seat, cpus in zip(seats, pins.get(rank, [frozenset()] * len(seats)), strict=True)
        ]
        seats = [replace(seat, devices=own) for seat, own in zip(seats, devices.get(rank, [()] * len(seats)), strict=True)]
        portions[rank] = Portion(tuple(seats), one.variable, wanted.memory_per_task)
    return portions


_REMEDY = "--proc auto has as many as there are, or start fewer ranks"


def _count(holders: Mapping[int, object], slots: Mapping[int, int]) -> str:
    number = sum(slots[rank] for rank in holders)
    ranks = f" of {len(holders)} ranks" if len(holders) > 1 else ""
    return f"{count_of(number, 'slot')}{ranks}"


def neighbours(own: Holdings, rank: int, count: int, *, shares_cores: bool, shares_devices: bool) -> dict[int, Holdings]:
    """Return the holdings of farmers that a launcher started on one node, and that do not know of each other.

    Parameters
    ----------
    own
        What this one may use.
    rank, count
        Its number there, and how many there are.
    shares_cores, shares_devices
        Whether all may use the same ones.
    """
    other = replace(own, cores=own.cores if shares_cores else None, devices=own.devices if shares_devices else None)
    return {**dict.fromkeys(range(count), other), rank: own}
