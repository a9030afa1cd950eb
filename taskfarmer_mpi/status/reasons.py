"""Why a task does not run: what it waits for, in sentences for users. Nothing is locked."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from shlex import quote

from taskfarmer_mpi.changes.pause import read_pause
from taskfarmer_mpi.common.wording import count_of, list_ids, say_time
from taskfarmer_mpi.directives.book import SettingsBook, read_book
from taskfarmer_mpi.errors import FarmError, UserError
from taskfarmer_mpi.history.attempts import Attempts
from taskfarmer_mpi.history.journal_summary import JournalSummary
from taskfarmer_mpi.history.last_runs import LastRuns, TaskState
from taskfarmer_mpi.history.runs import FarmerHistory, FarmerState, Outcome
from taskfarmer_mpi.policies.rules import Rules, read_rules
from taskfarmer_mpi.policies.settings import LAST_STAGE
from taskfarmer_mpi.visits.barriers import say_failed_check
from taskfarmer_mpi.workdir.configuration import read_config
from taskfarmer_mpi.workdir.files import Workdir, read_file, reading
from taskfarmer_mpi.workdir.journal_reading import JournalReader
from taskfarmer_mpi.workdir.lists import ids_in, split_line

_BARRIER = re.compile(rb"#TF[ \t]+barrier\b")
_ENDED = (TaskState.FINISHED, TaskState.FAILED, TaskState.REMOVED)


def find_reasons(workdir: Workdir, last_runs: LastRuns, task: int) -> list[str]:
    """Return why a task does not run, the most important reason first; nothing if it runs or has ended.

    Raises
    ------
    FarmError
        If a file cannot be read.
    """
    state = last_runs.state(task)
    if state is TaskState.TO_DO:
        return [*_for_all(workdir, last_runs.histories), *_on_the_list(workdir, last_runs, task)]
    if state is TaskState.TAKEN:
        return list(_in_hands(workdir, last_runs, task))
    if state is TaskState.NOBODY:
        return ["it is in no list and no journal: a PyTaskFarmer has it or had it, or it was cut out of the list; --reclaim"]
    if state is TaskState.REMOVED:
        return ["it was taken off the list (remove, cancel, --accept-changes): taskfarmer-ctl add adds its command anew"]
    return []


def failed_check(workdir: Workdir) -> str:
    """Say which task failed before a `#TF barrier check` that all tasks on the lists are behind; nothing if it is not so.

    Raises
    ------
    FarmError
        If a file cannot be read.
    """
    with reading(workdir.path):
        failed = ids_in(read_file(workdir.failed) or b"")
        left = [task for path in (workdir.toprocess, workdir.added) for task in ids_in(read_file(path) or b"")]
    book = read_book(workdir)
    if not (left and book.has_barriers):
        return ""
    checked = min((settings.stage, settings.checked) for settings in map(book.of, left))[1]
    found = sorted({task for task in failed if book.of(task).stage < checked})
    return say_failed_check(found) if found else ""


def _for_all(workdir: Workdir, histories: list[FarmerHistory]) -> Iterator[str]:
    """Yield why no task is taken at all."""
    place = quote(str(workdir.path))
    with reading(workdir.path):
        halted, paused = read_file(workdir.halted), read_pause(workdir)
    if halted is not None:
        reason = halted.decode("utf-8", "replace").strip()
        yield f"all farmers are halted: {reason}; to go on: taskfarmer-mpi --halt never --workdir {place}"
    if paused:
        yield f"{paused}: taskfarmer-ctl resume {place}"
    if not any(_is_at_work(history) for history in histories):
        yield f"no farmer is at work: taskfarmer-mpi --workdir {place}"


def _is_at_work(history: FarmerHistory) -> bool:
    return history.state in (FarmerState.ALIVE, FarmerState.UNKNOWN) and history.identity.slots > 0


def _on_the_list(workdir: Workdir, last_runs: LastRuns, task: int) -> Iterator[str]:
    book = read_book(workdir)
    yield from _closed_barrier(workdir, last_runs, book, task)
    yield from _full_limit(workdir, last_runs, book, task)
    before = _count_before(workdir, task)
    farmers = [history for history in last_runs.histories if _is_at_work(history)]
    for history in farmers:
        summary = JournalSummary(history.path)
        with suppress(OSError):
            summary.advance()
        if reason := summary.aside or summary.waiting:
            yield f"{history.identity.label} takes no task now: {reason}"
    if farmers:
        yield f"it waits on the list, where {count_of(before, 'task')} {'is' if before == 1 else 'are'} before it"


def _count_before(workdir: Workdir, task: int) -> int:
    """Return how many tasks are taken before one; added ones come after those of the tasklist."""
    before = 0
    for path in (workdir.toprocess, workdir.added):
        with reading(path):
            found = [split_line(line[:-1])[0] for line in io.BytesIO(read_file(path) or b"")]
        if task in found:
            return before + len(found) - 1 - found.index(task)  # the next one is the last of the list
        before += len(found)
    return before


def _closed_barrier(workdir: Workdir, last_runs: LastRuns, book: SettingsBook, task: int) -> Iterator[str]:
    settings = book.of(task)
    if not settings.stage:
        return
    before = [(other, last_runs.state(other)) for other in range(len(last_runs)) if book.of(other).stage < settings.stage]
    awaited = [other for other, state in before if state not in _ENDED]
    if awaited:
        where = "" if settings.stage == LAST_STAGE else f" at the barrier {_barrier_place(workdir, settings.stage)}"
        yield f"it waits{where} for {count_of(len(awaited), 'task')}: {list_ids(awaited)}"
    failed = [o for o, state in before if state is TaskState.FAILED and book.of(o).stage < settings.checked]
    if failed:
        place = _barrier_place(workdir, settings.checked)
        yield f"#TF barrier check {place}: failed before it: {list_ids(failed)}; to go on: taskfarmer-ctl retry"


def _barrier_place(workdir: Workdir, stage: int) -> str:
    """Say where the barrier before a stage is."""
    with suppress(UserError, OSError):
        stored = read_config(workdir)
        lines = (read_file(Path(os.path.realpath(stored.tasklist))) or b"").split(b"\n") if stored is not None else []
        numbers = [number for number, line in enumerate(lines, 1) if _BARRIER.match(line)]
        if stage <= len(numbers):
            return f"of line {numbers[stage - 1]}"
    return f"number {stage}"


def _full_limit(workdir: Workdir, last_runs: LastRuns, book: SettingsBook, task: int) -> Iterator[str]:
    name = book.of(task).limit
    if not name:
        return
    limits = _rules(workdir).limits
    if name not in limits:
        yield f"limit={name}: the farm knows of no --limit {name}=N"
        return
    holders = [
        other
        for other in range(len(last_runs))
        if last_runs.state(other) in (TaskState.TAKEN, TaskState.RUNNING) and book.of(other).limit == name
    ]
    if len(holders) >= limits[name]:
        yield f"limit={name} is full: {limits[name]} may run at once (--limit), and farmers have {list_ids(holders)}"


def _rules(workdir: Workdir) -> Rules:
    with suppress(UserError):
        stored = read_config(workdir)
        return read_rules(stored.rules) if stored is not None else Rules()
    return Rules()


def _in_hands(workdir: Workdir, last_runs: LastRuns, task: int) -> Iterator[str]:
    """Yield whose task it is, and why that farmer does not run it."""
    for history in last_runs.histories:
        if history.state is FarmerState.GONE:
            continue
        reader = JournalReader(history.path)
        with suppress(FarmError, OSError):
            reader.advance()
        if reader.state is None or task not in {*reader.state.held, *reader.state.ended}:
            continue
        who = history.identity.label
        if history.state is FarmerState.DEAD:
            yield f"it is in the hands of {who}, which died: it goes back to the list when a farmer starts or has no work"
        elif task in reader.state.ended:
            yield f"it has ended; {who} is about to record that"
        elif number := max((number for tried, number in reader.state.tried if tried == task), default=0):
            yield _say_pause(workdir, last_runs, task, number, who)
        else:
            yield f"it waits for a slot of {who}"


def _say_pause(workdir: Workdir, last_runs: LastRuns, task: int, number: int, who: str) -> str:
    """Say when a task is tried again whose attempt of that number failed."""
    attempts = Attempts(workdir.attempts)
    with suppress(OSError):
        attempts.advance()
    run = last_runs.last_run(task)
    said = f"attempt {number} failed, and another one follows: {who} puts it back on the list"
    if run is None or run.end is None or run.outcome is not Outcome.FAILED:
        return said
    before = attempts.failures(task) - (attempts.count(task) >= number)
    pause = _rules(workdir).retries.pause_of(max(before, 0))
    return f"{said} about {say_time(run.end + pause, run.end)} (--retry-delay)" if pause else said
