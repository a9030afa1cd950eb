"""Asks the kernel to run the farmer at once when a task ends.

A farmer shares its CPUs with its own tasks. Since Linux 6.12 a process gets its turn the sooner, the shorter the turns are
that it asks for; without that the farmer can wait for a running task's whole turn (3 ms) while a slot and a CPU are idle.
It asks for short turns, not for more CPU time. Tasks do not inherit this. (sched(7), sched_setattr(2))
"""

from __future__ import annotations

import os
import struct

from taskfarmer_mpi.common.c_library import system_call

TURN = 100_000
"""Length of a turn [ns]; the shortest that the kernel accepts."""

_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274, "ppc64le": 355}
"""Number of the system call, which the C library has no function for, by machine."""
_RESET_ON_FORK = 1
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
"""Size, policy, flags, nice, priority, runtime, deadline, period: the first form of `struct sched_attr`."""


def ask_for_short_turns() -> bool:
    """Ask for short turns on the CPU, as far as the kernel knows them; return whether it took the request."""
    number = _SCHED_SETATTR.get(os.uname().machine)
    if number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, _RESET_ON_FORK, nice, 0, TURN, 0, 0)
    return system_call(number, 0, attributes, 0) == 0
