"""A request to all farmers of a work directory to stop, left there as a file.

It names the farmers that it is for, so those that start later do not heed it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.errors import FarmError
from taskfarmer_mpi.workdir.files import Workdir, read_file

LOOK_INTERVAL = 1.0
"""How often a job looks for a request [s], and up to twice as often where a visit has just opened the directory anew."""


class StopRequest(Value):
    """What a user wants."""

    farmers: frozenset[str]
    """The names of those that are to stop."""
    is_drain: bool
    """Whether running tasks may come to their end."""
    halt: str = ""
    """Why farmers stop by themselves, if nobody asked them to."""

    @property
    def reason(self) -> str:
        """Why a farmer stopped, for its summary."""
        return self.halt or ("taskfarmer-ctl stop --drain" if self.is_drain else "taskfarmer-ctl stop")


def encode_request(request: StopRequest) -> bytes:
    """Encode the content of the file."""
    content = {"drain": request.is_drain, "farmers": sorted(request.farmers), "halt": request.halt}
    return json.dumps(content).encode() + b"\n"


def parse_request(data: bytes) -> StopRequest | None:
    """Decode the content of the file; None if it is none."""
    try:
        content = json.loads(data)
        return StopRequest(frozenset(content["farmers"]), bool(content["drain"]), str(content.get("halt", "")))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def stop_requests(
    workdir: Workdir, farmer: str, clock: Callable[[], float] = time.monotonic
) -> Iterator[StopRequest | None]:
    """Yield the request that this farmer is to heed now, or None; looks at the file now and then only."""
    next_look, seen = clock() + LOOK_INTERVAL, workdir.refreshed
    while True:
        left = next_look - clock()
        is_fresh = workdir.refreshed != seen and left < LOOK_INTERVAL / 2
        if left > 0 and not is_fresh:
            yield None
            continue
        next_look = clock() + LOOK_INTERVAL
        try:
            if not is_fresh:
                workdir.refresh(is_deep=False)
            seen = workdir.refreshed
            data = read_file(workdir.stop_request)
        except (OSError, FarmError):
            data = None  # a directory in trouble is a matter of the next visit
        request = parse_request(data) if data else None
        yield request if request is not None and farmer in request.farmers else None
