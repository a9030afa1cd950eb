"""Questions and answers between rank 0 and the others while they come together."""

from __future__ import annotations

import time
from collections.abc import Iterator

from taskfarmer_mpi.errors import FarmError, UserError
from taskfarmer_mpi.rendezvous.communicator import Comm
from taskfarmer_mpi.rendezvous.patience import Patience
from taskfarmer_mpi.workdir.files import node_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CLOCK_PINGS = 5
_POLL = 0.001


class DismissedError(Exception):
    """Rank 0 ended the job before it began; it said why."""


class SilenceError(FarmError):
    """Rank 0 says nothing."""


def collect(comm: Comm, wanted: str, ranks: set[int], patience: Patience) -> dict[int, Any]:
    """Return the messages of one kind from each of `ranks` that sends one in time; answer questions for the time.

    Parameters
    ----------
    comm
        The way to the other ranks.
    wanted
        The kind of the messages; others than these and what is answered are lost.
    ranks
        Who is expected to send one.
    patience
        How long to wait.

    Raises
    ------
    UserError
        If a rank refused to begin.
    """
    answers: dict[int, Any] = {}
    while ranks - answers.keys() and not patience.is_over:
        for sender, kind, content in comm.receive():
            if kind == "clock":
                comm.send(sender, "clock", (content, time.time()))
            elif kind == wanted:
                answers[sender] = content
            elif kind == "refused":
                raise UserError(str(content))
        time.sleep(_POLL)
    return answers


def words_of_rank_0(comm: Comm, patience: Patience) -> Iterator[tuple[str, Any]]:
    """Yield kind and content of what rank 0 says.

    Raises
    ------
    DismissedError
        If rank 0 ended the job.
    SilenceError
        If it says nothing for too long.
    """
    patience.renew()
    while not patience.is_over:
        for _, kind, content in comm.receive():
            if kind == "dismiss":
                raise DismissedError
            yield kind, content
            patience.renew()
        time.sleep(_POLL)
    raise SilenceError(f"rank {comm.rank} on {node_name()}: no word from rank 0 for {patience.span:.0f} s")


def clock_offset(comm: Comm, patience: Patience) -> float:
    """Return the difference of rank 0's clock to this one's, from the quickest of a few question-and-answer pairs."""
    best = (float("inf"), 0.0)
    comm.send(0, "clock", time.time())
    for answered, (_, (asked, theirs)) in enumerate(words_of_rank_0(comm, patience), 1):
        received = time.time()
        best = min(best, (received - asked, theirs - (asked + received) / 2))
        if answered == CLOCK_PINGS:
            break
        comm.send(0, "clock", time.time())
    return best[1]
