"""Stop all farmers of taskfarmer_mpi that work on a directory, wherever they run, as SIGUSR1 does.

Their tasks go back to the list. PyTaskFarmer farmers do not heed it: send them SIGUSR1.
"""

from __future__ import annotations

import argparse
import os

from taskfarmer_mpi.cli.arguments import add_workdir, seconds
from taskfarmer_mpi.cli.streams import show
from taskfarmer_mpi.upkeep.stopping import farmers_at_work, request_stop, wait_for_end, withdraw_stop
from taskfarmer_mpi.workdir.files import Workdir

EXIT_WORKING = 75
"""Farmers are at work still."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_workdir(parser)
    parser.add_argument("--drain", action="store_true", help="let running tasks come to their end; start no others")
    parser.add_argument(
        "--wait",
        type=seconds,
        metavar="SECONDS",
        help="how long to wait until they have ended; 0: do not (default: 60, with --drain until they have)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Leave the request, and wait."""
    workdir = Workdir.existing(arguments.workdir)
    farmers = farmers_at_work(workdir)
    if not farmers:
        print("no farmer of taskfarmer_mpi is at work here")
        return 0
    request = request_stop(workdir, os.environ, farmers, is_drain=arguments.drain)
    what = "1 farmer is" if len(farmers) == 1 else f"{len(farmers)} farmers are"
    print(f"{what} told to {'end what runs and ' if arguments.drain else ''}stop", flush=True)
    wait = arguments.wait if arguments.wait is not None else float("inf") if arguments.drain else 60.0
    left = wait_for_end(farmers, wait)
    if left:
        for farmer in left:
            show(f"at work still: {farmer.identity.label}")
        return EXIT_WORKING
    print("all have ended")
    withdraw_stop(workdir, request)
    return 0
