"""What one rank may use on its node, of what is to be dealt."""

from __future__ import annotations

import os
from collections.abc import Mapping

from taskfarmer_mpi.common.programs import ask
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.machine.devices import VARIABLES, Device, Devices, find_devices
from taskfarmer_mpi.machine.memory import Memory, find_memory
from taskfarmer_mpi.machine.topology import Core, find_cores
from taskfarmer_mpi.policies.resources import AUTO, DeviceChoice, Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Holdings(Value):
    """What one rank may use; None for what is not dealt to it and its neighbours."""

    host: str
    cores: tuple[Core, ...] | None = None
    devices: tuple[Device, ...] | None = None
    variable: str = ""
    """That by which programs find the devices."""
    memory: Memory | None = None


def find_holdings(wanted: Resources, host: str, environ: Mapping[str, str], run: Callable[..., str] = ask) -> Holdings:
    """Return what this process may use.

    Parameters
    ----------
    wanted
        What is to be dealt: only that is looked for.
    host
        The name of this node.
    environ
        The environment.
    run
        Asks a program.

    Raises
    ------
    UserError
        If there is no GPU, or not those that are wanted.
    """
    devices, variable = None, ""
    if wanted.devices is not None:
        found = find_devices(environ, run)
        devices, variable = _choose(wanted.devices, found, host), found.variable
    return Holdings(
        host,
        find_cores(os.sched_getaffinity(0)) if wanted.is_pinned else None,
        devices,
        variable,
        find_memory() if wanted.memory_per_task or wanted.pools_memory else None,
    )


def _choose(choice: DeviceChoice, found: Devices, host: str) -> tuple[Device, ...]:
    given = found.given
    if choice.names and not found.are_known:
        return tuple(Device(name, name) for name in choice.names)
    if not given:
        raise UserError(
            f"--gpus: there is no GPU for this job on {host}: neither {', '.join(VARIABLES)} nor SLURM_STEP_GPUS names one,"
            " nor does nvidia-smi -L or rocm-smi list one"
        )
    names = ",".join(device.name for device in given)
    if choice.names:
        chosen = [next((device for device in given if device.is_named(word)), None) for word in choice.names]
        for word, device in zip(choice.names, chosen, strict=True):
            if device is None:
                raise UserError(f"--gpus: {word} is none of the GPUs for this job on {host}: {names}")
        return tuple(dict.fromkeys(device for device in chosen if device is not None))
    if choice.count > len(given):
        raise UserError(f"--gpus {choice.count}: there are only {len(given)} GPUs for this job on {host}: {names}")
    return given if choice.count == AUTO else given[: choice.count]
