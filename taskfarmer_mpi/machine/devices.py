"""Which GPUs a job was given on this node: by variables of the environment, else by what the vendor's programs list.

CUDA_VISIBLE_DEVICES: numbers, UUIDs (GPU-...) or MIG devices (MIG-...), as the CUDA programming guide has it;
ROCR_VISIBLE_DEVICES: numbers or UUIDs (ROCm); ZE_AFFINITY_MASK: numbers, also of tiles, as 0.1 (oneAPI Level Zero).
Slurm's lists are in SLURM_STEP_GPUS and SLURM_JOB_GPUS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from taskfarmer_mpi.common.programs import AskError, ask
from taskfarmer_mpi.common.values import Value

NVIDIA, AMD, INTEL = "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"
VARIABLES = (NVIDIA, AMD, INTEL)
"""By which of them a program finds its devices: one kind for each vendor."""
_LISTS = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
_NONE = ("-1", "NoDevFiles")
"""What stands for no device at all."""
_NVIDIA_LINE = re.compile(r"^(?:GPU (\d+): .*|\s+MIG .*)\(UUID: ([^)\s]+)\)", re.MULTILINE)
_ROCM_LINE = re.compile(r"^GPU\[(\d+)\]\s*:\s*Unique ID:\s*(\S+)", re.MULTILINE)


class Device(Value):
    """A device, or a part of one that a job can be given by itself."""

    name: str
    """As in the variable."""
    identity: str
    """A name that is the same for all processes of the node: its UUID, where that is known."""

    def is_named(self, word: str) -> bool:
        """Whether a user's word means it: its name, its number, or how its UUID begins."""
        return word in (self.name, self.identity) or (len(word) >= 8 and self.identity.startswith(word))


class Devices(Value):
    """What a job was given on this node."""

    variable: str
    """That by which programs find them: one of `VARIABLES`."""
    given: tuple[Device, ...]
    are_known: bool = True
    """Whether somebody says which ones there are; if not, a user may name them."""


def find_devices(environ: Mapping[str, str], run: Callable[..., str] = ask, folder: Path = Path("/dev")) -> Devices:
    """Return which devices there are.

    Parameters
    ----------
    environ
        The environment: what it says is not more than it should be used.
    run
        Asks a program on ``PATH``.
    folder
        Where the devices of drivers are.
    """
    listed = _listed(environ, run)
    named = [name for name in VARIABLES if name in environ]
    if named:
        variable = _kind(named, listed, folder)
        return Devices(variable, _with_identities(_split(environ[variable]), listed.get(variable, ())))
    variable = next(iter(listed), _kind(VARIABLES, listed, folder))
    for name in _LISTS:
        if environ.get(name):
            return Devices(variable, _with_identities(_split(environ[name]), listed.get(variable, ())))
    return Devices(variable, tuple(listed.get(variable, ())), are_known=bool(listed))


def _kind(named: tuple[str, ...] | list[str], listed: Mapping[str, object], folder: Path) -> str:
    """Return which of some variables is meant: Slurm can set those of all vendors (gres.conf(5))."""
    signs = {NVIDIA: "nvidiactl", AMD: "kfd"}
    present = [name for name in named if name in listed or (name in signs and (folder / signs[name]).exists())]
    return (present or named)[0]


def _split(text: str) -> list[str]:
    """Return the names of a list; CUDA takes none from a first word on that is no device."""
    names = [word.strip() for word in text.split(",")]
    end = next((i for i, name in enumerate(names) if not name or name in _NONE), len(names))
    return list(dict.fromkeys(names[:end]))


def _with_identities(names: list[str], listed: tuple[Device, ...]) -> tuple[Device, ...]:
    known = {device.name: device for device in listed}
    return tuple(known.get(name, Device(name, name)) for name in names)


def _listed(environ: Mapping[str, str], run: Callable[..., str]) -> dict[str, tuple[Device, ...]]:
    """Return the devices that programs of vendors list, by the variable for them."""
    found = {}
    for variable, command, parse in (
        (NVIDIA, ("nvidia-smi", "-L"), _parse_nvidia),
        (AMD, ("rocm-smi", "--showuniqueid"), _parse_rocm),
    ):
        try:
            devices = parse(run(*command, environ=environ))
        except AskError:
            continue  # there is no such program, or no device of its kind
        if devices:
            found[variable] = devices
    return found


def _parse_nvidia(text: str) -> tuple[Device, ...]:
    """Return the devices of `nvidia-smi -L`; of a GPU that is divided its MIG devices, by their UUIDs."""
    found: list[Device] = []
    whole: Device | None = None
    for number, uuid in _NVIDIA_LINE.findall(text):
        if not number and whole in found:
            found.remove(whole)  # who may use a part of it may not use all of it
        whole = Device(number, uuid) if number else whole
        found.append(whole if number and whole is not None else Device(uuid, uuid))
    return tuple(found)


def _parse_rocm(text: str) -> tuple[Device, ...]:
    return tuple(Device(number, f"{number} {unique}") for number, unique in _ROCM_LINE.findall(text))
