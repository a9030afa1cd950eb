"""Put tasks that are in nobody's hands back on the list.

Such tasks were cut out of the list by hand, or a PyTaskFarmer had them, which forgets what it was running when it is killed.
Only you can know that none has these tasks any more; so they are listed, and you are asked.
"""

from __future__ import annotations

import argparse
import os
import sys

from taskfarmer_mpi.cli.arguments import add_workdir
from taskfarmer_mpi.cli.streams import show
from taskfarmer_mpi.common.wording import tasks
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.history.plain_signs import has_plain_signs
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
        show(f"{task_id} {farm.catalog[task_id][:200]}")
    if len(lost) > SHOWN:
        print(f"and {len(lost) - SHOWN} more")
    may_be_plain = has_plain_signs(farm.workdir, lost)
    if not (arguments.yes or _is_confirmed(len(lost), may_be_plain=may_be_plain)):
        print("nothing was changed")
        return 1
    print(f"back on the list: {tasks(len(reclaim(farm, LOCK_PATIENCE)))}")
    return 0


def _is_confirmed(count: int, *, may_be_plain: bool) -> bool:
    if not sys.stdin.isatty():
        condition = " if no PyTaskFarmer has these tasks any more" if may_be_plain else ""
        raise UserError(f"there is no terminal to ask on: give --yes{condition}")
    question = "Does no PyTaskFarmer have them any more? " if may_be_plain else ""
    answer = input(f"{question}Put {tasks(count)} back on the list [y/N]? ")
    return answer.strip().lower() in ("y", "yes")
