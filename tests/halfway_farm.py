"""A farm halfway through its list, without farmers, whose lists and journals can be damaged at will."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from fakes import Hand, make_farm

from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.journal import close_journal
from taskfarmer_mpi.workdir.lists import append_tasks, encode_task

COUNT = 20
CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")


def make(folder: Path, commands: list[str]) -> Farm:
    """Return a farm some of whose tasks have ended: 0 to 9 by a farmer that left, 10 and 11 in the hands of a dead one."""
    farm = make_farm(folder, commands)
    tasks = [Task(number, farm.catalog[number]) for number in range(COUNT)]
    first, dead = Hand(farm, "first"), Hand(farm, "dead")
    first.note("taken", ids=list(range(10)))
    for number in range(10):
        first.end(number, 3 if number > 7 else 0)
    append_tasks(farm.workdir.finished, tasks[:8], farm.lock.confirm)
    append_tasks(farm.workdir.failed, tasks[8:10], farm.lock.confirm)
    first.note("recorded")
    dead.note("taken", ids=[10, 11])
    dead.end(10, 0)
    farm.workdir.toprocess.write_bytes(b"".join(map(encode_task, reversed(tasks[12:]))))
    for hand in (first, dead):
        hand.die()
    close_journal(first.journal.path)
    return farm


def edit(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Change the lines of a list."""
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
