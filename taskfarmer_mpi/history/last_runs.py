"""The last run of each task, from the journals of all farmers; a task costs 54 bytes."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator
from enum import Enum

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.history.pytaskfarmer_runs import read_plain_histories
from taskfarmer_mpi.history.runs import Attempt, FarmerHistory, Outcome, read_histories
from taskfarmer_mpi.history.task_states import MAX_ID, Place, TaskStates
from taskfarmer_mpi.history.task_texts import TaskTexts, count_tasks, plain_tasklist
from taskfarmer_mpi.workdir.configuration import Stored, read_config
from taskfarmer_mpi.workdir.files import Workdir, reading

_OUTCOMES = list(Outcome)
_CAUSES = (None, *Cause)
NO_CODE = -(2**31)
"""Stands for a return code that nobody knows: PyTaskFarmer does not keep them."""


class TaskState(Enum):
    """Where a task is in its life."""

    FINISHED = "finished"
    FAILED = "failed"
    RUNNING = "running"
    TAKEN = "taken"
    TO_DO = "to do"
    NOBODY = "nobody"
    REMOVED = "removed"


_STATES = {
    Place.NOWHERE: TaskState.NOBODY,
    Place.TO_DO: TaskState.TO_DO,
    Place.HELD: TaskState.TAKEN,
    Place.FINISHED: TaskState.FINISHED,
    Place.FAILED: TaskState.FAILED,
    Place.REMOVED: TaskState.REMOVED,
}


class LastRuns:
    """State and last run of each task."""

    def __init__(self, histories: list[FarmerHistory], places: bytearray, texts: TaskTexts) -> None:
        """Take the places of the tasks; `see` adds their runs.

        Parameters
        ----------
        histories
            The farmers; runs name them by their number here.
        places
            The `Place` of each task.
        texts
            Their commands.
        """
        self.histories = histories
        self.texts = texts
        self.asides: list[str] = []
        """Why farmers took no more tasks, of those on whose nodes only tasks failed."""
        self._places = places
        self._farmer = array("i")
        self._slot = array("i")
        self._begin = array("d")
        self._end = array("d")
        self._code = array("i")
        self._attempts = array("I")
        self._outcome = bytearray()
        self._cause = bytearray()
        self._cpu = array("d")
        self._max_rss = array("q")
        self._grow(len(places))

    def __len__(self) -> int:
        return len(self._places)

    def _grow(self, count: int) -> None:
        missing = count - len(self._farmer)
        if missing > 0:
            for column, value in (
                (self._farmer, -1),
                (self._slot, 0),
                (self._code, 0),
                (self._attempts, 0),
                (self._cpu, 0),
                (self._max_rss, 0),
            ):
                column.extend(array(column.typecode, [value]) * missing)
            for times in (self._begin, self._end):
                times.extend(array("d", [-math.inf]) * missing)
            self._outcome.extend(bytes(missing))
            self._cause.extend(bytes(missing))
            self._places.extend(bytes(count - len(self._places)))

    def see(self, farmer: int, run: Attempt) -> None:
        """Take a run into account; the one that began last counts."""
        task = run.task_id
        if not 0 <= task <= MAX_ID:
            return
        if task >= len(self._farmer):
            self._grow(task + 1)
        self._attempts[task] += 1
        if run.begin >= self._begin[task]:
            self._farmer[task] = farmer
            self._slot[task] = run.slot
            self._begin[task] = run.begin
            self._end[task] = math.nan if run.end is None else run.end
            self._code[task] = NO_CODE if run.returncode is None else run.returncode
            self._outcome[task] = _OUTCOMES.index(run.outcome)
            self._cause[task] = _CAUSES.index(run.cause)
            self._cpu[task] = run.cpu
            self._max_rss[task] = run.max_rss

    def attempts(self, task: int) -> int:
        """Return how many runs of a task the journals have."""
        return self._attempts[task]

    def farmer(self, task: int) -> FarmerHistory | None:
        """Return the farmer of the last run of a task; None if no journal has one."""
        number = self._farmer[task]
        return None if number < 0 else self.histories[number]

    def last_run(self, task: int) -> Attempt | None:
        """Return the last run of a task; None if no journal has one."""
        if not self._attempts[task]:
            return None
        end = self._end[task]
        outcome = _OUTCOMES[self._outcome[task]]
        code = None if self._code[task] == NO_CODE else self._code[task]
        return Attempt(
            task,
            self._slot[task],
            self._begin[task],
            None if math.isnan(end) else end,
            code,
            outcome,
            self._cpu[task],
            self._max_rss[task],
            cause=_CAUSES[self._cause[task]],
        )

    def max_rss(self, task: int) -> int:
        """Return the peak memory of the last run of a task [KiB]; 0 if it is not known."""
        return self._max_rss[task]

    def state(self, task: int) -> TaskState:
        """Return where a task is in its life."""
        state = _STATES[Place(self._places[task])]
        is_running = state is TaskState.TAKEN and self._attempts[task] and _OUTCOMES[self._outcome[task]] is Outcome.RUNNING
        return TaskState.RUNNING if is_running else state

    def is_told(self, task: int, outcome: Outcome) -> bool:
        """Return whether the last run of a task ended so."""
        return task < len(self._outcome) and self._attempts[task] > 0 and _OUTCOMES[self._outcome[task]] is outcome

    def ended_runs(self) -> Iterator[tuple[int, float, float, int, Cause | None]]:
        """Yield the last runs that came to an end: task, begin [s since the epoch], duration [s], return code and cause.

        What nobody knows the return code of has `NO_CODE`.
        """
        ended = (_OUTCOMES.index(Outcome.FINISHED), _OUTCOMES.index(Outcome.FAILED))
        rows = zip(self._begin, self._end, self._code, self._attempts, self._outcome, self._cause, strict=True)
        for task, (begin, end, code, attempts, outcome, cause) in enumerate(rows):
            if attempts and outcome in ended:
                yield task, begin, max(end - begin, 0.0), code, _CAUSES[cause]

    def count(self, state: TaskState) -> int:
        """Return how many tasks are in a state."""
        if state in (TaskState.RUNNING, TaskState.TAKEN):
            return sum(self.state(task) is state for task in range(len(self)) if self._places[task] == Place.HELD)
        return sum(self._places.count(place) for place, named in _STATES.items() if named is state)

    def in_order_of_ends(self) -> list[int]:
        """Return all tasks, sorted by when their last runs ended; those without one come first."""
        ends = self._end
        return sorted(range(len(ends)), key=lambda task: ends[task] if ends[task] == ends[task] else math.inf)


Watcher = Callable[[int, Attempt], None]
"""Gets each run, with the number of its farmer."""


def read_last_runs(
    workdir: Workdir, watch: Callable[[list[FarmerHistory]], Watcher] | None = None
) -> tuple[LastRuns, list[str]]:
    """Read the histories of all farmers.

    Parameters
    ----------
    workdir
        Whose.
    watch
        Returns who else wants to see the runs, given the farmers.

    Returns
    -------
    The last_runs, and what could not be read and why.

    Raises
    ------
    FarmError
        If a list cannot be read.
    """
    stored, troubles = _read_config(workdir)
    task_states = TaskStates(workdir)
    with reading(workdir.tasks_added):
        task_states.look(count_tasks(workdir, stored))
    histories, unread = read_histories(workdir)
    plain, undone = read_plain_histories(workdir, lambda task, outcome: last_runs.is_told(task, outcome))
    histories = [*(history for history in histories if history.identity.slots), *plain]
    with reading(workdir.path):
        texts = TaskTexts(workdir, plain_tasklist(stored))
    last_runs = LastRuns(histories, task_states.places, texts)
    last_runs.asides = [summary.aside for summary in task_states.summaries.values() if summary.aside]
    troubles += dict.fromkeys([*unread, *task_states.troubles, *undone])
    see = watch(histories) if watch else None
    for number, history in enumerate(histories):
        try:
            for run in history.attempts():
                last_runs.see(number, run)
                if see is not None:
                    see(number, run)
        except OSError as error:
            troubles.append(f"{history.path}: cannot read: {error.strerror}")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            troubles.append(f"{history.path}: a record is not as farmers write them ({error}); read up to there")
    return last_runs, troubles


def _read_config(workdir: Workdir) -> tuple[Stored | None, list[str]]:
    try:
        return read_config(workdir), []
    except UserError as error:
        return None, [str(error)]
