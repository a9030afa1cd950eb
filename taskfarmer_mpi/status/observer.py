"""Looks at a farm: its lists, its journals and who lives. Nothing is locked, and no tasklist handler is needed."""

from __future__ import annotations

import time
from operator import attrgetter, itemgetter

from taskfarmer_mpi.changes.pause import read_pause
from taskfarmer_mpi.common.causes import cause_of
from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.history.failures import Failure, last_failed, tell_failure
from taskfarmer_mpi.history.journal_summary import JournalSummary
from taskfarmer_mpi.history.plain_signs import has_plain_signs
from taskfarmer_mpi.history.runs import Attempt, FarmerHistory, FarmerState, Outcome, read_histories
from taskfarmer_mpi.history.task_states import Place, TaskStates
from taskfarmer_mpi.history.task_texts import count_tasks, read_some_texts
from taskfarmer_mpi.status.snapshot import FORMAT, Counts, FarmerStatus, RunningTask, Status
from taskfarmer_mpi.workdir.configuration import Stored, read_config
from taskfarmer_mpi.workdir.files import Workdir, reading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.logs.reading import Logs

WINDOW = 60.0
"""The rate is that of this last time [s], or of a longer one in which a farmer ended `ENOUGH` runs."""
ENOUGH = 20
SHOWN_IDS = 20
"""How many tasks in nobody's hands are named."""
LOG_LINES = 4
"""How many lines of a failed task's log are shown."""


class Observer:
    """Looks at one work directory, again and again: each `look` reads only what has come since the last one."""

    def __init__(self, workdir: Workdir) -> None:
        self._workdir = workdir
        self._states = TaskStates(workdir)
        self._commands: dict[int, str] = {}

    def look(self, failures: int) -> Status:
        """Return what the farm looks like now.

        Parameters
        ----------
        failures
            How many of the last failures to tell of.

        Raises
        ------
        FarmError
            If a list cannot be read.
        """
        warnings: list[str] = []
        stored = _read_config(self._workdir, warnings)
        failed = last_failed(self._workdir, failures)
        self._states.look(count_tasks(self._workdir, stored), failed.keys())
        now = time.time()
        histories, troubles = read_histories(self._workdir)
        warnings += dict.fromkeys([*troubles, *self._states.troubles])
        # One without slots is a command that moves tasks: of interest only if it died at that.
        seen = [history for history in histories if history.identity.slots or history.state is not FarmerState.ALIVE]
        pairs = [(history, summary) for history in seen if (summary := self._summary_of(history)) is not None]
        running = self._running(pairs, stored)
        farmers = [self._farmer(history, summary, running, now) for history, summary in pairs]
        counts = self._count(len(running))
        known_rates = [farmer.rate for farmer in farmers if farmer.rate is not None]
        rate = sum(known_rates) if known_rates else None
        nobody = self._states.at(Place.NOWHERE, SHOWN_IDS)
        unsettled = counts.to_do + counts.taken + counts.running
        return Status(
            format=FORMAT,
            workdir=str(self._workdir.path),
            time=now,
            tasks=counts,
            nobody=nobody,
            may_be_plain=bool(nobody) and has_plain_signs(self._workdir, nobody),
            rate=rate,
            left=0.0 if not unsettled else unsettled / rate if rate else None,
            farmers=farmers,
            running=running,
            failures=self._failures(failed, pairs),
            warnings=warnings,
            paused=self._pause(),
        )

    def _pause(self) -> str:
        with reading(self._workdir.paused):
            return read_pause(self._workdir)

    def _summary_of(self, history: FarmerHistory) -> JournalSummary | None:
        return self._states.summaries.get(history.path.stem)

    def _count(self, running: int) -> Counts:
        where = self._states
        held = where.count(Place.HELD)
        return Counts(
            total=len(where.places),
            finished=where.count(Place.FINISHED),
            failed=where.count(Place.FAILED),
            running=running,
            taken=held - running,
            to_do=where.count(Place.TO_DO),
            nobody=where.count(Place.NOWHERE),
            removed=where.count(Place.REMOVED),
        )

    def _running(self, pairs: list[tuple[FarmerHistory, JournalSummary]], stored: Stored | None) -> list[RunningTask]:
        """Return what runs now, in the order of the starts; what was recorded since the journal was read does not count."""
        places = self._states.places
        found = []
        for history, summary in pairs:
            if history.state in (FarmerState.ALIVE, FarmerState.UNKNOWN):
                who = history.identity
                for run in summary.running():
                    if run.task_id < len(places) and places[run.task_id] == Place.HELD:
                        begin = run.begin + who.clock_offset
                        found.append(RunningTask(run.task_id, who.farmer, who.host, who.rank, run.slot, begin, ""))
        commands = self._commands_of({run.task for run in found}, stored)
        found = [replace(run, command=commands.get(run.task, f"task {run.task}")) for run in found]
        if found and self._workdir.settings.exists():
            from taskfarmer_mpi.directives.book import read_names

            name_of = read_names(self._workdir)
            found = [replace(run, name=name_of(run.task)) for run in found]
        return sorted(found, key=attrgetter("begin"))

    def _commands_of(self, tasks: set[int], stored: Stored | None) -> dict[int, str]:
        """Return the commands of tasks as far as they can be known without a tasklist handler."""
        if not tasks <= self._commands.keys():
            with reading(self._workdir.tasks_added):
                self._commands = read_some_texts(self._workdir, stored, tasks)
        return self._commands

    def _farmer(
        self, history: FarmerHistory, summary: JournalSummary, running: list[RunningTask], now: float
    ) -> FarmerStatus:
        who = history.identity
        is_alive = history.state is FarmerState.ALIVE
        state = history.state.value
        if history.state is FarmerState.GONE:
            state = "ended" if summary.has_left else "lost" if summary.is_lost else "died"
        is_open = history.state is not FarmerState.GONE
        rate = (
            recent_rate(*summary.recent_ends(), history.born - who.clock_offset, now - who.clock_offset)
            if is_alive
            else None
        )
        return FarmerStatus(
            farmer=who.farmer,
            state=state,
            host=who.host,
            pid=who.pid,
            rank=who.rank,
            ranks=who.ranks,
            job=who.job,
            slots=who.slots,
            born=history.born,
            busy=sum(run.farmer == who.farmer for run in running),
            held=self._states.count_held(summary) if is_open else 0,
            finished=summary.finished,
            failed=summary.ended - summary.finished,
            killed=summary.killed - summary.retried,
            retried=summary.retried,
            rate=rate,
            aside=summary.aside,
            waiting=summary.waiting if is_alive else "",
        )

    def _failures(self, failed: dict[int, str], pairs: list[tuple[FarmerHistory, JournalSummary]]) -> list[Failure]:
        if not failed:
            return []
        from taskfarmer_mpi.logs.reading import Logs

        logs = Logs(self._workdir, failed)
        found = [self._failure(logs, task, command, pairs) for task, command in failed.items()]
        if self._workdir.settings.exists():
            from taskfarmer_mpi.directives.book import read_names

            name_of = read_names(self._workdir)
            found = [replace(failure, name=name_of(failure.task) or None) for failure in found]
        return found

    @staticmethod
    def _failure(logs: Logs, task: int, command: str, pairs: list[tuple[FarmerHistory, JournalSummary]]) -> Failure:
        """Return what the last of the journals that tell of a failed task says."""
        known = [
            (record["end"], history.identity, record) for history, summary in pairs if (record := summary.failures.get(task))
        ]
        _, who, record = max(known, key=itemgetter(0), default=(0.0, None, None))
        run = None
        if who is not None and record is not None:
            begin, end = record["begin"] + who.clock_offset, record["end"] + who.clock_offset
            run = Attempt(task, record["slot"], begin, end, record["rc"], Outcome.FAILED, record["cpu"], record["rss"])
            run = replace(run, cause=cause_of(run.returncode, record.get("cause")))
        return tell_failure(logs, task, command, who, run, LOG_LINES)


def recent_rate(ends: list[float], are_all: bool, born: float, now: float) -> float | None:
    """Return how many runs a farmer ends [1/s]; None if none has ended.

    Parameters
    ----------
    ends
        When its last runs ended, the oldest first [s since the epoch].
    are_all
        Whether these are all of its runs.
    born, now
        When the farmer was born, and what time it is [s since the epoch].
    """
    if not ends:
        return None
    now = max(now, ends[-1])
    first = born if are_all else ends[0]
    begin = min(now - WINDOW, ends[-ENOUGH] if len(ends) >= ENOUGH else first)
    begin = max(begin, first)
    count = sum(end > begin for end in ends)
    return count / (now - begin) if count and now > begin else None


def _read_config(workdir: Workdir, warnings: list[str]) -> Stored | None:
    try:
        stored = read_config(workdir)
    except UserError as error:
        warnings.append(str(error))
        return None
    if stored is None:
        warnings.append("no farm.ini here, so the number of tasks is that of the highest ID on the lists")
    return stored
