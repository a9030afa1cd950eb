"""Deals what nodes have among the ranks of a job, and refuses what cannot be dealt."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

from taskfarmer_mpi.policies.resources import Resources
from taskfarmer_mpi.rendezvous.launcher import local_rank, local_size
from taskfarmer_mpi.rendezvous.startup import Orders
from taskfarmer_mpi.resources.holdings import Holdings, find_holdings
from taskfarmer_mpi.resources.portions import Portion, deal, neighbours
from taskfarmer_mpi.workdir.files import node_name


class Dealer:
    """What one rank knows of it; rank 0 deals."""

    def __init__(self, wanted: Resources, slots: int | None, environ: Mapping[str, str]) -> None:
        """Look for what this rank may use.

        Parameters
        ----------
        wanted
            What slots are to have.
        slots
            Slots of each rank; None for as many as there is something for.
        environ
            The environment.

        Raises
        ------
        UserError
            If that is not enough even for this rank alone.
        """
        self._wanted = wanted
        self._slots = slots
        self._environ = environ
        self.own: Holdings = find_holdings(wanted, node_name(), environ)
        deal(wanted, {0: self.own}, {0: slots or 1}, is_auto=slots is None)

    def deal(self, orders: Orders, others: Mapping[int, Holdings | None]) -> dict[int, Portion]:
        """Return the portion of each rank that came up.

        Parameters
        ----------
        orders
            What the ranks are told; of it counts how many CPUs each has.
        others
            The holdings of all ranks but rank 0.

        Raises
        ------
        UserError
            If there is not enough for so many slots.
        """
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
