"""Proves from files alone that a list of tasks was worked through as promised.

    python tests/checker.py WORKDIR NOTES TASKLIST
    python tests/checker.py --processes NAME=VALUE      # is a process left that has this in its environment?

It reads the files of the work directory and the notes, and nothing of taskfarmer_mpi. Notes are empty files whose names say
all. A task leaves, with ``O_EXCL``, one per event (RUN is unique, LABEL is the launch that it belongs to):

    ID.RUN.start.LABEL      it began; the file's time is when
    ID.RUN.end.CODE         it ended by itself
    ID.RUN.beat             it lived; the file's time is when it did last

Whoever disturbs farmers leaves `excused.LABEL.REASON` (killed, cut off, told to stop: what ran there may run again),
`retried.ID` (it was asked to run again) and `unwanted.ID` (it was asked not to run: it may be removed, or ended).
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

CLOCK_STEP = 0.02
"""What times of files may differ by where two events follow each other [s]."""
_LINE = re.compile(rb"(0|[1-9][0-9]*) (.*)", re.DOTALL)
_REMOVED = re.compile(rb"(0|[1-9][0-9]*) (?:removed|cancelled) (.*)", re.DOTALL)


@dataclass
class _Run:
    start: float
    """[s since the epoch]"""
    label: str
    code: int | None = None
    """Its exit code; None if it did not come to its end."""
    last_sign: float = 0.0
    """When it lived for certain for the last time [s since the epoch]."""


@dataclass
class _Notes:
    runs: dict[int, list[_Run]] = field(default_factory=dict)
    excused: set[str] = field(default_factory=set)
    retried: dict[int, float] = field(default_factory=dict)
    """When a task was asked for again, or that came to its end, for the last time [s since the epoch]."""
    unwanted: dict[int, float] = field(default_factory=dict)
    """The same of one that was asked not to run."""


def faults(workdir: Path, notes: Path, tasklist: Path) -> list[str]:
    """Return all that is wrong, one sentence each; nothing if the promise was kept."""
    try:
        tasks = _read_tasks(workdir, tasklist)
        read = _read_notes(notes)
        recorded: dict[int, str] = {}
        return [
            *_faults_of_lists(workdir, tasks, recorded),
            *_faults_of_outcomes(read, recorded),
            *_faults_of_stacks(workdir),
            *_faults_of_runs(tasks, read, recorded),
            *_faults_of_timeline(workdir),
        ]
    except (OSError, ValueError) as error:
        return [f"cannot be read: {error}"]


def _read_tasks(workdir: Path, tasklist: Path) -> list[bytes]:
    lines = tasklist.read_bytes().split(b"\n")
    tasks = [line.strip() for line in lines if line.strip() and not line.startswith(b"#")]
    added = workdir / "tasks.added"
    if added.exists():
        texts = {}
        for line in added.read_bytes().splitlines():
            task_id, _, text = line.split(b" ", 2)
            texts[int(task_id)] = text
        listed = min(texts, default=len(tasks))
        tasks = tasks[:listed] + [texts[task_id] for task_id in sorted(texts)]
    return tasks


def _read_notes(folder: Path) -> _Notes:
    notes = _Notes()
    runs: dict[str, _Run] = {}
    names = sorted(os.listdir(folder))
    for name in names:
        first, _, rest = name.partition(".")
        if first == "excused":
            notes.excused.add(rest.partition(".")[0])
        elif first in ("retried", "unwanted"):
            (notes.retried if first == "retried" else notes.unwanted)[int(rest)] = (folder / name).stat().st_mtime
        elif ".start." in name:
            run, _, label = name.partition(".start.")
            runs[run] = _Run((folder / name).stat().st_mtime, label)
            notes.runs.setdefault(int(first), []).append(runs[run])
    for name in names:
        run, kind, rest = _split(name)
        if kind in ("end", "beat"):
            if run not in runs:
                raise ValueError(f"{name}: this run has no beginning")
            runs[run].last_sign = max(runs[run].last_sign, (folder / name).stat().st_mtime)
            if kind == "end":
                runs[run].code = int(rest)
    for of_task in notes.runs.values():
        of_task.sort(key=lambda run: run.start)
    return notes


def _split(name: str) -> tuple[str, str, str]:
    """Return run, kind and the rest of a name."""
    words = name.split(".", 3)
    return (".".join(words[:2]), words[2], words[3] if len(words) > 3 else "") if len(words) > 2 else (name, "", "")


def _faults_of_lists(workdir: Path, tasks: list[bytes], recorded: dict[int, str]) -> Iterator[str]:
    """Return what is wrong with the lists of outcomes, and note in which of them each task is."""
    for name in ("finished", "failed", "removed"):
        for task_id, fault in _read_list(workdir / name, tasks):
            if fault:
                yield fault
            elif task_id in recorded:
                yield f"task {task_id} is recorded more than once: in {recorded[task_id]} and {name}"
            else:
                recorded[task_id] = name
    missing = sorted(set(range(len(tasks))) - recorded.keys())
    if missing:
        yield f"not recorded: {missing[:20]} ({len(missing)} tasks)"


def _faults_of_outcomes(notes: _Notes, recorded: dict[int, str]) -> Iterator[str]:
    for task_id, name in sorted(recorded.items()):
        runs = notes.runs.get(task_id, [])
        codes = [run.code for run in runs if run.code is not None]
        if name == "removed":
            if task_id not in notes.unwanted:
                yield f"task {task_id} was removed, and nobody asked for that"
            if runs and runs[-1].label not in notes.excused and runs[-1].start > notes.retried.get(task_id, 0.0):
                yield f"task {task_id} was removed, though {runs[-1].label} ran it and nothing happened to it"
        elif codes and (name == "finished") != (codes[-1] == 0) and not (name == "failed" and task_id in notes.unwanted):
            yield f"task {task_id} is in {name}, but ended with {codes[-1]}"


def _faults_of_stacks(workdir: Path) -> Iterator[str]:
    for name in ("toprocess", "toprocess.added"):
        path = workdir / name
        if name == "toprocess" and not path.exists():
            yield "toprocess is missing: for PyTaskFarmer everything is to do"
        elif path.exists() and path.read_bytes():
            yield f"{name} is not empty: {path.read_bytes()[:60]!r}"


def _read_list(path: Path, tasks: list[bytes]) -> Iterator[tuple[int, str]]:
    """Return IDs, or what is wrong with a line."""
    data = path.read_bytes() if path.exists() else b""
    if data and not data.endswith(b"\n"):
        yield -1, f"{path.name} ends with a torn line: {data[-60:]!r}"
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        match = (_REMOVED if path.name == "removed" else _LINE).fullmatch(line)
        task_id = int(match[1]) if match else -1
        if not match or task_id >= len(tasks) or match[2] != tasks[task_id]:
            yield -1, f"{path.name}:{number} is not a line of a task: {line[:80]!r}"
        else:
            yield task_id, ""


def _faults_of_runs(tasks: list[bytes], notes: _Notes, recorded: dict[int, str]) -> Iterator[str]:
    for task_id in range(len(tasks)):
        runs = notes.runs.get(task_id, [])
        was_ended = task_id in notes.unwanted and (runs or recorded.get(task_id) == "removed")
        if not was_ended and not any(run.code is not None for run in runs):
            yield f"task {task_id} never ran to its end ({len(runs)} runs)"
        for earlier, later in pairwise(runs):
            if earlier.last_sign > later.start + CLOCK_STEP:
                yield (
                    f"task {task_id} ran twice at once: {earlier.label} was at it for "
                    f"{earlier.last_sign - later.start:.2f} s after {later.label} began"
                )
            if earlier.label not in notes.excused and task_id not in notes.retried:
                yield f"task {task_id} ran again, though nothing happened to {earlier.label}"
    strangers = sorted(notes.runs.keys() - set(range(len(tasks))))
    if strangers:
        yield f"runs of tasks that do not exist: {strangers}"


def _faults_of_timeline(workdir: Path) -> Iterator[str]:
    try:
        events = json.loads((workdir / "timeline.json").read_bytes())
    except (OSError, ValueError) as error:
        yield f"timeline.json: {error}"
        return
    if not isinstance(events, list):
        yield "timeline.json is no list"
    elif repeated := [task for task, count in _finished_slices(events).items() if count > 1]:
        yield f"timeline.json has more than one end of: {sorted(repeated)[:20]}"


def _finished_slices(events: list[object]) -> Counter[int]:
    """Count the runs of ours that count, by task."""
    counts: Counter[int] = Counter()
    for event in events:
        arguments = event.get("args") if isinstance(event, dict) else None
        if isinstance(arguments, dict) and arguments.get("outcome") == "finished" and "task" in arguments:
            counts[int(arguments["task"])] += 1
    return counts


def processes_with(mark: str) -> list[str]:
    """Return the processes in whose environment a mark is."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.name != str(os.getpid()) and mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(
                    f"{folder.name} {(folder / 'cmdline').read_bytes().replace(bytes(1), b' ').decode(errors='replace')}"
                )
        except OSError:
            continue
    return found


def main() -> int:
    """Check one work directory, or look for processes; print what is wrong."""
    words = sys.argv[1:]
    found = processes_with(words[1]) if words[0] == "--processes" else faults(*map(Path, words[:3]))
    print("\n".join(found) or "nothing is wrong")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
