"""What one farmer has for all of its tasks together, where these are of different sizes: slots, memory, GPUs.

A task without a size takes a slot, and what `--memory-per-task` and `--gpus-per-task` say. Amounts of memory are what tasks
may need: nobody measures them here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.common.wording import count_of, say_memory
from taskfarmer_mpi.policies.settings import GPU, Settings
from taskfarmer_mpi.resources.portions import Portion

NO_DEVICE = "-1"
"""What names no GPU in the variable for them: a number that none has."""


_NOTHING = Settings()


class Need(Value):
    """What one task takes."""

    slots: int = 1
    memory: int = 0
    """[bytes]"""
    gpus: int = 0
    """In parts of which `GPU` are one."""


class Space:
    """Amounts that are free."""

    def __init__(self, slots: int, memory: float, devices: Mapping[str, int]) -> None:
        self.slots = slots
        self.memory = memory
        self._devices = dict(devices)

    def copy(self) -> Space:
        """Return another one with the same amounts."""
        return Space(self.slots, self.memory, self._devices)

    def fits(self, need: Need) -> bool:
        """Whether there is enough for a task."""
        return need.slots <= self.slots and need.memory <= self.memory and self.choose(need.gpus) is not None

    def take(self, need: Need) -> tuple[str, ...]:
        """Take what a task needs, more than there is if need be; return the names of its GPUs."""
        devices = self.choose(need.gpus) or ()
        self.occupy(need, devices)
        return devices

    def occupy(self, need: Need, devices: Iterable[str], sign: int = 1) -> None:
        """Take what a task needs, with certain GPUs; with a sign of -1 give it back."""
        self.slots -= sign * need.slots
        self.memory -= sign * need.memory
        for name in devices:
            self._devices[name] -= sign * min(need.gpus, GPU)

    def choose(self, gpus: int) -> tuple[str, ...] | None:
        """Return GPUs that are free, or the fullest one where a part of one is enough; None if there are too few."""
        if not gpus:
            return ()
        if gpus < GPU:
            return min(((free, (name,)) for name, free in self._devices.items() if free >= gpus), default=(0, None))[1]
        names = [name for name, free in self._devices.items() if free >= GPU]
        return tuple(names[: gpus // GPU]) if len(names) >= gpus // GPU else None

    def __str__(self) -> str:
        parts = [count_of(self.slots, "slot")]
        if 0 < self.memory < math.inf:
            parts.append(f"{say_memory(int(self.memory) // 1024)} of memory")
        if self._devices:
            parts.append(count_of(len(self._devices), "GPU"))
        return ", ".join(parts)


class Room:
    """What one farmer has, and which of its tasks have what."""

    def __init__(self, slots: int, portion: Portion | None, environ: Mapping[str, str]) -> None:
        """Have nothing taken.

        Parameters
        ----------
        slots
            How many slots there are.
        portion
            What was dealt to this farmer; None if nothing was.
        environ
            The environment that all tasks share: a number of threads in it is the user's.
        """
        portion = portion or Portion(())
        self._width = max(1, min((len(seat.cpus) for seat in portion.seats), default=1))
        self._has_pool = bool(portion.pool)
        """Whether GPUs are given to tasks, and not to slots."""
        self._variable, self._sets_threads = portion.variable, not environ.get("OMP_NUM_THREADS")
        memory = 0 if portion.room is None else portion.room or math.inf
        self.whole = Space(slots, memory, dict.fromkeys(portion.pool, GPU))
        self.usual = Need(1, 0 if portion.room is None else portion.memory, portion.usual_gpus if portion.pool else 0)
        self._free = self.whole.copy()
        self._given: dict[int, tuple[Need, tuple[str, ...]]] = {}

    def need_of(self, settings: Settings) -> Need:
        """Return what a task takes."""
        usual = self.usual
        if settings.cpus is None and settings.mem is None and settings.gpus is None:
            return usual
        return Need(
            1 if settings.cpus is None else -(-settings.cpus // self._width),
            usual.memory if settings.mem is None else settings.mem,
            usual.gpus if settings.gpus is None else settings.gpus,
        )

    def spare(self, waiting: Iterable[Need]) -> Space:
        """Return what is free beside what runs and what waits to be started."""
        space = self._free.copy()
        for need in waiting:
            space.take(need)
        return space

    def occupy(self, space: Space, task: int) -> bool:
        """Take from a space what a task has here; return whether it has anything."""
        if task not in self._given:
            return False
        space.occupy(*self._given[task])
        return True

    def may_start(self, settings: Settings) -> bool:
        """Whether there is enough for a task now."""
        return self._free.fits(self.need_of(settings))

    def give(self, task: int, settings: Settings = _NOTHING) -> tuple[int, dict[str, str]]:
        """Give a task what it takes; return how many slots that are, and what its environment says of it."""
        need = self.need_of(settings)
        devices = self._free.take(need)
        self._given[task] = (need, devices)
        found: dict[str, str] = {}
        if settings.cpus is not None:
            found["TASKFARMER_CPUS"] = str(settings.cpus)
            if self._sets_threads:
                found["OMP_NUM_THREADS"] = str(settings.cpus)
        if settings.mem is not None:
            found["TASKFARMER_MEMORY"] = str(settings.mem >> 20) if settings.mem else ""  # and not that of the slot
        if self._has_pool:
            found[self._variable] = ",".join(devices) or NO_DEVICE
        return need.slots, found

    def end(self, task: int) -> None:
        """Take back what a task has."""
        if task in self._given:
            self._free.occupy(*self._given.pop(task), -1)
