"""What a task costs its farmer: system calls, which are the same on any machine, where times are not."""

from __future__ import annotations

import statistics
from collections import Counter
from pathlib import Path

from helpers import Site

TASKS = 120
OWN = {
    "openat": 1,
    "close": 1,
    "write": 3,
    "wait4": 2,
    "read": 1,
    "newfstatat": 0,
    "fdatasync": 0,
    "flock": 0,
    "pwrite64": 0,
}
"""System calls of a farmer of one slot from the start of a task to that of the next one, by kind, as they were measured.

A `write` each is for the begin and the end of the run in the journal, and one for the signal that wakes the farmer up.
"""
ALL = 24
"""The same of all kinds, with those of the C library that starts a process (13), and the waiting."""
GROWTH = 1.1
"""How much more is a failure."""


def _cycles(trace: Path) -> list[Counter[str]]:
    """Return the calls from each task's start to the next one's; those of visits and of looks now and then are in a few."""
    cycles: list[Counter[str]] = []
    for line in trace.read_text().splitlines():
        name = line.partition("(")[0]
        if name == "openat" and "/logs/log_" in line:
            cycles.append(Counter())
        if cycles and name.isidentifier():
            cycles[-1][name] += 1
    return cycles[1:-1]


def test_a_task_costs_its_farmer_no_more_system_calls_than_before(site: Site, strace: str) -> None:
    trace = site.path / "trace"
    tasklist = site.tasklist([f"true {number}" for number in range(TASKS)])
    site.farm("--mpi", "off", "-n", "1", tasklist, prefix=f"{strace} -qq -o {trace}").succeed(120)
    cycles = _cycles(trace)
    assert len(cycles) == TASKS - 2
    usual = {kind: statistics.median(cycle[kind] for cycle in cycles) for kind in OWN}
    assert {kind: number for kind, number in usual.items() if number > OWN[kind]} == {}
    assert usual["openat"] == 1
    assert statistics.median(cycle.total() for cycle in cycles) <= GROWTH * ALL
