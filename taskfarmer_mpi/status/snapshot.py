"""What a farm looks like at one moment, in the form of ``taskfarmer-ctl status --json``."""

from __future__ import annotations

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.history.failures import Failure

FORMAT = 1
"""Version of the form of `Status` as JSON; see docs/monitoring.md."""


class Counts(Value):
    """How many tasks are where; they add up to `total`."""

    total: int
    finished: int
    failed: int
    running: int
    taken: int
    """In the hands of a farmer, and not running: it waits for a slot, or ended and is about to be recorded."""
    to_do: int
    nobody: int
    """In nobody's hands: a PyTaskFarmer has them, or had them when it died, or they were cut out of a list by hand."""
    removed: int = 0
    """Taken off the list by a user."""


class FarmerStatus(Value):
    """One farmer."""

    farmer: str
    state: str
    """`alive`, `dead` (what was in its hands is not settled yet), `unknown`, `ended` by itself, or `died` and recovered,
    or `lost`, too: with its node."""
    host: str
    pid: int
    rank: int
    ranks: int
    job: str
    slots: int
    born: float
    """[s since the epoch]"""
    busy: int
    """Slots that run a task."""
    held: int
    """Tasks in its hands, the running ones included."""
    finished: int
    """Runs that finished."""
    failed: int
    """Runs that failed."""
    killed: int
    """Runs that a shutdown cut short."""
    rate: float | None
    """Runs that ended lately [1/s]; None if it is not alive or none ended."""
    aside: str = ""
    """Why it takes no more tasks, if they fail on its node only."""
    retried: int = 0
    """Runs that failed and are followed by another attempt."""
    waiting: str = ""
    """Why it starts no task now, if it waits for something."""


class RunningTask(Value):
    """A task that runs now."""

    task: int
    farmer: str
    host: str
    rank: int
    slot: int
    begin: float
    """[s since the epoch]"""
    command: str
    name: str = ""
    """What a `#TF` line calls it."""


class Status(Value):
    """A farm at one moment; its fields are those of ``status --json``."""

    format: int
    workdir: str
    time: float
    """When the files were read [s since the epoch]."""
    tasks: Counts
    nobody: list[int]
    """The first of the tasks in nobody's hands."""
    may_be_plain: bool
    """Whether a PyTaskFarmer may have these, or have had them; else they were cut out of a list by hand."""
    rate: float | None
    """Runs that ended lately, of all farmers that live [1/s]; None if it is not known."""
    left: float | None
    """Time until the list is done at this rate [s]; None if it is not known."""
    farmers: list[FarmerStatus]
    running: list[RunningTask]
    failures: list[Failure]
    """The last ones, the oldest first."""
    warnings: list[str]
    """What could not be read, and why."""
    paused: str = ""
    """Who paused the farmers and when; empty if they are not."""

    @property
    def is_done(self) -> bool:
        """Whether nothing is left that a farmer would run."""
        return not (self.tasks.running or self.tasks.taken or self.tasks.to_do)

    @property
    def is_abandoned(self) -> bool:
        """Whether tasks are left, and nobody works on them, as far as that is known."""
        at_work = any(farmer.state in ("alive", "unknown") for farmer in self.farmers)
        return not (self.is_done or at_work or self.tasks.nobody)
