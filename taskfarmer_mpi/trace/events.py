"""The events of a trace in the JSON form that Perfetto reads, one line each.

Times are whole microseconds since the epoch, as in the events of plain farmers. All events made here carry a mark, by which
they are told from those. What Perfetto makes of an event: https://perfetto.dev/docs/getting-started/other-formats
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring as quote

from taskfarmer_mpi.common.causes import Cause, describe_cause, signal_name
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.common.wording import shorten
from taskfarmer_mpi.history.event_marks import MARK, Event
from taskfarmer_mpi.history.runs import Outcome
from taskfarmer_mpi.trace.colours import NAME_LENGTH

COMMAND_LENGTH = 1000
"""How much of a command the details of its slice show [characters]."""


class Slice(Value, is_frequent=True):
    """One run of a task, and where it is drawn."""

    pid: int
    tid: int
    begin: int
    """[µs since the epoch]"""
    end: int
    """[µs since the epoch]; below `begin` if it runs still."""
    task: int
    name: str
    """What is shown on it; its colour, too, comes from this."""
    text: str
    """The task as the lists have it."""
    outcome: Outcome
    code: int
    attempt: int
    """1 for the first run of a task."""
    cpu: float
    """[s]"""
    max_rss: int
    """[KiB]; 0 if it is not known."""
    farmer: str
    """Name of the farmer."""
    reason: str
    """Why the farmer killed its tasks, if it did."""
    cause: Cause | None = None
    """Why it ended without exit code 0."""
    called: str = ""
    """What a `#TF` line calls its task."""
    log: str = ""
    """Where its log is, or was, in the work directory."""


def encode_event(event: Event) -> bytes:
    """Encode one event of the trace."""
    text = json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def name_process(pid: int, name: str, sort_index: int) -> list[bytes]:
    """Return the events that name a process and put it in its place."""
    return [
        _metadata("process_name", pid, pid, name=name),
        _metadata("process_sort_index", pid, pid, sort_index=sort_index),
    ]


def name_thread(pid: int, tid: int, name: str, sort_index: int) -> list[bytes]:
    """Return the events that name a thread and put it in its place."""
    return [
        _metadata("thread_name", pid, tid, name=name),
        _metadata("thread_sort_index", pid, tid, sort_index=sort_index),
    ]


def _metadata(kind: str, pid: int, tid: int, **args: object) -> bytes:
    return encode_event({"name": kind, "ph": "M", "pid": pid, "tid": tid, "args": {**args, MARK: True}})


def encode_count(pid: int, name: str, series: str, moment: int, value: float) -> bytes:
    """Encode a new value of a counter; every argument would be a series, so the mark is the category."""
    return b'{"cat":"%s","name":"%s","ph":"C","pid":%d,"ts":%d,"args":{"%s":%s}}' % (
        MARK.encode(),
        name.encode(),
        pid,
        moment,
        series.encode(),
        repr(value).encode(),
    )


def encode_span(pid: int, tid: int, begin: int, end: int, name: str, args: Event) -> bytes:
    """Encode a part of a farmer's own life."""
    place = {"pid": pid, "tid": tid, "ts": begin, "dur": end - begin}
    return encode_event(
        {"cat": "farmer", "name": shorten(name, NAME_LENGTH), "ph": "X", **place, "args": {**args, MARK: True}}
    )


def encode_arrow(number: int, source: tuple[int, int, int], target: tuple[int, int, int]) -> list[bytes]:
    """Encode an arrow between two slices.

    Parameters
    ----------
    number
        One that no other arrow has.
    source, target
        Process, thread and a time [µs since the epoch] within the slice.
    """
    return [
        b'{"cat":"%s","name":"next run","ph":"%s","id":%d,"pid":%d,"tid":%d,"ts":%d}'
        % (MARK.encode(), phase, number, pid, tid, moment)
        for phase, (pid, tid, moment) in ((b"s", source), (b'f","bp":"e', target))
    ]


def encode_slice(run: Slice) -> bytes:
    """Encode one run; formatted by hand, since a trace can have a million of them."""
    outcome = run.outcome.value
    called = f'"called":{quote(run.called)},' if run.called else ""
    is_open = run.end < run.begin
    length = '"ph":"B"' if is_open else f'"ph":"X","dur":{run.end - run.begin}'
    how = "" if run.outcome is Outcome.FINISHED else f'"cause":{quote(_cause(run))},'
    usage = ""
    if run.outcome not in (Outcome.LOST, Outcome.RUNNING, Outcome.ENDED):
        by_signal = f'"signal":"{signal_name(-run.code)}",' if run.code < 0 else ""
        usage = f'"code":{run.code},{by_signal}"cpu_s":{run.cpu!r},'
        if run.max_rss:
            usage += f'"max_rss_kib":{run.max_rss},'
    return (
        f'{{"cat":"{outcome}","name":{quote(run.name)},{length},'
        f'"pid":{run.pid},"tid":{run.tid},"ts":{run.begin},"args":{{"task":{run.task},"outcome":"{outcome}",{how}'
        f"{called}"
        f'"command":{quote(shorten(run.text, COMMAND_LENGTH))},"attempt":{run.attempt},{usage}'
        f'"log":{quote(run.log)},"{MARK}":{quote(run.farmer)}}}}}'
    ).encode("utf-8", "replace")


def _cause(run: Slice) -> str:
    """Return why a run is not a finished one."""
    if run.outcome is Outcome.RUNNING:
        return "it was running when the trace was made"
    if run.outcome is Outcome.ENDED:
        return "it died by a signal; whether it failed or a shutdown cut it short was about to be recorded"
    if run.outcome is Outcome.LOST:
        how = describe_cause(None, cause=run.cause if run.cause is Cause.NODE_LOST else Cause.FARMER_DIED)
        return f"{how}; when it ended is not known: the slice ends with the farmer's last sign of life"
    if run.outcome is Outcome.KILLED and run.cause in (None, Cause.STOPPED):
        return f"its farmer stopped: {run.reason}" if run.reason else "its farmer stopped"
    return describe_cause(run.code, cause=run.cause, peak=run.max_rss)
