"""Have all farmers of a work directory take no more tasks, wherever they run; what runs goes on to its end.

They wait, and so do those that are started later, until taskfarmer-ctl resume. A PyTaskFarmer goes on.
"""

from __future__ import annotations

import argparse
import os

from taskfarmer_mpi.changes.pause import pause, read_pause
from taskfarmer_mpi.cli.arguments import add_workdir, count_at_work
from taskfarmer_mpi.cli.streams import show
from taskfarmer_mpi.errors import UserError, describe
from taskfarmer_mpi.upkeep.reopening import LOCK_PATIENCE, open_lock, read_stored
from taskfarmer_mpi.workdir.files import Workdir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_workdir(parser)


def run(arguments: argparse.Namespace) -> int:
    """Leave word."""
    workdir = Workdir.existing(arguments.workdir)
    read_stored(workdir)
    lock = open_lock(workdir, os.environ)
    try:
        with lock.held(LOCK_PATIENCE):
            known = read_pause(workdir)
            if not known:
                pause(workdir, lock, os.geteuid())
    except OSError as error:
        raise UserError(describe(error, workdir.path)) from error
    who = count_at_work(workdir)
    show(f"{known} already" if known else f"paused: {who} no more tasks until: taskfarmer-ctl resume {workdir.path}")
    return 0
