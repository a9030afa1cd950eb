"""Put tasks that are in nobody's hands back on the list.

A PyTaskFarmer that is killed forgets what it was running. Only you can know that no PyTaskFarmer has these tasks any more;
so they are listed, and you are asked.
"""

from __future__ import annotations

import argparse
import os
import sys

from taskfarmer_mpi.cli.arguments import add_workdir
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.run.summary import tasks
from taskfarmer_mpi.upkeep.census import reclaim, take_census
from taskfarmer_mpi.upkeep.reopening import LOCK_PATIENCE, reopen_farm
from taskfarmer_mpi.workdir.files import Workdir

SHOWN = 100
"""How many tasks are shown."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_workdir(parser)
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def run(arguments: argparse.Namespace) -> int:
    """List the tasks, ask, and put them back."""
    farm = reopen_farm(Workdir.existing(arguments.workdir), os.environ)
    lost = take_census(farm, LOCK_PATIENCE).lost
    if not lost:
        print("no task is in nobody's hands")
        return 0
    for task_id in lost[:SHOWN]:
        print(f"{task_id} {farm.catalog[task_id][:200]}")
    if len(lost) > SHOWN:
        print(f"and {len(lost) - SHOWN} more")
    if not (arguments.yes or _is_confirmed(len(lost))):
        print("nothing was changed")
        return 1
    print(f"back on the list: {tasks(len(reclaim(farm, LOCK_PATIENCE)))}")
    return 0


def _is_confirmed(count: int) -> bool:
    if not sys.stdin.isatty():
        raise UserError("there is no terminal to ask on: give --yes if no PyTaskFarmer has these tasks any more")
    answer = input(f"Does no PyTaskFarmer have them any more? Put {count} tasks back on the list [y/N]? ")
    return answer.strip().lower() in ("y", "yes")
