"""Put failed tasks, or tasks of given IDs that have ended, back on the list.

Their logs are kept as logs/log_ID.1, .2 and so on. Farmers that are at work take the tasks at once.
"""

from __future__ import annotations

import argparse
import os

from taskfarmer_mpi.cli.arguments import add_workdir
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.run.summary import shorten, tasks
from taskfarmer_mpi.upkeep.reopening import LOCK_PATIENCE, hands, open_lock, read_stored
from taskfarmer_mpi.upkeep.retry import Retried, retry_tasks
from taskfarmer_mpi.workdir.files import Workdir, read_file

HELP = "put failed tasks back on the list"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_workdir(parser)
    parser.add_argument(
        "ids", type=_task_ids, nargs="*", metavar="ID", help="tasks, also as ranges like 10-19 (default: all that failed)"
    )


def _task_ids(text: str) -> range:
    first, _, last = text.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal() and int(first) <= int(last or first)):
        raise argparse.ArgumentTypeError(f"{text!r} is not the ID of a task or a range of them, like 7 or 10-19")
    return range(int(first), int(last or first) + 1)


def run(arguments: argparse.Namespace) -> int:
    """Move the tasks and say which."""
    workdir = Workdir.existing(arguments.workdir)
    stored = read_stored(workdir)
    count = stored.listed + (read_file(workdir.tasks_added) or b"").count(b"\n")
    for part in arguments.ids:
        if part[-1] >= count:
            raise UserError(f"{workdir.path}: there is no task {part[-1]}; it has {count} tasks, from 0 on")
    ids = {task_id for part in arguments.ids for task_id in part} if arguments.ids else None
    lock = open_lock(workdir, os.environ)
    try:
        with hands(workdir, lock) as journal:
            result = retry_tasks(workdir, lock, journal, stored.listed, ids, LOCK_PATIENCE)
    except OSError as error:
        raise UserError(f"{workdir.path}: {error.strerror}: {error.filename}") from error
    return _report(result)


def _report(result: Retried) -> int:
    if result.not_ended:
        shown = shorten(result.not_ended)
        print(f"left alone, as they have not ended: {shown}")
    print(f"back on the list: {tasks(len(result.tasks))}{': ' if result.tasks else ''}{shorten(result.tasks)}")
    return 0 if not result.not_ended else 2
