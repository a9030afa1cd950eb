"""Gives each task what its slot has for itself: its CPUs, and variables that name its GPUs and amounts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from taskfarmer_mpi.errors import FarmError
from taskfarmer_mpi.resources.portions import Portion, Seat

_THREADS = "OMP_NUM_THREADS"
_MIB = 1 << 20


class Equipment:
    """What the slots of one farmer have."""

    def __init__(self, portion: Portion, environ: Mapping[str, str]) -> None:
        """Prepare what tasks get.

        Parameters
        ----------
        portion
            What the slots have.
        environ
            The environment that all tasks share: a number of threads in it is the user's.
        """
        self._portion = portion
        self._sets_threads = not environ.get(_THREADS)
        self._variables = [self._variables_of(seat) for seat in portion.seats]

    def _variables_of(self, seat: Seat) -> dict[bytes, bytes]:
        found = {self._portion.variable: ",".join(seat.devices)} if seat.devices else {}
        if self._portion.memory:
            found["TASKFARMER_MEMORY"] = str(self._portion.memory // _MIB)
        if seat.cpus:
            found["TASKFARMER_CPUS"] = str(len(seat.cpus))
            if self._sets_threads:
                found[_THREADS] = found["TASKFARMER_CPUS"]
        return {os.fsencode(name): os.fsencode(value) for name, value in found.items()}

    def variables(self, slot: int) -> dict[bytes, bytes]:
        """Return what is added to the environment of a slot's tasks."""
        return self._variables[slot]

    @contextmanager
    def at_work(self, slots: Iterable[int]) -> Iterator[None]:
        """Have this thread, whose children inherit it, run on the CPUs of some slots meanwhile.

        Raises
        ------
        FarmError
            If none of them is this process's any more.
        """
        cpus = frozenset().union(*(self._portion.seats[slot].cpus for slot in slots))
        if not cpus:
            yield
            return
        before = os.sched_getaffinity(0)
        try:
            os.sched_setaffinity(0, cpus)
        except OSError as error:
            numbers = ",".join(map(str, sorted(cpus)))
            raise FarmError(f"--pin: this farmer cannot run on its CPUs {numbers} any more: {error.strerror}") from error
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)
