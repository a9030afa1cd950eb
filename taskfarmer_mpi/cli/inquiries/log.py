"""Print the log of a task: of its last run, or of an earlier attempt.

With -f what it writes is printed as it comes, until it has ended.
"""

from __future__ import annotations

import argparse
import sys
import time

from taskfarmer_mpi.cli.arguments import add_workdir, check_ids, count, task_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.logs.following import FollowedLog
    from taskfarmer_mpi.workdir.files import Workdir

_LOOK = 0.2
"""How often it is looked for more [s]."""
_STATE = 1.0
"""How often it is looked whether the task has ended [s]."""
_BLOCK = 1 << 20
_NONE = "the task was not run yet, had no such attempt, or its log was not kept (--logs)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_workdir(parser)
    parser.add_argument("id", type=task_id, metavar="ID", help="the task")
    parser.add_argument("--attempt", type=count, metavar="N", help="the log of an earlier one: logs/log_ID.N, or packed")
    parser.add_argument("-f", "--follow", action="store_true", help="go on printing until the task has ended")


def run(arguments: argparse.Namespace) -> int:
    """Print the log."""
    from taskfarmer_mpi.errors import UserError
    from taskfarmer_mpi.history.task_texts import count_tasks
    from taskfarmer_mpi.logs.following import FollowedLog
    from taskfarmer_mpi.logs.reading import Logs
    from taskfarmer_mpi.workdir.configuration import read_config
    from taskfarmer_mpi.workdir.files import Workdir

    workdir = Workdir.existing(arguments.workdir)
    task, number = arguments.id, arguments.attempt
    followed = FollowedLog(workdir.log(task) if number is None else workdir.log_folder(task) / f"log_{task}.{number}")
    try:
        if arguments.follow and number is None:
            _follow(followed, workdir, arguments.id)
        else:
            _print(followed)
    except OSError as error:
        if error.filename is None:  # of what it prints to
            raise
        raise UserError(f"{followed.path}: cannot read the log: {error.strerror}") from error
    if not followed.is_there:
        logs = Logs(workdir, [arguments.id])
        packed = logs.last_packed(arguments.id) if number is None else logs.packed(arguments.id).get(number)
        if packed is None:
            check_ids([range(arguments.id, arguments.id + 1)], workdir.path, count_tasks(workdir, read_config(workdir)))
            raise UserError(f"{followed.path}: no such log: {_NONE}")
        if packed.packed_length is not None:
            _write(packed.read())
        for offset in range(0, packed.length if packed.packed_length is None else 0, _BLOCK):
            _write(packed.read(offset, _BLOCK))
    return 0


def _follow(followed: FollowedLog, workdir: Workdir, task: int) -> None:
    """Print what a task writes until it has ended; each new attempt from its begin on."""
    from taskfarmer_mpi.history.task_states import Place, TaskStates

    states = TaskStates(workdir)
    next_look = 0.0
    while True:
        is_replaced = followed.is_replaced
        has_news = _print(followed)
        if is_replaced or time.monotonic() >= next_look:
            states.look(task + 1)
            if states.places[task] in (Place.FINISHED, Place.FAILED, Place.REMOVED):
                _print(followed)
                return
            next_look = time.monotonic() + _STATE
        if is_replaced:
            followed.renew()
        elif not has_news:
            time.sleep(_LOOK)


def _print(followed: FollowedLog) -> bool:
    """Print what has come; return whether anything has."""
    has_news = False
    for data in followed.news():
        _write(data)
        has_news = True
    return has_news


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
