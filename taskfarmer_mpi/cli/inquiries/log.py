"""Print the log of a task: of its last run, or of an earlier attempt.

With -f what it writes is printed as it comes, until it has ended.
"""

from __future__ import annotations

import argparse
import sys
import time

from taskfarmer_mpi.cli.arguments import add_workdir, count, task_id

_LOOK = 0.2
"""How often it is looked for more [s]."""
_STATE = 1.0
"""How often it is looked whether the task has ended [s]."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_workdir(parser)
    parser.add_argument("id", type=task_id, metavar="ID", help="the task")
    parser.add_argument("--attempt", type=count, metavar="N", help="the log of an earlier one: logs/log_ID.N")
    parser.add_argument("-f", "--follow", action="store_true", help="go on printing until the task has ended")


def run(arguments: argparse.Namespace) -> int:
    """Print the log."""
    from taskfarmer_mpi.errors import UserError
    from taskfarmer_mpi.history.task_states import Place, TaskStates
    from taskfarmer_mpi.workdir.files import Workdir, read_file

    workdir = Workdir.existing(arguments.workdir)
    path = workdir.log(arguments.id)
    if arguments.attempt is not None:
        path = path.with_name(f"{path.name}.{arguments.attempt}")
    states = TaskStates(workdir)
    offset, next_look, has_ended = 0, 0.0, not arguments.follow
    is_there = False
    while True:
        try:
            data = read_file(path, offset)
        except OSError as error:
            raise UserError(f"{path}: cannot read the log: {error.strerror}") from error
        is_there = is_there or data is not None
        if data is None and not arguments.follow:
            raise UserError(f"{path}: no such log: the task was not run yet, or had no such attempt")
        if data:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            offset += len(data)
        elif has_ended:
            if not is_there:
                raise UserError(f"{path}: no such log")
            return 0
        if not has_ended and time.monotonic() >= next_look:
            states.look(arguments.id + 1)
            has_ended = states.places[arguments.id] in (Place.FINISHED, Place.FAILED, Place.REMOVED)
            next_look = time.monotonic() + _STATE
        elif not has_ended:
            time.sleep(_LOOK)
