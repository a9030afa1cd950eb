"""Tells all farmers of a work directory to stop, wherever they run, and waits until they have."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.history.runs import FarmerHistory, FarmerState, read_histories
from taskfarmer_mpi.upkeep.reopening import LOCK_PATIENCE, open_lock
from taskfarmer_mpi.workdir.files import Workdir, read_file, replace_file
from taskfarmer_mpi.workdir.stop_requests import StopRequest, encode_request

_AT_WORK = (FarmerState.ALIVE, FarmerState.UNKNOWN)


def farmers_at_work(workdir: Workdir) -> list[FarmerHistory]:
    """Return the farmers that live, or may live."""
    histories, _ = read_histories(workdir)
    return [history for history in histories if history.state in _AT_WORK]


def request_stop(workdir: Workdir, environ: Mapping[str, str], farmers: list[FarmerHistory], *, is_drain: bool) -> bytes:
    """Leave a request to stop for some farmers, and return it.

    Parameters
    ----------
    workdir, environ
        The work directory, and the environment that says where its lock is.
    farmers
        Who is to stop.
    is_drain
        Whether running tasks may come to their end.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    request = encode_request(StopRequest(frozenset(farmer.identity.farmer for farmer in farmers), is_drain))
    try:
        with open_lock(workdir, environ).held(LOCK_PATIENCE):
            replace_file(workdir.stop_request, request)
    except OSError as error:
        raise UserError(f"{workdir.stop_request}: cannot write: {error.strerror}") from error
    return request


def withdraw_stop(workdir: Workdir, request: bytes) -> None:
    """Take a request away that everybody has heeded, unless there is another one now."""
    with suppress(FileNotFoundError):
        if read_file(workdir.stop_request) == request:
            workdir.stop_request.unlink()


def wait_for_end(farmers: list[FarmerHistory], patience: float) -> list[FarmerHistory]:
    """Wait for some time [s]; return those that are at work still. Pauses grow, as a drain can take hours."""
    deadline = time.monotonic() + patience
    pause = 0.1
    while True:
        farmers = [farmer for farmer in farmers if farmer.state_now() in _AT_WORK]
        left = deadline - time.monotonic()
        if not farmers or left <= 0:
            return farmers
        pause = min(1.2 * pause, 5.0)
        time.sleep(min(pause, left))
