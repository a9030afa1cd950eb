"""Have the farmers of a work directory take tasks again, after taskfarmer-ctl pause."""

from __future__ import annotations

import argparse
import os

from taskfarmer_mpi.changes.pause import read_pause, resume
from taskfarmer_mpi.cli.arguments import add_workdir, count_at_work
from taskfarmer_mpi.cli.streams import show
from taskfarmer_mpi.errors import UserError, describe
from taskfarmer_mpi.upkeep.reopening import LOCK_PATIENCE, open_lock, read_stored
from taskfarmer_mpi.workdir.files import Workdir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_workdir(parser)


def run(arguments: argparse.Namespace) -> int:
    """Take the word back."""
    workdir = Workdir.existing(arguments.workdir)
    read_stored(workdir)
    lock = open_lock(workdir, os.environ)
    try:
        with lock.held(LOCK_PATIENCE):
            known = read_pause(workdir)
            if known:
                resume(workdir, lock)
    except OSError as error:
        raise UserError(describe(error, workdir.path)) from error
    show(f"no more {known}: {count_at_work(workdir)} tasks again" if known else "not paused")
    return 0
