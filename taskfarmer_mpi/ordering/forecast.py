"""How long the tasks that are to do will take, which of them cannot end in time, and what to ask a scheduler for."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.common.wording import count_of, list_ids, say_duration
from taskfarmer_mpi.ordering.arrangement import arrange, costs_of, guess_for
from taskfarmer_mpi.ordering.durations import own_durations
from taskfarmer_mpi.ordering.guesses import guess_durations, program_of
from taskfarmer_mpi.ordering.order_file import read_order
from taskfarmer_mpi.tasklists.lines import Handler
from taskfarmer_mpi.workdir.files import Workdir, read_file
from taskfarmer_mpi.workdir.lists import ids_in

SPARE = 1.2
"""How much more time to ask for than is expected."""
_GAIN = 0.95
"""More nodes are named as long as they make the time shorter than this part of what it was."""


class Forecast(Value):
    """What is to be done, and with what."""

    tasks: list[tuple[int, float]]
    """Tasks in the order in which they run, with what each is expected to last [s]."""
    slots: int
    """Of all farmers together."""
    nodes: int = 1
    """How many nodes these are on."""
    left: float = math.inf
    """For how long tasks can run [s]."""


def say_forecast(forecast: Forecast) -> Iterator[str]:
    """Yield in sentences how long it will take, which tasks cannot end in the time that is left, and what to ask for."""
    tasks, slots, left = forecast.tasks, forecast.slots, forecast.left
    if not tasks:
        return
    seconds = [duration for _, duration in tasks]
    time = last_end(seconds, slots)
    yield (
        f"expected: {count_of(len(tasks), 'task')} of {say_duration(sum(seconds))} in all, the longest of"
        f" {say_duration(max(seconds))}: about {say_duration(time)} with {count_of(slots, 'slot')}"
    )
    if too_long := sorted(task for task, duration in tasks if duration > left):
        yield (
            f"{count_of(len(too_long), 'task')} cannot end in this job, of which {say_duration(max(left, 0.0))} is left:"
            f" {list_ids(too_long)}"
        )
    if time > left:
        ended = sum(end <= left for end in ends(seconds, slots))
        yield f"this job is too short for all: about {ended:,} of {len(tasks):,} tasks will have ended"
    yield _say_request(seconds, max(slots // forecast.nodes, 1))


def _say_request(seconds: Sequence[float], slots: int) -> str:
    """Say for which numbers of nodes, with so many slots each, to ask for how much time."""
    choices = weigh_nodes(seconds, slots)
    shown = [f"{count_of(count, 'node')} for {say_duration(SPARE * time)}" for count, time in choices]
    words = ", ".join(shown) if len(shown) < 3 else f"{', '.join(shown[:-1])} or {shown[-1]}"
    more = f"; more than {count_of(choices[-1][0], 'node')} would bring little"
    return f"to ask for, with {count_of(slots, 'slot')} on a node and a fifth to spare: {words}{more}"


def weigh_nodes(seconds: Sequence[float], slots: int) -> list[tuple[int, float]]:
    """Return numbers of nodes, with so many slots each, as long as more bring much, and when the last task ends [s]."""
    choices: list[tuple[int, float]] = []
    nodes = 1
    while True:
        time = last_end(seconds, nodes * slots)
        if choices and time > _GAIN * choices[-1][1]:
            break
        choices.append((nodes, time))
        if nodes * slots >= len(seconds):
            break
        nodes *= 2
    return choices


def ends(seconds: Iterable[float], slots: int) -> list[float]:
    """Return when each task ends [s] if a slot takes the next task as soon as it is free, from 0 on.

    Parameters
    ----------
    seconds
        What the tasks last [s], in the order in which they run.
    slots
        How many there are.
    """
    free = [0.0] * slots
    found = []
    for duration in seconds:
        end = free[0] + duration
        heapq.heapreplace(free, end)
        found.append(end)
    return found


def last_end(seconds: Sequence[float], slots: int) -> float:
    """Return when the last task ends [s]."""
    return max(ends(seconds, slots), default=0.0)


def expected(workdir: Workdir) -> list[tuple[int, float]]:
    """Return the tasks on the list of a work directory, in the order in which they run, with what each lasts [s].

    Those of which its order says nothing last as long as the others do on average; nothing is returned if it has none.

    Raises
    ------
    FarmError
        If the order cannot be read.
    OSError
        If a list cannot be read.
    """
    return _to_do(workdir, read_order(workdir))


def foresee(handler: Handler, workdir: Workdir, source: str, order: str) -> list[tuple[int, float]]:
    """Return likewise what is to do in a work directory that may be new.

    Parameters
    ----------
    handler
        Has the tasks.
    workdir
        Where they are to run.
    source
        An earlier run that tells what tasks take; nothing for what the work directory knows.
    order
        In which order they run if it is new.

    Raises
    ------
    UserError
        If the earlier run cannot be read.
    """
    count = len(handler.tasks)
    seconds: list[float] = []
    if source:
        seconds = guess_for(handler, count, Path(source)).seconds
    elif workdir.is_known:
        if kept := read_order(workdir):
            return _to_do(workdir, kept)
        known = own_durations(workdir)
        seconds = guess_durations(handler.tasks, handler.tasks.text, known, program_of).seconds if known else []
    seconds = seconds or costs_of(handler, count)
    if workdir.toprocess.exists():
        return _to_do(workdir, dict(enumerate(seconds)))
    return [(task, seconds[task]) for task in arrange(order, seconds)]


def _to_do(workdir: Workdir, lasting: Mapping[int, float]) -> list[tuple[int, float]]:
    known = [duration for duration in lasting.values() if not math.isnan(duration)]
    if not known:
        return []
    mean = fmean(known)
    stacks = [list(ids_in(read_file(path) or b"")) for path in (workdir.toprocess, workdir.added)]
    return [(task, lasting.get(task, mean)) for stack in stacks for task in reversed(stack)]
