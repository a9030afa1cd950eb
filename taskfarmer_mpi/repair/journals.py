"""Journals with lines that cannot be read: what is left of them counts, and they are mended so that others can go on.

A journal's last lines can be torn or full of NUL bytes where its farmer died, or its node lost power: that is no damage. A
line that comes before others is: nobody knows what it said. A record `lost` takes its place, so that the line before it does
not count as the last one. A first line, which says who wrote the journal, is made anew from the name of the file.
"""

from __future__ import annotations

import calendar
import io
import re
import time
from collections.abc import Iterator
from pathlib import Path

from taskfarmer_mpi.common.values import Value, as_dict
from taskfarmer_mpi.errors import FarmError
from taskfarmer_mpi.repair.damage import Fault
from taskfarmer_mpi.workdir.journal_reading import JournalState
from taskfarmer_mpi.workdir.journal_records import (
    FORMAT,
    Identity,
    Record,
    encode_record,
    moment_of,
    parse_record,
    read_identity,
)
from taskfarmer_mpi.workdir.locks import WorkLock

_OF_RECOVERY = ("given", "end")
"""What recovery appends to a dead farmer's journal, whose last line may be torn."""
_START = b'{"ev":"'
_NAME = re.compile(r"(?:(\d{8}T\d{6})|ctl)-(.+)-(\d+)-[0-9a-f]{6}")
"""The name of a farmer, or of a command: its birth, node and process."""


class DamagedJournal(Value):
    """A journal, and what it should be."""

    path: Path
    faults: list[Fault]
    identity: Identity
    """Who wrote it."""
    before: bytes
    after: bytes


class _Piece(Value):
    """A line, or what can be read of its end."""

    number: int
    data: bytes
    record: Record | None


def examine_journal(path: Path, data: bytes, lock: WorkLock) -> DamagedJournal | None:
    """Return what is wrong with a journal; None if nothing is.

    Parameters
    ----------
    path, data
        The journal and its content.
    lock
        That of the work directory: the locks of its farmers are beside it.

    Raises
    ------
    FarmError
        If it is of a newer version.
    """
    pieces = list(_pieces(data))
    readable = [index for index, piece in enumerate(pieces) if piece.record is not None]
    known = _read_first(path, pieces[readable[0]].record if readable else None)
    begin = readable[0] if known else -1  # what comes before the first line is taken out
    identity = known or _guess(path.stem, pieces, lock)
    head = pieces[begin].data if known else _encode_first(identity, pieces)
    faults = [] if known else [Fault(f"{path}:1", "it does not say who wrote it", "that is made anew from its name")]
    faults += [_fault(path, piece) for piece in pieces[: max(begin, 0)]]
    content = [head]
    state, moment = JournalState(identity), 0.0
    last = max((index for index in readable if not _may_be_of_recovery(pieces, index)), default=-1)
    for index, piece in enumerate(pieces[begin + 1 :], begin + 1):
        reason, moment = _refusal(state, piece.record), moment_of(piece.record or {}, moment)
        if reason is None or (piece.record is None and index > last):
            content.append(piece.data)
        else:
            faults.append(_fault(path, piece, reason))
            content.append(encode_record("lost", moment, {}))
    return DamagedJournal(path, faults, identity, data, b"".join(content)) if faults else None


def _pieces(data: bytes) -> Iterator[_Piece]:
    """Yield what the lines of a journal have; a whole record at the end of a line that cannot be read is one of its own."""
    for number, line in enumerate(io.BytesIO(data), 1):
        is_whole = line.endswith(b"\n")
        record = parse_record(line) if is_whole else None
        start = line.rfind(_START)
        if record is None and is_whole and start > 0 and (at_end := parse_record(line[start:])) is not None:
            yield _Piece(number, line[:start] + b"\n", None)
            line, record = line[start:], at_end
        if line.strip():  # recovery begins with an empty one
            yield _Piece(number, line, record)


def _read_first(path: Path, record: Record | None) -> Identity | None:
    """Return who wrote a journal, by its first record, if that can be known."""
    if record is None or record["ev"] != "farmer":
        return None
    try:
        return read_identity(record, path)
    except FarmError:
        if isinstance(record.get("format"), int) and record["format"] > FORMAT:
            raise
        return None


def _guess(name: str, pieces: list[_Piece], lock: WorkLock) -> Identity:
    """Return who wrote a journal, by its name: what is not in there is not needed to settle its tasks."""
    match = _NAME.fullmatch(name)
    slots = [piece.record.get("slot") for piece in pieces if piece.record is not None]
    return Identity(
        farmer=name,
        host=match[2] if match else "",
        pid=int(match[3]) if match else 0,
        rank=0,
        ranks=1,
        job="",
        slots=max((1 + slot for slot in slots if isinstance(slot, int)), default=0),
        alive_lock=str(lock.life_path(name, "alive")),
        task_lock=str(lock.life_path(name, "tasks")),
    )


def _encode_first(identity: Identity, pieces: list[_Piece]) -> bytes:
    match = _NAME.fullmatch(identity.farmer)
    born = (
        float(calendar.timegm(time.strptime(match[1], "%Y%m%dT%H%M%S")))
        if match and match[1]
        else next((moment_of(piece.record) for piece in pieces if piece.record), 0.0)
    )
    return encode_record("farmer", born, {"format": FORMAT, **as_dict(identity)})


def _refusal(state: JournalState, record: Record | None) -> str | None:
    """Return why a piece cannot be used, if it cannot; else what it says is part of the state."""
    if record is None:
        return ""
    if record["ev"] == "farmer":
        return "it does not say who wrote the journal"
    try:
        state.apply(record)
    except FarmError as error:
        return str(error)
    return None


def _may_be_of_recovery(pieces: list[_Piece], index: int) -> bool:
    """Whether recovery may have appended a piece, which it does on a line of its own."""
    record = pieces[index].record
    is_alone = index == 0 or pieces[index - 1].number != pieces[index].number
    return record is not None and record["ev"] in _OF_RECOVERY and is_alone


def _fault(path: Path, piece: _Piece, reason: str = "") -> Fault:
    zeros = piece.data.count(0)
    shown = (
        f"NUL bytes ({zeros} of {len(piece.data)})" if zeros else f"{piece.data[:60].decode('utf-8', 'replace')!r} is torn"
    )
    return Fault(f"{path}:{piece.number}", reason or shown, "what this line said counts no more")
