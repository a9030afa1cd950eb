"""Contenders in turn, and what one farmer costs by the number of tasks and slots."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import Contender, Programs
from benchmarks.folders import BenchError, check_finished, write_tasklist


@dataclass(frozen=True)
class SizeRun:
    """A run of one farmer of ours with two slots."""

    tasks: int
    seconds: float
    memory: float
    """Peak memory of the farmer [MiB]."""


@dataclass(frozen=True)
class SlotsRun:
    """A run of one farmer of ours with any number of slots."""

    slots: int
    tasks: int
    seconds: float


def compare(
    contenders: list[Contender], repeats: int, folder: Path, programs: Programs, say: Callable[[str], None]
) -> dict[str, str]:
    """Run all contenders in turn; return their commands.

    One that fails is left out from then on, with a line; the first two have to work.

    Raises
    ------
    BenchError
        If one of those fails.
    """
    commands: dict[str, str] = {}
    for repeat in range(repeats):
        for number, contender in enumerate(tuple(contenders)):
            place = folder / f"compare-{repeat}-{contender.name.replace('/', ' ').replace(' ', '-')}"
            place.mkdir()
            try:
                contender.times.append(contender.run(place, contender.tasks))
            except (BenchError, OSError) as error:
                if number < 2:
                    raise
                contenders.remove(contender)
                say(f"left out: {contender.name}: {error}")
                continue
            commands[contender.name] = " ".join(programs.command)
            say(f"{repeat + 1}/{repeats}  {contender.name}: {contender.rates[-1]:.0f} tasks/s")
    return commands


def comparison_table(contenders: list[Contender]) -> list[str]:
    """Return what was measured as a Markdown table; ratios are of runs of the same turn."""
    lines = [
        f"| farmer | tasks | median [tasks/s] | min | max | of {contenders[0].name.split()[0]} |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    reference = contenders[0].rates
    for contender in contenders:
        rates = contender.rates
        ratio = statistics.median(own / theirs for own, theirs in zip(rates, reference, strict=True))
        middle, low, high = statistics.median(rates), min(rates), max(rates)
        lines.append(f"| {contender.name} | {contender.tasks:,} | {middle:,.0f} | {low:,.0f} | {high:,.0f} | {ratio:.2f} |")
    return lines


def run_sizes(programs: Programs, sizes: list[int], folder: Path, say: Callable[[str], None]) -> list[SizeRun]:
    """Run tasklists of several lengths."""
    runs = []
    for tasks in sizes:
        place = folder / f"size-{tasks}"
        place.mkdir()
        runs.append(SizeRun(tasks, *programs.farm_memory(place, tasks)))
        say(f"{tasks} tasks: {tasks / runs[-1].seconds:.0f} tasks/s, {runs[-1].memory:.1f} MiB")
    return runs


def size_table(runs: list[SizeRun]) -> list[str]:
    """Return rate and memory by the number of tasks as a Markdown table."""
    lines = ["| tasks | taskfarmer_mpi, 2 slots [tasks/s] | peak memory of the farmer [MiB] |", "|--:|--:|--:|"]
    return lines + [f"| {run.tasks:,} | {run.tasks / run.seconds:,.0f} | {run.memory:.1f} |" for run in runs]


def run_slots(programs: Programs, slots: list[int], tasks: int, folder: Path, say: Callable[[str], None]) -> list[SlotsRun]:
    """Run the same tasks with several numbers of slots."""
    runs = []
    for number in slots:
        place = folder / f"slots-{number}"
        place.mkdir()
        write_tasklist(place, tasks)
        began = time.perf_counter()
        programs.measure(place, programs.farm_command(number))
        runs.append(SlotsRun(number, tasks, time.perf_counter() - began))
        check_finished(place, tasks)
        say(f"{number} slots: {tasks / runs[-1].seconds:.0f} tasks/s")
    return runs


def slots_table(runs: list[SlotsRun]) -> list[str]:
    """Return the rate by the number of slots as a Markdown table."""
    lines = ["| slots | tasks | taskfarmer_mpi [tasks/s] | a task [µs] |", "|--:|--:|--:|--:|"]
    return lines + [
        f"| {run.slots} | {run.tasks:,} | {run.tasks / run.seconds:,.0f} | {1e6 * run.seconds / run.tasks:,.0f} |"
        for run in runs
    ]
