"""The last failed run of each of some tasks, by all journals, and the failures grouped by cause and node."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from taskfarmer_mpi.common.causes import Cause, cause_of, describe_cause
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.common.wording import last_lines
from taskfarmer_mpi.errors import FarmError
from taskfarmer_mpi.logs.reading import Logs
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.journal_reading import all_journals, open_journal, read_last_records, read_records
from taskfarmer_mpi.workdir.journal_records import read_identity

LOGS = 1000
"""How many logs are looked at to group failures; a file server may need a millisecond for each."""
WIDTH = 100
"""How much of a log's last line is shown [characters]."""
_BLOCK = 4 * 1024 * 1024
_FAILED_END = re.compile(
    rb'\{"ev":"end","t":[\d.]+,"id":(\d+),"slot":\d+,"begin":[\d.]+,"end":([\d.]+),"rc":(-?[1-9]\d*),"cpu":[\d.]+,"rss":(\d+)(?:,"cause":"([^"\n]*)")?'
)


class FailedRun(NamedTuple):
    """A run that failed, as its farmer's journal has it."""

    returncode: int
    """Exit code, or minus the number of the signal that ended it."""
    host: str
    end: float
    """By rank 0's clock [s since the epoch]."""
    cause: Cause | None = None
    max_rss: int = 0
    """Peak memory of its largest process [KiB]; 0 if it is not known."""
    death: Cause | None = None
    """What became of its farmer, if that is why it failed."""


def read_failed_runs(workdir: Workdir, tasks: Collection[int]) -> dict[int, FailedRun]:
    """Return the last failed run of each of some tasks; what no journal tells, or one that cannot be read, is left out."""
    wanted = set(tasks)
    found: dict[int, FailedRun] = {}
    if not wanted:
        return found
    for path in all_journals(workdir.farmers):
        try:
            record = next(read_records(path), None)
            if record is None:
                continue
            who = read_identity(record, path)
            with open_journal(path) as file:
                while block := file.read(_BLOCK) + file.readline():
                    for match in _FAILED_END.finditer(block):
                        task, end = int(match[1]), float(match[2]) + who.clock_offset
                        if task in wanted and (task not in found or found[task].end <= end):
                            code, word = int(match[3]), match[5].decode("utf-8", "replace") if match[5] else None
                            cause = cause_of(code, word)
                            death = _death(path) if cause is Cause.CRASHES else None
                            found[task] = FailedRun(code, who.host, end, cause, int(match[4]), death)
        except (FarmError, OSError):
            continue
    return found


def _death(path: Path) -> Cause:
    """Return how a dead farmer died."""
    is_lost = any(record["ev"] == "gone" for record in read_last_records(path))
    return Cause.NODE_LOST if is_lost else Cause.FARMER_DIED


class FailureGroup(Value):
    """Failures of one kind."""

    cause: str
    """In words, with the last line of a log if there is one."""
    tasks: list[int]
    hosts: list[str]
    """Where they ran, most of them first; a host that no journal tells is left out."""
    returncode: int | None = None
    """Exit code, or minus the number of the signal that ended them; None if no journal tells."""


def group_failures(workdir: Workdir, tasks: Iterable[int], runs: Mapping[int, FailedRun]) -> list[FailureGroup]:
    """Group failed tasks by cause, exit code or signal, last line of the log, and node; the largest group first.

    Lines that differ only in numbers count as the same. Of many logs only the first `LOGS` are read; the other tasks are in
    groups without a line. Groups of one cause on several nodes are one group.
    """
    tasks = list(tasks)
    logs = Logs(workdir, tasks[:LOGS])
    kinds: dict[tuple[Cause | None, int | None, str], tuple[bytes, str, list[int]]] = {}
    for number, task in enumerate(tasks):
        code, kind = (runs[task].returncode, runs[task].cause) if task in runs else (None, None)
        head, tail = logs.ends(task) if number < LOGS else (b"", b"")
        cause = describe_cause(code, head, kind)
        line = "".join(last_lines(tail, 1, WIDTH)) if not cause.startswith("could not be started") else ""
        key = (kind, code, re.sub(r"\d+", "#", line or cause))
        kinds.setdefault(key, (head, line, []))[2].append(task)
    groups = []
    for (kind, code, _), (head, line, ids) in kinds.items():
        peak = max((runs[task].max_rss for task in ids if task in runs), default=0)
        cause = describe_cause(code, head, kind, peak)
        groups.append(FailureGroup(f'{cause}, "{line}"' if line else cause, ids, _hosts(ids, runs), code))
    return sorted(groups, key=lambda group: -len(group.tasks))


def _hosts(tasks: Iterable[int], runs: Mapping[int, FailedRun]) -> list[str]:
    return [host for host, _ in Counter(runs[task].host for task in tasks if task in runs).most_common()]
