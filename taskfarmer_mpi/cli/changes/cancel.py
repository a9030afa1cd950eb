"""Take tasks off the list, and end those that run, wherever that is.

A task that waits leaves the list as a removed one. One that runs gets a signal (that of --stop-signal, else of
--task-signal); after the grace (--stop-grace or --task-grace) all of its processes are killed. It has failed, with the cause
`cancelled`, and is not tried again. A task that a PyTaskFarmer runs cannot be cancelled.
"""

from __future__ import annotations

import argparse
import os
import time

from taskfarmer_mpi.changes.cancellation import CancelRequest, request_cancels, withdraw_cancels
from taskfarmer_mpi.changes.removal import choose, remove_tasks
from taskfarmer_mpi.cli.arguments import add_chosen, add_workdir, check_ids, seconds
from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.common.wording import list_ids, tasks
from taskfarmer_mpi.errors import UserError, describe
from taskfarmer_mpi.history.task_states import Place, TaskStates
from taskfarmer_mpi.history.task_texts import TaskTexts, count_tasks, plain_tasklist
from taskfarmer_mpi.upkeep.reopening import LOCK_PATIENCE, hands, open_lock, read_stored
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.locks import WorkLock

EXIT_RUNNING = 75
"""Some of them run still."""
_LOOK = 0.3
"""How often it is looked where they are [s]."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_workdir(parser)
    add_chosen(parser)
    parser.add_argument(
        "--wait",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait until those that run have ended; 0: do not (default: 60)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Cancel the tasks and say what came of each."""
    workdir = Workdir.existing(arguments.workdir)
    stored = read_stored(workdir)
    count = count_tasks(workdir, stored)
    ids = check_ids(arguments.ids, workdir.path, count)
    if ids is None and not arguments.match:
        raise UserError("which tasks? give IDs, or --match TEXT")
    states = TaskStates(workdir)
    states.look(count)
    wanted = ids if ids is not None else {*states.at(Place.TO_DO), *states.at(Place.HELD)}
    if arguments.match:
        texts = TaskTexts(workdir, plain_tasklist(stored))
        wanted = {task for task in wanted if arguments.match in texts[task]}
    ended = {task for task in wanted if states.places[task] in _OVER}
    lost = {task for task in wanted if states.places[task] == Place.NOWHERE}
    lock = open_lock(workdir, os.environ)
    try:
        effort = _Effort(workdir, lock, states, wanted - ended - lost)
        effort.persist(arguments.wait)
    except OSError as error:
        raise UserError(describe(error, workdir.path)) from error
    return _report(effort, ended, lost)


_OVER = (Place.FINISHED, Place.FAILED, Place.REMOVED)


class _Effort:
    """Tasks on their way to their end."""

    def __init__(self, workdir: Workdir, lock: WorkLock, states: TaskStates, tasks: set[int]) -> None:
        self._workdir, self._lock, self._states = workdir, lock, states
        self._requests: list[CancelRequest] = []
        self._asked: set[tuple[int, str]] = set()
        self.left = tasks
        """Those that have not ended."""
        self.done: dict[Place, list[int]] = {Place.REMOVED: [], Place.FAILED: [], Place.FINISHED: []}
        """The others, by where they are."""

    def persist(self, patience: float) -> None:
        """Do what can be done about each, until all have ended or the time is over [s]."""
        deadline = time.monotonic() + patience
        while self._step() and time.monotonic() < deadline:
            time.sleep(min(_LOOK, max(0.0, deadline - time.monotonic())))
            self._states.look()
        if self._requests and not self.left:
            with self._lock.held(LOCK_PATIENCE):
                withdraw_cancels(self._workdir, self._lock, self._requests)

    def _step(self) -> bool:
        """Return whether some are left."""
        places = self._states.places
        for task in sorted(self.left):
            if places[task] in _OVER:
                self.done[Place(places[task])].append(task)
        self.left = {task for task in self.left if places[task] not in _OVER}
        if any(places[task] == Place.TO_DO for task in self.left):
            with hands(self._workdir, self._lock) as journal:
                choice = choose(self.left, "")
                removed = remove_tasks(self._workdir, self._lock, journal, choice, Cause.CANCELLED, LOCK_PATIENCE)
            self.done[Place.REMOVED] += removed
            self.left.difference_update(removed)
        holders = self._holders() - self._asked
        if holders:
            with self._lock.held(LOCK_PATIENCE):
                self._requests += request_cancels(self._workdir, self._lock, holders)
            self._asked |= holders
        return bool(self.left)

    def _holders(self) -> set[tuple[int, str]]:
        """Return those that farmers have, each with its farmer."""
        held = {task for task in self.left if self._states.places[task] == Place.HELD}
        summaries = self._states.summaries.items()
        return {(task, farmer) for farmer, summary in summaries if summary.is_open for task in held & summary.held}


def _report(effort: _Effort, ended: set[int], lost: set[int]) -> int:
    removed, failed, finished = (sorted(effort.done[place]) for place in (Place.REMOVED, Place.FAILED, Place.FINISHED))
    if ended:
        print(f"left alone, as they have ended: {list_ids(sorted(ended))}")
    if lost:
        print(f"left alone, as no farmer of taskfarmer_mpi has them: {list_ids(sorted(lost))}: a PyTaskFarmer ends no task")
    if finished:
        print(f"finished before they could be ended: {list_ids(finished)}")
    if effort.left:
        print(f"told to end, and not at their end yet: {list_ids(sorted(effort.left))}")
    ids = sorted([*removed, *failed])
    where = f" ({len(failed)} of them ran)" if failed else ""
    print(f"cancelled: {tasks(len(ids))}{': ' if ids else ''}{list_ids(ids)}{where}")
    return EXIT_RUNNING if effort.left else 2 if ended or lost else 0
