"""Whether a PyTaskFarmer may have had a task that is in no list and in no journal; else somebody cut it out of a list.

A PyTaskFarmer opens a task's log as soon as it has taken the task, and writes an event of each task that it ends.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import closing, suppress
from pathlib import Path

from taskfarmer_mpi.errors import FarmError
from taskfarmer_mpi.history.pytaskfarmer_events import Snapshot
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.journal_reading import all_journals, open_journal, read_last_records
from taskfarmer_mpi.workdir.journal_records import parse_record, read_identity

_RUN = re.compile(rb'\{"ev":"(begin|end|killed)","t":([\d.]+),"id":(\d+),')
_TOLERANCE = 2.0
"""How much later than a run of ours ended its log may have been written: clocks differ, and so do moments [s]."""


def has_plain_signs(workdir: Workdir, tasks: Collection[int]) -> bool:
    """Whether a PyTaskFarmer ever ended a task here, or may have begun one of these tasks."""
    written = {}
    for task in tasks:
        with suppress(OSError):
            written[task] = workdir.log(task).stat().st_mtime
    return _is_begun(workdir, written) or _has_events(workdir)


def _has_events(workdir: Workdir) -> bool:
    with closing(Snapshot(workdir.timeline)) as snapshot:
        return next(snapshot.events(), None) is not None or snapshot.trouble is not None


def _is_begun(workdir: Workdir, written: dict[int, float]) -> bool:
    """Whether one of these logs was written when no farmer of ours ran its task; times in s since the epoch."""
    known: dict[int, float] = {}
    for path in all_journals(workdir.farmers) if written else ():
        with suppress(OSError, FarmError, KeyError):
            for task, moment in _last_moments(path, written).items():
                known[task] = max(moment, known.get(task, moment))
    return any(moment > known.get(task, 0.0) + _TOLERANCE for task, moment in written.items())


def _last_moments(path: Path, tasks: Collection[int]) -> dict[int, float]:
    """Return until when a farmer ran each of these tasks [s since the epoch]."""
    last: dict[int, tuple[bytes, float]] = {}
    with open_journal(path) as file:
        first = parse_record(file.readline())
        if first is None:
            return {}
        offset = read_identity(first, path).clock_offset
        for line in file:
            match = _RUN.match(line)
            if match and int(match[3]) in tasks:
                last[int(match[3])] = match[1], float(match[2])
    end = max((record["t"] for record in read_last_records(path)), default=0.0)
    return {task: offset + (end if kind == b"begin" else moment) for task, (kind, moment) in last.items()}
