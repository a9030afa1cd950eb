"""The order of a new work directory, made of the rules and of what an earlier run took."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.ordering.durations import read_durations
from taskfarmer_mpi.ordering.guesses import Guesses, guess_durations, program_of
from taskfarmer_mpi.policies.rules import Rules
from taskfarmer_mpi.tasklists.lines import Handler

log = Log(__name__)


def arrange(how: str, seconds: Sequence[float]) -> list[int]:
    """Return tasks in the order in which they are to run.

    Parameters
    ----------
    how
        `given`, `longest` or `shuffle`.
    seconds
        What each task is expected to last [s].
    """
    tasks = list(range(len(seconds)))
    if how == "longest":
        tasks.sort(key=lambda task: -seconds[task])  # a stable sort: those that last equally long stay as they are
    elif how == "shuffle":
        random.shuffle(tasks)
    return tasks


def guess_for(handler: Handler, count: int, source: Path) -> Guesses:
    """Return what the first tasks of a list are expected to last, by an earlier run.

    Parameters
    ----------
    handler
        Has the tasks.
    count
        How many of them.
    source
        A work directory, or the joblog of GNU parallel.

    Raises
    ------
    UserError
        If that cannot be read, or tells nothing.
    """

    def command_of(index: int) -> str:
        try:
            return handler[index]
        except Exception:  # a user's handler may fail with one task, which is known by its text only
            return handler.tasks.text(index)

    texts = (handler.tasks.text(index) for index in range(count))
    return guess_durations(texts, command_of, read_durations(source), program_of)


def make_order(rules: Rules, handler: Handler, count: int) -> list[tuple[int, float]]:
    """Return the first tasks of a list in the order in which they are to run, with what they are expected to last [s].

    Raises
    ------
    UserError
        If the durations cannot be read.
    """
    seconds = [math.nan] * count
    if rules.durations and count:
        guesses = guess_for(handler, count, Path(rules.durations))
        log.warning("%s", guesses.describe())
        seconds = guesses.seconds
    return [(task, seconds[task]) for task in arrange(rules.order, seconds)]


def check_order(rules: Rules) -> None:
    """Check what a new work directory is to have, before anything is made.

    Raises
    ------
    UserError
        If the longest tasks are to be the first and nothing tells which those are, or the durations cannot be read.
    """
    if rules.order == "longest" and not rules.durations:
        raise UserError(
            "--order longest needs --durations: the work directory of an earlier run, or a joblog of GNU parallel"
        )
    if rules.durations:
        read_durations(Path(rules.durations))
