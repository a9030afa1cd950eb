"""What the farmers of a work directory did, as their journals tell it."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from taskfarmer_mpi.common.causes import Cause, cause_of
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.errors import FarmError
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.journal_reading import all_journals, read_last_records, read_records
from taskfarmer_mpi.workdir.journal_records import OPEN_SUFFIX, Identity, Record, read_identity

_BY_OTHERS = ("given", "gone")
"""What recovery writes into the journals of the dead: no sign of life."""


class Outcome(Enum):
    """How one run of a task ended."""

    FINISHED = "finished"
    FAILED = "failed"
    KILLED = "killed"
    """Cut short by a shutdown: its task went back to the list."""
    LOST = "lost"
    """Its farmer died while it ran."""
    RUNNING = "running"
    ENDED = "ended"
    """It died by a signal a moment ago: whether it failed or a shutdown cut it short is about to be recorded."""


class Attempt(Value, is_frequent=True):
    """One run of a task; times are those of rank 0's clock."""

    task_id: int
    slot: int
    begin: float
    """[s since the epoch]"""
    end: float | None
    """[s since the epoch]; None if it runs still, or nobody saw its end. Where its end is not recorded, but its slot was
    used again, it is when that happened."""
    returncode: int | None
    """Exit code, or minus the number of the signal that ended it."""
    outcome: Outcome
    cpu: float = 0.0
    """User and system time [s]."""
    max_rss: int = 0
    """Peak memory of its largest process [KiB]; 0 if it is not known."""
    seen: float = 0.0
    """If its end is not known: the last sign of life of its farmer [s since the epoch]."""
    cause: Cause | None = None
    """Why it ended, unless it finished or runs still."""


class FarmerState(Enum):
    """Where a farmer is in its life."""

    ALIVE = "alive"
    DEAD = "dead"
    """It died, and what was in its hands is not settled yet."""
    UNKNOWN = "unknown"
    """Whether it lives cannot be seen from here: its lock file is out of reach."""
    GONE = "gone"
    """It ended by itself, or died and was recovered."""


class FarmerHistory(Value):
    """The journal of one farmer; read anew by each call."""

    path: Path
    identity: Identity
    born: float
    """By rank 0's clock [s since the epoch]."""
    state: FarmerState

    def state_now(self) -> FarmerState:
        """Look at its locks again."""
        return _state(self.path, self.identity)

    def records(self) -> Iterator[Record]:
        """Yield the records after the first one, with the times as the farmer's own clock had them."""
        records = read_records(self.path)
        next(records, None)
        return records

    def last_moment(self) -> float:
        """Return when it wrote its last record, by rank 0's clock [s since the epoch]."""
        moments = [record.get("t") for record in read_last_records(self.path) if record["ev"] != "gone"]
        known: list[float] = [moment + self.identity.clock_offset for moment in moments if isinstance(moment, int | float)]
        return max([self.born, *known])

    def describe_state(self) -> str:
        """Return its state in a word; those that are gone `ended` by themselves, `died`, or were `lost` with their nodes."""
        if self.state is not FarmerState.GONE:
            return str(self.state.value)
        return "ended" if self.has_left() else "lost" if self._has("gone") else "died"

    def stop_reason(self) -> str:
        """Return why it killed its tasks; empty if it did not, or if that is not known."""
        reasons = [str(record.get("reason", "")) for record in read_last_records(self.path) if record["ev"] == "stop"]
        return reasons[-1] if reasons else ""

    def has_left(self) -> bool:
        """Return whether it left by itself."""
        return self._has("leave")

    def _has(self, kind: str) -> bool:
        return any(record["ev"] == kind for record in read_last_records(self.path))

    def attempts(self) -> Iterator[Attempt]:
        """Yield its runs: those that ended in the order of their ends, then those whose end nobody saw."""
        return (item for item in self.happenings() if isinstance(item, Attempt))

    def happenings(self) -> Iterator[Attempt | Record]:
        """Yield its runs, as `attempts` does, and between them all records that are not about a run."""
        offset = self.identity.clock_offset
        begun: dict[int, tuple[int, float]] = {}
        in_slot: dict[int, int] = {}
        until: dict[int, float] = {}
        end_cause = Cause.FARMER_DIED
        seen = self.born
        is_giving = False
        for record in self.records():
            kind = record["ev"]
            if kind == "begin":
                task_id, slot, moment = record["id"], record["slot"], record["t"]
                before = in_slot.get(slot)
                if (
                    before is not None and before in begun
                ):  # a death by a signal is recorded some time after its slot was free
                    until[before] = moment + offset
                in_slot[slot] = task_id
                begun[task_id] = (slot, moment)
            elif kind in ("end", "killed"):
                begun.pop(record["id"], None)
                until.pop(record["id"], None)
                yield Attempt(
                    task_id=record["id"],
                    slot=record["slot"],
                    begin=record["begin"] + offset,
                    end=record["end"] + offset,
                    returncode=record["rc"],
                    outcome=_outcome(kind, record),
                    cpu=record["cpu"],
                    max_rss=record["rss"],
                    cause=_cause(kind, record),
                )
            else:
                if kind == "gone":
                    end_cause = Cause.NODE_LOST
                yield record
            if kind not in _BY_OTHERS or is_giving:  # recovery notes `given` in the journals of the dead
                seen = max(seen, record["t"] + offset)
            is_giving = kind == "giving"
        is_over = self.state in (FarmerState.GONE, FarmerState.DEAD)
        for task_id, (slot, begin) in begun.items():
            end = until.get(task_id)
            outcome = Outcome.LOST if is_over else Outcome.RUNNING if end is None else Outcome.ENDED
            cause = end_cause if is_over else None
            yield Attempt(task_id, slot, begin + offset, end, None, outcome, seen=seen, cause=cause)


def _outcome(kind: str, record: Record) -> Outcome:
    if kind == "killed" and "attempt" not in record:
        return Outcome.KILLED
    return Outcome.FINISHED if record["rc"] == 0 else Outcome.FAILED


def _cause(kind: str, record: Record) -> Cause | None:
    return cause_of(record["rc"], record.get("cause", Cause.STOPPED if kind == "killed" else None))


def read_histories(workdir: Workdir) -> tuple[list[FarmerHistory], list[str]]:
    """Return the histories of all farmers that ever worked here, the oldest first, and what could not be read and why.

    Nothing is locked or changed: farmers can be at work.
    """
    histories = []
    troubles = []
    for path in all_journals(workdir.farmers):
        try:
            record = next(read_records(path), None)
            if record is None:
                troubles.append(f"{path}: no whole line")
                continue
            identity = read_identity(record, path)
        except FarmError as error:
            troubles.append(str(error))
        except FileNotFoundError:
            continue  # of a command that moved tasks, and had nothing in its hands when it ended
        except OSError as error:
            troubles.append(f"{path}: cannot read: {error.strerror}")
        else:
            born = record["t"] + identity.clock_offset
            histories.append(FarmerHistory(path, identity, born, _state(path, identity)))
    return histories, troubles


def _state(path: Path, identity: Identity) -> FarmerState:
    if path.suffix != OPEN_SUFFIX:
        return FarmerState.GONE
    try:
        is_alive = LifeLock.is_taken(Path(identity.alive_lock))
    except OSError:
        return FarmerState.UNKNOWN if path.exists() else FarmerState.GONE
    return FarmerState.ALIVE if is_alive else FarmerState.DEAD
