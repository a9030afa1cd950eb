"""What a report shows, collected from the files of a work directory."""

from __future__ import annotations

import heapq
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice

from taskfarmer_mpi.common.causes import Cause, describe_cause
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.directives.book import read_names
from taskfarmer_mpi.history.failures import Failure, tell_failure
from taskfarmer_mpi.history.last_runs import NO_CODE, LastRuns, TaskState, Watcher, read_last_runs
from taskfarmer_mpi.history.runs import Attempt, FarmerHistory, FarmerState, Outcome
from taskfarmer_mpi.logs.reading import Logs
from taskfarmer_mpi.report.advice import Cut, Facts, Tail, choose_advice, find_cut, find_tail
from taskfarmer_mpi.report.repeats import Repeats
from taskfarmer_mpi.report.slot_usage import BINS, SlotUsage
from taskfarmer_mpi.report.time_axis import Axis
from taskfarmer_mpi.workdir.files import Workdir

LONGEST = 10
"""How many of the longest tasks are shown."""
FAILURES = 30
"""How many of the last failures are shown."""
LOG_LINES = 12
"""How many lines of their logs."""


class LongTask(Value):
    """One of the longest tasks."""

    task: int
    command: str
    duration: float
    """[s]"""
    host: str
    returncode: int | None
    """None if nobody knows."""
    cause: Cause | None
    cpu: float
    """[s]"""
    max_rss: int
    """[KiB]; 0 if it is not known."""
    name: str
    """What a `#TF` line calls it; empty for most tasks."""


class FarmerLine(Value):
    """One farmer."""

    history: FarmerHistory
    left: float
    """When it was seen last [s since the epoch]."""
    busy_time: float
    """Slot time in which its tasks ran [s]."""
    runs: Counter[Outcome]

    @property
    def life(self) -> float:
        """How long it lived [s]."""
        return max(self.left - self.history.born, 0.0)

    @property
    def busy_share(self) -> float:
        """Which part of its slot time was used, from 0 to 1."""
        offered = self.life * self.history.identity.slots
        return min(self.busy_time / offered, 1.0) if offered else 0.0


class Report(Value):
    """Everything that the page shows, as numbers and foreign text."""

    workdir: Workdir
    moment: float
    """When the files were read [s since the epoch]."""
    states: dict[TaskState, int]
    farmers: list[FarmerLine]
    axis: Axis
    packing: SlotUsage
    tail: Tail
    advice: str
    durations: Sequence[float]
    """What the last runs of all tasks took, sorted [s]."""
    longest: list[LongTask]
    causes: list[tuple[str, int]]
    """Why tasks failed, and how many, the most frequent first."""
    repeats: list[tuple[str, int]]
    """Why runs ended that were not the end of their tasks, and how many, the most frequent first."""
    failures: list[Failure]
    """The last ones, the youngest first."""
    last_runs: LastRuns
    warnings: list[str]

    @property
    def busy_share(self) -> float:
        """Which part of the slot time was used, from 0 to 1."""
        offered = self.packing.offered_time
        return min(self.packing.busy_time / offered, 1.0) if offered else 0.0


class _Collector:
    """Sees all runs: how the slots were packed, and what each farmer did."""

    def __init__(self, histories: list[FarmerHistory], now: float) -> None:
        self.lives = [(history.born, _left(history, now)) for history in histories]
        self.axis = Axis(self.lives)
        self.packing = SlotUsage(self.axis, self.lives, [history.identity.slots for history in histories])
        self.runs: list[Counter[Outcome]] = [Counter() for _ in histories]
        self.repeats = Repeats()

    def see(self, farmer: int, run: Attempt) -> None:
        """Take a run into account."""
        self.packing.see(farmer, run)
        self.runs[farmer][run.outcome] += 1
        self.repeats.see(run)


def _left(history: FarmerHistory, now: float) -> float:
    """Return when a farmer was seen last [s since the epoch]."""
    if history.state in (FarmerState.ALIVE, FarmerState.UNKNOWN):
        return max(now, history.born)
    return history.last_moment()


def make_report(workdir: Workdir) -> Report:
    """Collect a report.

    Raises
    ------
    FarmError
        If a list cannot be read.
    """
    now = time.time()
    collectors: list[_Collector] = []

    def watch(histories: list[FarmerHistory]) -> Watcher:
        collectors.append(_Collector(histories, now))
        return collectors[0].see

    last_runs, warnings = read_last_runs(workdir, watch)
    collector = collectors[0]
    runs = _Runs(last_runs)
    states = {state: last_runs.count(state) for state in TaskState}
    tail = _tail(collector, states)
    name_of = read_names(workdir)
    return Report(
        workdir=workdir,
        moment=now,
        states=states,
        farmers=_farmer_lines(last_runs, collector),
        axis=collector.axis,
        packing=collector.packing,
        tail=tail,
        advice=choose_advice(_facts(last_runs, collector, runs, states, tail)),
        durations=sorted(runs.durations),
        longest=_longest(last_runs, runs, name_of),
        causes=runs.kinds(),
        repeats=collector.repeats.in_words(last_runs),
        failures=_failures(last_runs, workdir, name_of),
        last_runs=last_runs,
        warnings=warnings,
    )


class _Runs:
    """The last runs of all tasks that ended, in columns."""

    def __init__(self, last_runs: LastRuns) -> None:
        self.tasks = array("q")
        self.begins = array("d")
        self.durations = array("d")
        self.codes = array("i")
        self.causes: list[Cause | None] = []
        self._last_runs = last_runs
        for task, begin, duration, code, cause in last_runs.ended_runs():
            self.tasks.append(task)
            self.begins.append(begin)
            self.durations.append(duration)
            self.codes.append(code)
            self.causes.append(cause)

    def kinds(self) -> list[tuple[str, int]]:
        """Return why runs failed, in words, and how many, the most frequent first."""
        peaks: dict[tuple[int, Cause | None], list[int]] = {}
        for task, code, cause in zip(self.tasks, self.codes, self.causes, strict=True):
            if code:
                peaks.setdefault((code, cause), []).append(self._last_runs.max_rss(task))
        kinds = sorted(peaks.items(), key=lambda kind: -len(kind[1]))
        return [
            (describe_cause(None if code == NO_CODE else code, cause=cause, peak=max(found)), len(found))
            for (code, cause), found in kinds
        ]

    def in_order_of_begins(self, first: float) -> list[float]:
        """Return the durations of those that began at `first` or later [s since the epoch], in this order."""
        chosen = [i for i, begin in enumerate(self.begins) if begin >= first]
        chosen.sort(key=self.begins.__getitem__)
        return [self.durations[i] for i in chosen]


def _is_done(states: dict[TaskState, int]) -> bool:
    return not (states[TaskState.TO_DO] or states[TaskState.TAKEN] or states[TaskState.RUNNING])


def _tail(collector: _Collector, states: dict[TaskState, int]) -> Tail:
    """Return the tail of the last session; none while there is work left."""
    if not collector.axis.sessions or not _is_done(states):
        return Tail(0.0, 0.0, 0.0)
    width = collector.axis.length / BINS
    first = int(collector.axis.sessions[-1].offset / width) if width else 0
    everyone = list(range(len(collector.lives)))
    return find_tail(collector.packing.busy(everyone)[first:], collector.packing.offered.values()[first:], width)


def _facts(last_runs: LastRuns, collector: _Collector, runs: _Runs, states: dict[TaskState, int], tail: Tail) -> Facts:
    session = collector.axis.sessions[-1] if collector.axis.sessions else None
    first = session.begin if session else 0.0
    slots = [(history.born - first, history.identity.slots) for history in last_runs.histories if history.born >= first]
    failed = [duration for duration, code in zip(runs.durations, runs.codes, strict=True) if code]
    cause = next((cause for cause, _ in runs.kinds() if cause != describe_cause(None)), "")
    return Facts(
        is_done=_is_done(states),
        durations=runs.in_order_of_begins(first),
        births=[born for born, count in slots for _ in range(count)],
        span=session.length if session else 0.0,
        busy_time=collector.packing.busy_time,
        offered_time=collector.packing.offered_time,
        tail=tail,
        ended=len(runs.tasks),
        failed=len(failed),
        failed_time=sum(failed),
        main_cause=cause,
        spoilt=_spoilt(last_runs.histories, collector),
    )


def _spoilt(histories: list[FarmerHistory], collector: _Collector) -> dict[Cut, float]:
    """Return the slot time of runs that were cut short, by what did it [s]."""
    found: dict[Cut, float] = {}
    for (farmer, outcome), seconds in collector.packing.spoilt_times.items():
        history = histories[farmer]
        reason = None if outcome is Outcome.LOST else history.stop_reason()
        cut = find_cut(reason, is_in_batch_job=bool(history.identity.job))
        found[cut] = found.get(cut, 0.0) + seconds
    return found


def _farmer_lines(last_runs: LastRuns, collector: _Collector) -> list[FarmerLine]:
    rows = zip(last_runs.histories, collector.lives, collector.packing.busy_times, collector.runs, strict=True)
    return [FarmerLine(history, left, busy, runs) for history, (_, left), busy, runs in rows]


def _longest(last_runs: LastRuns, runs: _Runs, name_of: Callable[[int], str]) -> list[LongTask]:
    found = heapq.nlargest(LONGEST, range(len(runs.tasks)), key=runs.durations.__getitem__)
    lines = []
    for i in found:
        task = runs.tasks[i]
        history = last_runs.farmer(task)
        host = history.identity.host if history else ""
        code = None if runs.codes[i] == NO_CODE else runs.codes[i]
        run = last_runs.last_run(task)
        cpu, max_rss = (run.cpu, run.max_rss) if run else (0.0, 0)
        text, duration, cause = last_runs.texts[task], runs.durations[i], runs.causes[i]
        lines.append(LongTask(task, text, duration, host, code, cause, cpu, max_rss, name_of(task)))
    return lines


def _failures(last_runs: LastRuns, workdir: Workdir, name_of: Callable[[int], str]) -> list[Failure]:
    """Return the last failed tasks, the youngest first."""
    ends = reversed(last_runs.in_order_of_ends())
    failed = list(islice((task for task in ends if last_runs.state(task) is TaskState.FAILED), FAILURES))
    logs = Logs(workdir, failed)
    found = []
    for task in failed:
        history = last_runs.farmer(task)
        who = history.identity if history else None
        run, text = last_runs.last_run(task), last_runs.texts[task]
        found.append(tell_failure(logs, task, text, who, run, LOG_LINES, name_of(task)))
    return found
