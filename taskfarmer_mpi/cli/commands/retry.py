"""Put failed tasks, or tasks of given IDs that have ended, back on the list.

With --host, --exit, --cause, --since or --match only those failed tasks are meant for which all of these are true; --all
means the tasks that finished, too, and so starts over. The logs are kept as logs/log_ID.1, .2 and so on. Farmers that are at
work take the tasks at once.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shlex
import signal
from collections.abc import Collection

from taskfarmer_mpi.cli.arguments import add_workdir, check_ids, past_moment, task_ids
from taskfarmer_mpi.cli.streams import show
from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.common.wording import list_ids, tasks
from taskfarmer_mpi.errors import UserError, describe
from taskfarmer_mpi.history.failure_filter import LOG_LINES, FailureFilter
from taskfarmer_mpi.history.runs import FarmerState, read_histories
from taskfarmer_mpi.history.task_texts import count_tasks
from taskfarmer_mpi.upkeep.reopening import LOCK_PATIENCE, hands, open_lock, read_stored
from taskfarmer_mpi.upkeep.retry import Retried, retry_tasks
from taskfarmer_mpi.workdir.files import Workdir, read_file
from taskfarmer_mpi.workdir.lists import ids_in
from taskfarmer_mpi.workdir.locks import WorkLock

CAUSES = (
    *(Cause.EXIT, Cause.SIGNAL, Cause.TIME_LIMIT, Cause.MEMORY, Cause.NOT_STARTED, Cause.CANCELLED, Cause.CRASHES),
    *(Cause.FARMER_DIED, Cause.NODE_LOST),
)
"""Those with which a task is in `failed`; the last two say how its farmer died at the crash limit."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_workdir(parser)
    parser.add_argument(
        "ids", type=task_ids, nargs="*", metavar="ID", help="tasks, also as ranges like 10-19 (default: all that failed)"
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="all tasks that have ended, also those that finished, but none that was removed: start over",
    )
    about = parser.add_argument_group("which of the failed tasks")
    about.add_argument(
        "--host", action="append", default=[], metavar="NODE", help="ran on this node; may be given several times"
    )
    about.add_argument(
        "--exit",
        action="append",
        default=[],
        type=_exit_code,
        metavar="CODE",
        help="ended with this exit code or signal, like 1 or SIGKILL; may be given several times",
    )
    about.add_argument(
        "--cause",
        action="append",
        default=[],
        type=_cause,
        metavar="CAUSE",
        help=f"ended for this cause: {', '.join(map(_word, CAUSES))} (the last two: at the crash limit, by how the last"
        " of its farmers died); may be given several times",
    )
    about.add_argument(
        "--since", type=past_moment, default=-math.inf, metavar="TIME", help="ended since 2026-05-27T14:30, or 2h ago: 2h"
    )
    about.add_argument(
        "--match", default="", metavar="TEXT", help=f"has this text in one of the last {LOG_LINES} lines of its log"
    )


def _exit_code(text: str) -> int:
    """Return an exit code, or minus the number of a signal."""
    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    if name in signal.Signals.__members__:
        return -signal.Signals[name]
    if not re.fullmatch(r"-?\d{1,3}", text) or not (-64 <= int(text) <= 255 and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not an exit code from 1 to 255, or a signal like SIGKILL or -9")
    return int(text)


def _word(cause: Cause) -> str:
    return cause.replace(" ", "-")


def _cause(text: str) -> Cause:
    found = next((cause for cause in CAUSES if text.replace("-", " ") == cause), None)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a cause of failures: {', '.join(map(_word, CAUSES))}")
    return found


def run(arguments: argparse.Namespace) -> int:
    """Move the tasks and say which."""
    workdir = Workdir.existing(arguments.workdir)
    stored = read_stored(workdir)
    ids = check_ids(arguments.ids, workdir.path, count_tasks(workdir, stored))
    causes = frozenset(arguments.cause)
    chosen = FailureFilter(frozenset(arguments.host), frozenset(arguments.exit), arguments.since, arguments.match, causes)
    if arguments.all and not (ids is None and chosen.is_open):
        raise UserError("--all means every task that has ended: leave IDs and all other conditions away")
    lock = open_lock(workdir, os.environ)
    try:
        if not chosen.is_open:
            failed = _failed(workdir, lock)
            _check_hosts(workdir, chosen.hosts)
            ids = set(chosen.select(workdir, failed if ids is None else failed & ids))
        if arguments.all:
            ids = set(range(count_tasks(workdir, stored))).difference(ids_in(read_file(workdir.removed) or b""))
        with hands(workdir, lock) as journal:
            result = retry_tasks(workdir, lock, journal, stored.listed, ids, LOCK_PATIENCE)
    except OSError as error:
        raise UserError(describe(error, workdir.path)) from error
    return _report(result, workdir, is_ok=arguments.all)


def _failed(workdir: Workdir, lock: WorkLock) -> set[int]:
    with lock.held(LOCK_PATIENCE):
        return set(ids_in(read_file(workdir.failed) or b""))


def _check_hosts(workdir: Workdir, hosts: Collection[str]) -> None:
    known = sorted({history.identity.host for history in read_histories(workdir)[0] if history.identity.slots})
    unknown = sorted(set(hosts) - set(known))
    if unknown:
        raise UserError(f"{workdir.path}: no farmer worked on {', '.join(unknown)}; nodes: {', '.join(known) or 'none'}")


def _report(result: Retried, workdir: Workdir, *, is_ok: bool) -> int:
    """Say what was done; `is_ok`: it is no mistake that some have not ended."""
    if result.not_ended:
        shown = list_ids(result.not_ended)
        print(f"left alone, as they have not ended: {shown}")
    print(f"back on the list: {tasks(len(result.tasks))}{': ' if result.tasks else ''}{list_ids(result.tasks)}")
    if result.tasks and not _is_anyone_at_work(workdir):
        show(f"no farmer is at work: start one with taskfarmer-mpi --workdir {shlex.quote(str(workdir.path))}")
    return 0 if is_ok or not result.not_ended else 2


def _is_anyone_at_work(workdir: Workdir) -> bool:
    working = (FarmerState.ALIVE, FarmerState.UNKNOWN)
    return any(history.identity.slots and history.state in working for history in read_histories(workdir)[0])
