"""What all farmers of one work directory have in common."""

from __future__ import annotations

from dataclasses import dataclass

from taskfarmer_mpi.locks import WorkLock
from taskfarmer_mpi.tasklist import ListTaskList
from taskfarmer_mpi.workdir import Workdir


@dataclass(frozen=True, slots=True)
class Farm:
    """A tasklist and the work directory where it is worked on."""

    workdir: Workdir
    lock: WorkLock
    tasklist: ListTaskList
    listed: int
    """How many tasks plain farmers know of.

    PyTaskFarmer empties `toprocess` if it finds the ID of a task that was appended to the tasklist after its start; so tasks
    from this ID on are in `toprocess.added`, which it never looks at.
    """
