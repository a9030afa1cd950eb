"""The place of tasks that come later in the order of a work directory; its lock is held."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

from taskfarmer_mpi.ordering.guesses import guess_durations, program_of
from taskfarmer_mpi.ordering.order_file import KeptOrder, encode_order, read_order
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import replace_file
from taskfarmer_mpi.workdir.stack import restore_order

Timed = tuple[int, float]
"""A task, and what it is expected to last [s]."""


def insert_tasks(farm: Farm, added: range) -> None:
    """Give tasks that the catalog has by now their place; they need not be on the list yet.

    The longest ones go by a column of costs, else by what alike tasks are expected to last.

    Raises
    ------
    FarmError
        If the order cannot be read.
    """
    kept = read_order(farm.workdir)
    old = [timed for timed in kept.items() if timed[0] not in added]
    new = list(zip(added, _expected(farm, added, dict(old)), strict=True))
    merged = _shuffle_in(old, new) if farm.rules.order == "shuffle" else merge_longest(old, new)
    replace_file(farm.workdir.order, encode_order(merged), farm.lock.confirm)


def sort_added(farm: Farm) -> None:
    """Put the stack of added tasks in order."""
    restore_order(farm.workdir.added, lambda _: True, farm.lock.confirm, KeptOrder(farm.workdir).place)


def merge_longest(old: Sequence[Timed], new: Sequence[Timed]) -> list[Timed]:
    """Return both, with each new task before the first one that is shorter; those whose time is unknown are the last."""
    waiting = sorted(new, key=lambda timed: math.inf if math.isnan(timed[1]) else -timed[1])[::-1]
    merged: list[Timed] = []
    for timed in old:
        while waiting and waiting[-1][1] > timed[1]:
            merged.append(waiting.pop())
        merged.append(timed)
    return [*merged, *reversed(waiting)]


def _shuffle_in(old: Sequence[Timed], new: Sequence[Timed]) -> list[Timed]:
    count = len(old) + len(new)
    chosen = set(random.sample(range(count), len(new)))
    olds, news = iter(old), iter(new)
    return [next(news if place in chosen else olds) for place in range(count)]


def _expected(farm: Farm, added: range, known: dict[int, float]) -> list[float]:
    """Return what the tasks are expected to last [s]; NaN where nothing tells it."""
    texts = [farm.catalog.text(task) for task in added]
    costs_of: Callable[[Sequence[str]], list[float]] | None = getattr(farm.handler, "costs_of", None)
    costs = costs_of(texts) if costs_of is not None else [math.nan] * len(texts)
    lasts = {farm.catalog.text(task): seconds for task, seconds in known.items() if not math.isnan(seconds)}
    guesses = guess_durations(texts, texts.__getitem__, lasts, program_of).seconds if lasts else costs
    return [guess if math.isnan(cost) else cost for cost, guess in zip(costs, guesses, strict=True)]
