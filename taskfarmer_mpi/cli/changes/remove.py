"""Take tasks off the list that are not to be run.

Those that a farmer has taken already are left alone, and named: taskfarmer-ctl cancel ends them. A removed task is neither
failed nor left; taskfarmer-ctl retry ID puts it back.
"""

from __future__ import annotations

import argparse
import os

from taskfarmer_mpi.changes.removal import choose, remove_tasks
from taskfarmer_mpi.cli.arguments import add_chosen, add_workdir, check_ids
from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.common.wording import list_ids, tasks
from taskfarmer_mpi.errors import UserError, describe
from taskfarmer_mpi.history.task_texts import count_tasks
from taskfarmer_mpi.upkeep.reopening import LOCK_PATIENCE, hands, open_lock, read_stored
from taskfarmer_mpi.workdir.files import Workdir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_workdir(parser)
    add_chosen(parser)


def run(arguments: argparse.Namespace) -> int:
    """Remove the tasks and say which."""
    workdir = Workdir.existing(arguments.workdir)
    stored = read_stored(workdir)
    ids = check_ids(arguments.ids, workdir.path, count_tasks(workdir, stored))
    if ids is None and not arguments.match:
        raise UserError("which tasks? give IDs, or --match TEXT")
    lock = open_lock(workdir, os.environ)
    try:
        with hands(workdir, lock) as journal:
            choice = choose(ids, arguments.match)
            removed = remove_tasks(workdir, lock, journal, choice, Cause.REMOVED, LOCK_PATIENCE)
    except OSError as error:
        raise UserError(describe(error, workdir.path)) from error
    left = sorted((ids or set()).difference(removed)) if not arguments.match else []
    if left:
        print(f"left alone, as they are not on the list: {list_ids(left)}: they have ended, or a farmer has them (cancel)")
    print(f"removed: {tasks(len(removed))}{': ' if removed else ''}{list_ids(removed)}")
    return 2 if left else 0
