"""The timeline: the journals of all farmers as one trace that Perfetto opens.

A JSON list with one event per line, since a list loads even when it is cut off. Times are whole microseconds since the
epoch, as in the events of plain farmers, which are kept. A process is a farmer, a thread is a slot. Process numbers are
ours: two nodes can have the same OS pid, and Perfetto drops overlapping slices of one lane.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from taskfarmer_mpi.journal import Identity, all_journals, read_identity, read_records
from taskfarmer_mpi.locks import WorkLock
from taskfarmer_mpi.tasklist import Lines
from taskfarmer_mpi.workdir import Workdir, read_file, temporary_file, write_all

Event = dict[str, Any]

FIRST_PID = 2**22 + 1
"""First process number of our lanes: above any OS pid on Linux, so that those of plain farmers never meet them."""
LANES = 2**12
"""Thread numbers that a process of ours may use."""
NAME_LENGTH = 80
"""Longest name of a slice [characters]."""

_MARK = "taskfarmer_mpi"
_MARK_KEY = b'"taskfarmer_mpi":'
_quote = json.JSONEncoder(ensure_ascii=False).encode
_BUFFER = 1024 * 1024
_LIST_END = b"\n]\n"


def encode_event(event: Event) -> bytes:
    """Encode one event of the trace."""
    text = json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def merge_timeline(workdir: Workdir, lock: WorkLock, lines: Lines, patience: float) -> None:
    """Write all farmers' events to `timeline.json`, and keep those of plain farmers.

    Merging again changes nothing. The lock is held only to read the old file and to put the new one in its place.

    Raises
    ------
    LockBusyError
        If others held the lock for longer than `patience` [s].
    OSError
        If the file cannot be written.
    """
    while True:
        with lock.held(patience):
            old = read_file(workdir.timeline) or b""
        with temporary_file(workdir.timeline) as (fd, temporary):
            _write_events(fd, _all_events(workdir, lines, _foreign_events(old)))
            with lock.held(patience):
                more = _events_since(old, read_file(workdir.timeline) or b"")
                if more is not None:
                    _extend_events(fd, more)
                    temporary.replace(workdir.timeline)
                    return


def _foreign_events(data: bytes) -> list[Event]:
    """Return the events of plain farmers in the content of a timeline; none if a writer died and left it torn."""
    if data.startswith(b"[\n"):  # written here, one event per line: ours need not be decoded
        lines = (line for line in data.split(b"\n")[1:] if _MARK_KEY not in line)
        data = b"[" + b",".join(line.rstrip(b",") for line in lines if line.startswith(b"{")) + b"]"
    try:
        events = json.loads(data)
    except ValueError:
        return []
    return [event for event in events if isinstance(event, dict) and not _is_own(event)] if isinstance(events, list) else []


def _events_since(old: bytes, new: bytes) -> list[Event] | None:
    """Return what a plain farmer appended to a timeline meanwhile, in little time; None if it has to be read as a whole.

    PyTaskFarmer writes the list anew for each task, but what it wrote before stays the same to the letter.
    """
    if new == old:
        return []
    if not old.strip():
        return _foreign_events(new)
    kept = old[:-1]
    if old[-1:] == b"]" and new.startswith(kept):
        return _foreign_events(b"[" + new[len(kept) :].lstrip(b", "))
    return None


def _is_own(event: Event) -> bool:
    args = event.get("args")
    return (isinstance(args, dict) and _MARK in args) or event.get("cat") == _MARK


def _write_events(fd: int, events: Iterator[bytes]) -> None:
    buffer = bytearray(b"[")
    separator = b"\n"
    for event in events:
        buffer += separator
        buffer += event
        separator = b",\n"
        if len(buffer) > _BUFFER:
            write_all(fd, bytes(buffer))
            buffer.clear()
    write_all(fd, bytes(buffer) + _LIST_END)


def _extend_events(fd: int, events: list[Event]) -> None:
    if events:
        os.lseek(fd, -len(_LIST_END), os.SEEK_END)
        write_all(fd, b"".join(b",\n" + encode_event(event) for event in events) + _LIST_END)


def _all_events(workdir: Workdir, lines: Lines, foreign: list[Event]) -> Iterator[bytes]:
    yield from map(encode_event, foreign)
    for number, path in enumerate(all_journals(workdir.farmers)):
        yield from _farmer_events(path, FIRST_PID + number * LANES, lines)


def _farmer_events(path: Path, pid: int, lines: Lines) -> Iterator[bytes]:
    records = read_records(path)
    first = next(records, None)
    if first is None:
        return
    identity = read_identity(first, path)
    yield _encode_name("process_name", pid, pid, identity.label)
    for slot in range(identity.slots):
        yield _encode_name("thread_name", pid, pid + 1 + slot, f"slot {slot}")
    for record in records:
        if record["ev"] in ("end", "killed"):
            yield _encode_slice(record, identity, pid, lines)


def _encode_name(kind: str, pid: int, tid: int, name: str) -> bytes:
    return encode_event({"name": kind, "ph": "M", "pid": pid, "tid": tid, "args": {"name": name, _MARK: True}})


def _encode_slice(record: Event, identity: Identity, pid: int, lines: Lines) -> bytes:
    """Encode one run; formatted by hand, since a trace can have a million of them."""
    code = record["rc"]
    task_id = record["id"]
    outcome = "killed" if record["ev"] == "killed" else "finished" if code == 0 else "failed"
    command = lines[task_id] if task_id < len(lines) else f"task {task_id}"  # appended since the tasklist was read
    label = command if outcome == "finished" else f"{outcome.upper()} {command}"
    if len(label) > NAME_LENGTH:
        label = label[: NAME_LENGTH - 1] + "…"
    peak = f'"max_rss_kib":{record["rss"]},' if record["rss"] else ""
    start = round((record["begin"] + identity.clock_offset) * 1e6)
    end = round((record["end"] + identity.clock_offset) * 1e6)
    return (
        f'{{"cat":"task","name":{_quote(label)},"ph":"X","pid":{pid},"tid":{pid + 1 + record["slot"]},'
        f'"ts":{start},"dur":{end - start},"args":{{"task":{task_id},"outcome":"{outcome}","code":{code},'
        f'"log":"logs/log_{task_id}","cpu_s":{record["cpu"]},{peak}'
        f'"{_MARK}":{_quote(identity.farmer)}}}}}'
    ).encode("utf-8", "replace")
