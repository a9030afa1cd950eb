"""Add tasks to a work directory; farmers that are at work take them at once.

Each COMMAND is one task, so quote it: taskfarmer-ctl add WORKDIR 'python fit.py 7' 'python fit.py 8'
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from taskfarmer_mpi.cli.arguments import add_workdir, file_name
from taskfarmer_mpi.cli.streams import show
from taskfarmer_mpi.common.wording import tasks
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.history.runs import FarmerState, read_histories
from taskfarmer_mpi.policies.rules import read_rules
from taskfarmer_mpi.policies.settings import has_barriers
from taskfarmer_mpi.tasklists.lines import read_task_lines
from taskfarmer_mpi.upkeep.added_tasks import BATCH, add_tasks, check_texts
from taskfarmer_mpi.upkeep.reopening import LOCK_PATIENCE, read_stored, reopen_farm
from taskfarmer_mpi.workdir.catalog import Origin
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import Workdir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_workdir(parser)
    parser.add_argument(
        "commands", nargs="*", metavar="COMMAND", help="a task, written as in the tasklist; - alone: the same as --file -"
    )
    parser.add_argument(
        "-f", "--file", type=file_name, metavar="F", help="a file with one task per line, as a tasklist has them; -: stdin"
    )

    parser.add_argument(
        "--parsable", action="store_true", help="print the new IDs only, as ranges like 10-19 or single ones, one a line"
    )


def run(arguments: argparse.Namespace) -> int:
    """Add the tasks and say which IDs they have."""
    directives: tuple[tuple[int, str], ...] = ()
    if arguments.commands == ["-"] and arguments.file is None:
        arguments.commands, arguments.file = [], Path("-")
    texts = [command.strip().encode("utf-8", "surrogateescape") for command in arguments.commands]
    if arguments.file is not None:
        lines = read_task_lines(Path("/dev/stdin") if str(arguments.file) == "-" else arguments.file)
        directives = tuple((index + len(texts), text) for index, text in lines.directives)
        texts += [lines.raw(number) for number in range(len(lines))]
    elif not texts:
        raise UserError("nothing to add: give commands, or --file with one task per line")
    farm = reopen_farm(Workdir.existing(arguments.workdir), os.environ)
    check_texts(farm, texts)
    directives = _check_settings(farm, directives, texts, str(arguments.file or "add"))
    parts: list[range] = []
    for start in range(0, len(texts), BATCH):
        with farm.lock.held(LOCK_PATIENCE):
            added = add_tasks(farm, texts[start : start + BATCH], Origin.USER, directives, start)
        if parts and parts[-1].stop == added.start:  # nobody else added some between
            added = range(parts.pop().start, added.stop)
        parts.append(added)
    if arguments.parsable:
        show(*(str(part.start) if len(part) == 1 else f"{part.start}-{part.stop - 1}" for part in parts))
        return 0
    for part in parts:
        print(f"added {tasks(len(part))}: {part.start}" + (f" to {part.stop - 1}" if len(part) > 1 else ""))
    if not texts:
        print("added 0 tasks")
    histories, _ = read_histories(farm.workdir)
    if not any(history.state is FarmerState.ALIVE for history in histories):
        print("no farmer of taskfarmer_mpi is at work here: they wait for the next start")
    return 0


def _check_settings(
    farm: Farm, directives: tuple[tuple[int, str], ...], texts: list[bytes], place: str
) -> tuple[tuple[int, str], ...]:
    """Return what the new tasks have, also by columns of their rows, once it is known that they can have it."""
    if callable(settings_of := getattr(farm.handler, "settings_of", None)):
        directives = settings_of(directives, texts)
    if directives:
        from taskfarmer_mpi.tasklists.directives import refuse_unmet

        refuse_unmet(place, directives, read_rules(read_stored(farm.workdir).rules))
        if any(has_barriers(text) for _, text in directives):
            raise UserError(
                f"{place}: #TF barrier: tasks that are added are before all barriers: append lines to the tasklist"
            )
    return directives
