"""Find and mend damage that another program, a full disk or a broken file server did to the lists.

Damage is a line with NUL bytes, a torn line, one of a task that does not exist or has another text, a task that is there
twice, and one that is on no list. What the lists should be is known from the journals of all farmers. Each fault is one
line: where, what, and the mend. Without --apply nothing is changed; with it damaged lists are kept as NAME.damaged.1.
Exit code 0: nothing is wrong, or it is mended; 1: something is wrong; 2: farmers are at work, or the journals do not tell.
"""

from __future__ import annotations

import argparse
import os

from taskfarmer_mpi.cli.arguments import add_workdir
from taskfarmer_mpi.common.wording import count_of
from taskfarmer_mpi.repair.mending import find_damage, mend
from taskfarmer_mpi.upkeep.reopening import LOCK_PATIENCE, reopen_farm
from taskfarmer_mpi.workdir.files import Workdir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_workdir(parser)
    parser.add_argument("--apply", action="store_true", help="mend what is wrong; without it nothing is changed")


def run(arguments: argparse.Namespace) -> int:
    """Say what is wrong, and mend it if that is wanted."""
    farm = reopen_farm(Workdir.existing(arguments.workdir), os.environ)
    damage = find_damage(farm, LOCK_PATIENCE)
    if not damage.faults:
        print("nothing is wrong")
        return 0
    kept = mend(farm, damage, LOCK_PATIENCE) if arguments.apply else []
    for fault in damage.faults:
        print(fault)
    found = count_of(len(damage.faults), "fault")
    if not arguments.apply:
        print(f"{found}; nothing was changed: --apply mends them")
        return 1
    print(f"{found} mended; as they were: {', '.join(map(str, kept)) or 'no list was there'}")
    return 0
