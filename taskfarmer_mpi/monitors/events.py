"""What monitors are told: events in a farmer's life."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

from taskfarmer_mpi.errors import OptionError

KINDS = ("farmer_start", "farmer_end", "task_start", "task_end", "shutdown", "recovery")
TASK_FAILED = "task_failed"
"""Stands for the ends of tasks that failed, where kinds of events are chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One moment in a farmer's life; what has no meaning for its kind is None."""

    kind: str
    """One of `KINDS`."""
    time: float
    """By the clock of the farmer's node [s since the epoch]."""
    farmer: str
    """The farmer's unique name."""
    host: str
    pid: int
    """The farmer's process."""
    rank: int
    ranks: int
    job: str
    """The scheduler's name of the job, or an empty string."""
    slots: int
    workdir: str
    tasks: int | None = None
    """`farmer_start`: how many tasks the work directory has; `recovery`: how many went back to the list."""
    task: int | None = None
    """ID of the task."""
    command: str | None = None
    """The task as the lists show it, at most 30,000 characters of it."""
    slot: int | None = None
    log: str | None = None
    """Where the task's output is."""
    outcome: str | None = None
    """`task_end`: finished, failed, or killed by a shutdown, so that it will run again."""
    returncode: int | None = None
    """`task_end`: exit code, or minus the number of the signal that ended the task; `farmer_end`: that of the farmer."""
    seconds: float | None = None
    """`task_end`: how long it ran [s]."""
    cpu: float | None = None
    """`task_end`: its user and system time [s]."""
    max_rss: int | None = None
    """`task_end`: peak memory of its largest process [KiB]; 0 if it is not known."""
    cause: str | None = None
    """`task_end`: why it did not finish: exit code, signal, time limit, out of memory, could not be started, stopped, ..."""
    attempt: int | None = None
    """`task_end`: the number of this attempt, if the task failed and is tried again."""
    reason: str | None = None
    """`shutdown`, `farmer_end`: why it stops or stopped early, if it did."""
    finished: int | None = None
    """`farmer_end`: how many tasks this farmer finished."""
    failed: int | None = None
    """`farmer_end`: how many of its tasks failed."""
    farmers: int | None = None
    """`recovery`: how many dead farmers were settled."""
    lost_nodes: str | None = None
    """`recovery`: the nodes that were lost with them, with commas between them, if any was."""

    def known(self) -> dict[str, str | int | float]:
        """Return what has a meaning for this event."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def parse_kinds(text: str) -> frozenset[str]:
    """Return the names in the option `events`, with blanks or commas between them.

    Raises
    ------
    OptionError
        If one of them is none.
    """
    names = frozenset(re.split(r"[\s,]+", text.strip()))
    allowed = (*KINDS, TASK_FAILED)
    for name in sorted(names):
        if name not in allowed:
            raise OptionError("events", f"{name!r} is not an event; there are {', '.join(allowed)}")
    return names


def is_wanted(event: Event, names: frozenset[str]) -> bool:
    """Whether an event is among those chosen."""
    return event.kind in names or (TASK_FAILED in names and event.outcome == "failed")
