"""What each slot is to have for itself, as a user says it, and how its words are read."""

from __future__ import annotations

import re

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.errors import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

AUTO = -1
"""All devices that the job was given."""
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([KMGT]?)(?:i?B)?", re.ASCII)


class DeviceChoice(Value):
    """Which devices are used."""

    count: int = AUTO
    """How many of those that the job was given; `AUTO` for all."""
    names: tuple[str, ...] = ()
    """Which ones; none for `count`."""


class Resources(Value):
    """What each slot is to have."""

    is_pinned: bool = False
    """Whether it has cores of its own."""
    devices: DeviceChoice | None = None
    """The GPUs that slots get; None if they see all."""
    devices_per_task: float = 0.0
    """How many GPUs a task gets: a part of one, or some; 0 to share them out evenly."""
    memory_per_task: int = 0
    """How much memory a task may need [bytes]; 0 if that does not matter."""
    memory_reserve: int = 0
    """How much memory has to be available before a task is started [bytes]; 0 if that does not matter."""
    memory_reserve_share: int = 0
    """The same, as a part of all memory [%]."""
    pools_memory: bool = False
    """Whether tasks have memory by their sizes."""
    pools_devices: bool = False
    """Whether tasks, and not slots, have GPUs, by their sizes."""

    @property
    def are_dealt(self) -> bool:
        """Whether slots get something of their own."""
        return self.is_pinned or self.devices is not None or self.memory_per_task > 0

    @property
    def reserves_memory(self) -> bool:
        """Whether tasks are started only while enough memory is available."""
        return self.memory_reserve > 0 or self.memory_reserve_share > 0

    def reserve_of(self, total: int) -> int:
        """Return how much memory of a total has to be available then [bytes]."""
        return self.memory_reserve or total * self.memory_reserve_share // 100


def read_resources(texts: Mapping[str, str]) -> Resources:
    """Return what the rules mean that are about resources.

    Raises
    ------
    OptionError
        If one has a value that it cannot take.
    """
    reserve, share = read_reserve("memory-reserve", texts.get("memory-reserve", "0"))
    return Resources(
        is_pinned=read_switch("pin", texts.get("pin", "off")),
        devices=read_devices("gpus", texts.get("gpus", "0")),
        devices_per_task=read_devices_per_task("gpus-per-task", texts.get("gpus-per-task", "0")),
        memory_per_task=read_size("memory-per-task", texts.get("memory-per-task", "0")),
        memory_reserve=reserve,
        memory_reserve_share=share,
    )


def read_switch(name: str, text: str) -> bool:
    """Return whether something is on."""
    if text not in ("on", "off"):
        raise OptionError(name, f"{text!r} is neither on nor off")
    return text == "on"


def read_size(name: str, text: str) -> int:
    """Return an amount of memory [bytes]: a number with K, M, G or T, powers of 1024; 0 without one."""
    match = _SIZE.fullmatch(text.strip().upper().replace("IB", "B"))
    number = float(match[1]) if match else 0.0
    size = int(number * _UNITS[match[2]]) if match else 0
    if match is None or (number > 0 and size < _UNITS["M"]):
        raise OptionError(name, f"{text!r} is not an amount of memory of 1M or more, like 1500M or 4G; 0 for none")
    return size


def read_reserve(name: str, text: str) -> tuple[int, int]:
    """Return an amount of memory [bytes], and a part of all memory [%]: one of the two, or both 0."""
    if not text.endswith("%"):
        return read_size(name, text), 0
    number = text.removesuffix("%")
    if not (number.isascii() and number.isdigit()) or not 1 <= int(number[:4]) <= 90:
        raise OptionError(name, f"{text!r} is not from 1% to 90% of the memory, nor an amount like 4G; 0 for none")
    return 0, int(number)


def read_devices(name: str, text: str) -> DeviceChoice | None:
    """Return which devices are used: `auto`, their number, or their names with commas; None for 0."""
    if text == "auto":
        return DeviceChoice()
    if text.isascii() and text.isdigit() and len(text) <= 4:
        return DeviceChoice(int(text)) if int(text) else None
    names = [word.strip() for word in text.removesuffix(",").split(",")]
    if not all(names) or not ("," in text or "-" in text or "." in text) or text.startswith("-"):
        raise OptionError(
            name, f"{text!r} is neither auto, nor how many GPUs, nor their names with commas, like 0,1 or 3, (0: no choice)"
        )
    if len(set(names)) < len(names):
        raise OptionError(name, f"{text!r} names a GPU twice; --gpus-per-task 0.5 has two tasks share one")
    return DeviceChoice(names=tuple(names))


def read_devices_per_task(name: str, text: str) -> float:
    """Return how many devices a task gets: 1, 2, ..., or a part of one; 0 to share them out evenly."""
    try:
        value = float(text) if text.isascii() and "_" not in text else -1.0
    except ValueError:
        value = -1.0
    if not (0 <= value < 1000) or (value > 1 and value != int(value)) or 0 < value < 0.001:
        raise OptionError(name, f"{text!r} is neither a number of GPUs, like 2, nor a part of one, like 0.5")
    return value
