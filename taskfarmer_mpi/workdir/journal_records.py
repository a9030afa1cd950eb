"""The lines of a farmer's own log: one JSON object each, encoded and parsed.

What a line means. The last twelve say nothing of tasks, and recovery skips them; none of them may come between `taken`
and the cut of `toprocess`, as recovery looks whether `taken` is the last line:

=========  ==========================================================================================
kind       meaning
=========  ==========================================================================================
farmer     first line: who writes, in which format, and where its life locks are
taken      these tasks are in this farmer's hands; on disk before `toprocess` loses them
begin      a run has started in a slot
end        a run ended; written before the slot is used again, but for a death by a signal, which may be a shutdown's
killed     a shutdown, or want of memory, cut a run short; with `attempt`, its number, it failed and is tried again
recorded   every run that ended so far is in `finished` or `failed`
giving     these tasks are about to be appended to `toprocess`
given      these tasks are back in `toprocess`
start      the farmer is ready; `begin`: when its program began
visit      a visit to the lists: `begin`, time waited for the lock before it, how many tasks went each way
recovery   dead farmers were recovered: `begin`, `end`, how many farmers and tasks
alive      the farmer lives, and its tasks run; now and then
drain      no more tasks are started, and why; `stop`: running tasks are killed, and why
aside      the farmer takes no more tasks, as they fail on its node only, and why
waiting    the farmer starts no task for now, and why; with an empty reason: it goes on
reserve    the farmer keeps room for the task `id`, which is on the list; -1: for none
unfit      all tasks on the list are too large for the farmer; until the next `taken`
leave      the farmer left by itself
lost       lines were here that could not be read; `repair` took them out
gone       recovery found that the farmer's node died with it
=========  ==========================================================================================
"""

from __future__ import annotations

import json
from pathlib import Path

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.errors import FarmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
else:
    Any = object

FORMAT = 1
_decode = json.JSONDecoder().decode
OPEN_SUFFIX = ".journal"
CLOSED_SUFFIX = ".closed"

Record = dict[str, Any]
_KINDS: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float)}


class Identity(Value):
    """Who a farmer is; the first line of its journal."""

    farmer: str
    """Unique name of the farmer."""
    host: str
    pid: int
    rank: int
    """Rank in its MPI job; 0 for a plain farmer."""
    ranks: int
    """Number of ranks of its MPI job; 1 for a plain farmer."""
    job: str
    """The scheduler's name of the job, or an empty string."""
    slots: int
    alive_lock: str
    """Lock file that the farmer holds as long as it lives."""
    task_lock: str
    """Lock file that is held as long as any process of any of its tasks lives."""
    clock_offset: float = 0.0
    """What to add to this farmer's times to get those of rank 0 [s]."""

    @property
    def label(self) -> str:
        """The farmer in a few words."""
        return f"rank {self.rank} · {self.host} · pid {self.pid}"


def encode_record(kind: str, moment: float, fields: Record) -> bytes:
    """Encode one line of a journal."""
    return json.dumps({"ev": kind, "t": round(moment, 6), **fields}, separators=(",", ":")).encode() + b"\n"


def parse_record(line: bytes) -> Record | None:
    """Decode one line of a journal; None if it is torn, or no record at all."""
    try:
        record = _decode(line.decode())
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("ev"), str) else None


def moment_of(record: Record, default: float = 0.0) -> float:
    """Return when a record was written [s since the epoch], if it says so in a way that can be."""
    moment = record.get("t")
    return float(moment) if isinstance(moment, int | float) and abs(moment) < 1e12 else default


def read_identity(record: Record, path: Path) -> Identity:
    """Return who wrote a journal, from its first record.

    Raises
    ------
    FarmError
        If it is no journal, or one of a newer version.
    """
    if record.get("ev") != "farmer":
        raise FarmError(f"{path}: the journal does not say who wrote it: taskfarmer-ctl repair mends it")
    if record.get("format") != FORMAT:
        raise FarmError(f"{path}: not a journal of format {FORMAT}: written by a newer version?")
    wanted = {"t": "float", **Identity.__annotations__}
    for name, kind in wanted.items():
        if not isinstance(record.get(name), _KINDS.get(kind, (object,))):
            raise FarmError(
                f"{path}: the journal's first line is damaged: {name!r} is no {kind}: taskfarmer-ctl repair mends it"
            )
    return Identity(**{name: record[name] for name in Identity.__annotations__})
