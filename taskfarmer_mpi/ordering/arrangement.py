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
from taskfarmer_mpi.policies.settings import has_barriers, read_settings
from taskfarmer_mpi.tasklists.directives import Directive
from taskfarmer_mpi.tasklists.lines import Handler

log = Log(__name__)

NO_DURATIONS = "--order longest needs --durations: the work directory of an earlier run, or a joblog of GNU parallel"


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


def make_order(rules: Rules, handler: Handler, count: int, directives: Sequence[Directive] = ()) -> list[tuple[int, float]]:
    """Return the first tasks of a list in the order in which they are to run, with what they are expected to last [s].

    That is an order within the barriers of its directives.

    Raises
    ------
    UserError
        If the durations cannot be read.
    """
    seconds = costs_of(handler, count) or [math.nan] * count
    if rules.durations and count:
        guesses = guess_for(handler, count, Path(rules.durations))
        log.warning("%s", guesses.describe())
        seconds = guesses.seconds
    order = arrange(rules.order, seconds)
    if any(has_barriers(text) for _, text in directives):
        order.sort(key=_stages(directives, count).__getitem__)
    return [(task, seconds[task]) for task in order]


def _stages(directives: Sequence[Directive], count: int) -> list[int]:
    """Return behind how many barriers each of the first tasks of a list is."""
    from taskfarmer_mpi.tasklists.row_settings import hold_directives

    known = {text: read_settings(text).stage for _, text in directives}
    return [known.get(text, 0) for text in hold_directives(directives, count)]


def costs_of(handler: Handler, count: int) -> list[float]:
    """Return what the first tasks of a list are expected to last by a column of it [s]; nothing if it has none.

    Those that do not say it last as long as the others do on average.
    """
    costs = list(getattr(handler, "costs", ()))[:count]
    known = [cost for cost in costs if not math.isnan(cost)]
    mean = math.fsum(known) / len(known) if known else math.nan
    return [mean if math.isnan(cost) else cost for cost in costs] if known else []


def refuse_unordered(handler: Handler) -> None:
    """Refuse a list whose longest tasks are to be the first, and that has no column which says what they last.

    Raises
    ------
    UserError
        If it is such a one.
    """
    if not costs_of(handler, len(handler.tasks)):
        raise UserError(f"{handler.path}: {NO_DURATIONS}, or a column TF:cost of a table")


def check_order(rules: Rules, *, is_table: bool) -> None:
    """Check what a new work directory is to have, before anything is made; a table may say itself what its tasks last.

    Raises
    ------
    UserError
        If the longest tasks are to be the first and nothing tells which those are, or the durations cannot be read.
    """
    if rules.order == "longest" and not rules.durations and not is_table:
        raise UserError(NO_DURATIONS)
    if rules.durations:
        read_durations(Path(rules.durations))
