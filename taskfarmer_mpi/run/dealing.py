"""Deals what nodes have among the ranks of a job, and refuses what cannot be dealt."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.machine.cpus import find_cpus, share_out
from taskfarmer_mpi.policies.resources import Resources
from taskfarmer_mpi.rendezvous.launcher import is_launched, local_rank, local_size
from taskfarmer_mpi.rendezvous.startup import Orders
from taskfarmer_mpi.resources.holdings import Holdings, find_holdings
from taskfarmer_mpi.resources.portions import Portion, deal, neighbours
from taskfarmer_mpi.tasklists.lines import Handler
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import Workdir, node_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.upkeep.plan import Plan


def make_dealer(
    wanted: Resources | None,
    plan: Plan,
    environ: Mapping[str, str],
    workdir: Workdir,
    handler: Handler | None,
    *,
    is_alone: bool,
) -> Dealer | None:
    """Return what deals; None if there is nothing to be dealt.

    Parameters
    ----------
    wanted, environ
        As for a `Dealer`.
    plan
        How many slots each rank has.
    workdir, handler
        Where tasks may have sizes; and the tasks of the tasklist.
    is_alone
        Whether this rank has no others.

    Raises
    ------
    UserError
        If something is not enough for this rank.
    """
    words: set[str] = set()
    directives = handler.tasks.directives if handler is not None else ()
    if directives or workdir.settings.exists():
        from taskfarmer_mpi.run.sizes import with_pools, words_of_sizes

        words = words_of_sizes(handler, workdir)
        wanted = with_pools(wanted, words)
    if wanted is None or not (wanted.are_dealt or words):
        return None
    dealer = Dealer(wanted, plan.slots, environ, has_sizes=bool(words))
    if words and handler is not None and is_alone and not workdir.is_known and (slots := _slots_alone(plan, environ)):
        dealer.refuse_early(handler, slots)
    return dealer


def _slots_alone(plan: Plan, environ: Mapping[str, str]) -> int:
    """Return how many slots a farmer has that is started by hand; 0 if that depends on other ranks."""
    if plan.slots or is_launched(environ):
        return plan.slots or 0
    return share_out({0: (node_name(), find_cpus(environ, is_step=False, is_launched=False))}, plan.cpu_share)[0]


class Dealer:
    """What one rank knows of it; rank 0 deals."""

    def __init__(self, wanted: Resources, slots: int | None, environ: Mapping[str, str], *, has_sizes: bool = False) -> None:
        """Look for what this rank may use.

        Parameters
        ----------
        wanted
            What slots are to have.
        slots
            Slots of each rank; None for as many as there is something for.
        environ
            The environment.
        has_sizes
            Whether tasks have sizes.

        Raises
        ------
        UserError
            If that is not enough even for this rank alone.
        """
        self._has_sizes = has_sizes
        self._wanted = wanted
        self._slots = slots
        self._environ = environ
        self.own: Holdings = find_holdings(wanted, node_name(), environ)
        deal(wanted, {0: self.own}, {0: slots or 1}, is_auto=slots is None)

    def refuse_early(self, handler: Handler, slots: int) -> None:
        """Refuse a list with a task that is too large for this rank, which is alone.

        Raises
        ------
        UserError
            If there is one.
        """
        misfit = self.misfit(handler, slots)
        if misfit is not None:
            raise UserError(f"{handler.path}: {misfit}")

    def misfit(self, handler: Handler, slots: int) -> str | None:
        """Say which task of a list is too large for this rank alone, with so many slots; None if there is none."""
        from taskfarmer_mpi.run.sizes import find_misfit, in_list, rooms_of

        portions = deal(self._wanted, {0: self.own}, {0: slots}, is_auto=self._slots is None)
        wanted = in_list(handler.tasks.directives, len(handler.tasks), has_gpus=self._wanted.devices is not None)
        return find_misfit(wanted, rooms_of(portions))

    def deal(self, farm: Farm, orders: Orders, others: Mapping[int, Holdings | None]) -> dict[int, Portion]:
        """Return the portion of each rank that came up.

        Parameters
        ----------
        farm
            The farm, whose lists are there.
        orders
            What the ranks are told; of it counts how many CPUs each has.
        others
            The holdings of all ranks but rank 0.

        Raises
        ------
        UserError
            If there is not enough for so many slots, or for a task.
        """
        portions = self._deal(orders, others)
        if self._has_sizes:
            from taskfarmer_mpi.run.sizes import refuse_misfits

            refuse_misfits(farm, portions)
        return portions

    def _deal(self, orders: Orders, others: Mapping[int, Holdings | None]) -> dict[int, Portion]:
        known = {rank: held for rank, held in others.items() if held is not None and rank in orders.farmers}
        holdings, own = {0: self.own, **known}, 0
        slots = {rank: self._slots or orders.shares[rank] for rank in holdings}
        if not known and (size := local_size(self._environ)) > 1:
            own = min(local_rank(self._environ), size - 1)
            holdings = neighbours(
                self.own, own, size, shares_cores=self._shares_cores(), shares_devices=self._shares_devices()
            )
            slots = dict.fromkeys(holdings, slots[0])
        portions = deal(self._wanted, holdings, slots, is_auto=self._slots is None)
        return portions if known else {0: portions[own]}

    def _shares_cores(self) -> bool:
        """Whether neighbours may run on the same CPUs: the launcher bound them to none of their own."""
        with suppress(OSError):
            return os.sched_getaffinity(os.getppid()) == os.sched_getaffinity(0)
        return True

    def _shares_devices(self) -> bool:
        """Whether neighbours may use the same GPUs: Slurm gave each none of its own."""
        return "SLURM_GPUS_PER_TASK" not in self._environ
