"""Stop all farmers of taskfarmer_mpi that work on a directory, wherever they run, as SIGUSR1 does.

Their tasks go back to the list. PyTaskFarmer farmers do not heed it: send them SIGUSR1.
"""

from __future__ import annotations

import argparse
import os
import time
from contextlib import suppress

from taskfarmer_mpi.cli.arguments import add_workdir, seconds
from taskfarmer_mpi.cli.streams import show
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.history.runs import FarmerHistory, FarmerState, read_histories
from taskfarmer_mpi.upkeep.reopening import LOCK_PATIENCE, open_lock
from taskfarmer_mpi.workdir.files import Workdir, read_file, replace_file
from taskfarmer_mpi.workdir.stop_requests import StopRequest, encode_request

EXIT_WORKING = 75
"""Farmers are at work still."""
_AT_WORK = (FarmerState.ALIVE, FarmerState.UNKNOWN)


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
    farmers = _at_work(workdir)
    if not farmers:
        print("no farmer of taskfarmer_mpi is at work here")
        return 0
    request = encode_request(StopRequest(frozenset(farmer.identity.farmer for farmer in farmers), arguments.drain))
    try:
        with open_lock(workdir, os.environ).held(LOCK_PATIENCE):
            replace_file(workdir.stop_request, request)
    except OSError as error:
        raise UserError(f"{workdir.stop_request}: cannot write: {error.strerror}") from error
    what = "1 farmer is" if len(farmers) == 1 else f"{len(farmers)} farmers are"
    print(f"{what} told to {'end what runs and ' if arguments.drain else ''}stop", flush=True)
    wait = arguments.wait if arguments.wait is not None else float("inf") if arguments.drain else 60.0
    left = _wait_for_end(farmers, wait)
    if left:
        for farmer in left:
            show(f"at work still: {farmer.identity.label}")
        return EXIT_WORKING
    print("all have ended")
    with suppress(FileNotFoundError):
        if read_file(workdir.stop_request) == request:
            workdir.stop_request.unlink()
    return 0


def _at_work(workdir: Workdir) -> list[FarmerHistory]:
    histories, _ = read_histories(workdir)
    return [history for history in histories if history.state in _AT_WORK]


def _wait_for_end(farmers: list[FarmerHistory], patience: float) -> list[FarmerHistory]:
    """Return those that are at work still; looks again after pauses that grow, as a drain can take hours."""
    deadline = time.monotonic() + patience
    pause = 0.1
    while True:
        farmers = [farmer for farmer in farmers if farmer.state_now() in _AT_WORK]
        left = deadline - time.monotonic()
        if not farmers or left <= 0:
            return farmers
        pause = min(1.2 * pause, 5.0)
        time.sleep(min(pause, left))
