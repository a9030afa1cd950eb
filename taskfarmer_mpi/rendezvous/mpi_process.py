"""The process of a rank that speaks MPI: it starts MPI, hands messages on, and ends MPI once all ranks do.

A farmer is its parent and never loads the MPI library. So whatever the library does (hang where a rank is missing, end its
process, catch signals, burn a core) the farmer sees it as an event. Launchers take a child of the process that they started
for the rank: it has inherited all that they gave it.
"""

from __future__ import annotations

import os
import time
import warnings
from typing import Any

from taskfarmer_mpi.common.c_library import die_with_parent, end_process
from taskfarmer_mpi.rendezvous.frames import Frames

POLL = (0.0005, 0.01)
"""Shortest and longest time between two looks for messages [s]: a blocking receive burns a whole core."""


class Relay:
    """Hands messages on between a farmer and the other ranks' relays; no call blocks."""

    def __init__(self, mpi: Any, frames: Frames) -> None:
        self._mpi = mpi
        self._world = mpi.COMM_WORLD
        self._frames = frames
        self._requests: list[Any] = []
        self._pause = POLL[0]

    def run(self) -> bool:
        """Relay until the farmer wants to leave or is gone; return whether MPI has ended in order."""
        self._frames.put(("up", self._world.rank, self._world.size))
        while not self._frames.is_closed:
            is_quiet = True
            for frame in self._frames.take():
                is_quiet = False
                if frame[0] == "leave":
                    return self._leave(frame[1])
                self._send(*frame[1:])
            if not self._hand_in() and is_quiet:
                self._pause = min(2 * self._pause, POLL[1])
                self._frames.wait(self._pause)
            else:
                self._pause = POLL[0]
        return False

    def _send(self, dest: int, content: bytes) -> None:
        try:
            self._requests.append(self._world.Issend([content, self._mpi.BYTE], dest))
        except self._mpi.Exception:
            return  # a message to a dead rank is lost

    def _hand_in(self) -> bool:
        """Give the farmer the messages that have arrived; return whether there were any."""
        self._requests = [request for request in self._requests if not self._is_done(request)]
        is_any = False
        while (message := self._next_message()) is not None:
            is_any = True
            self._frames.put(("message", *message))
        return is_any

    def _next_message(self) -> tuple[int, bytes] | None:
        """Return a message that has arrived.

        Where its sender died before it was told so, the library reports an error although the content may be there.
        """
        status = self._mpi.Status()
        content = None
        try:
            if (envelope := self._world.Improbe(status=status)) is not None:
                content = bytearray(status.Get_count(self._mpi.BYTE))
                envelope.Recv([content, self._mpi.BYTE])
        except self._mpi.Exception:
            pass
        return None if content is None else (status.source, bytes(content))

    def _is_done(self, request: Any) -> bool:
        try:
            return bool(request.Test())
        except self._mpi.Exception:
            return True  # its receiver is dead

    def _leave(self, limit: float) -> bool:
        """End MPI if all ranks do within a time [s].

        `MPI_Finalize` would never return where a rank is dead, and fail where a message is left that nobody took: so each
        rank goes on receiving until all have come here with none of theirs under way (the consensus of Hoefler, Siebert
        and Lumsdaine, PPoPP 2010).
        """
        deadline = time.monotonic() + limit
        arrival = None
        try:
            while arrival is None or not arrival.Test():
                if time.monotonic() > deadline or self._frames.is_closed:
                    return False
                self._hand_in()
                self._frames.flush()
                if arrival is None and not self._requests:
                    arrival = self._world.Ibarrier()
                time.sleep(POLL[0])
        except self._mpi.Exception:
            return False  # a rank died in this moment
        self._mpi.Finalize()
        return True


def run_mpi(frames: Frames, farmer: int, output: int) -> None:
    """Be the process that speaks MPI, to its end: this does not return.

    Parameters
    ----------
    frames
        The way to the farmer.
    farmer
        Its process.
    output
        Descriptor of the file that takes what the library prints.
    """
    die_with_parent(farmer)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    warnings.simplefilter("ignore")  # mpi4py's: each rank would say the same, before what the library says when it fails
    try:
        from taskfarmer_mpi.rendezvous.mpi_library import start_mpi

        is_in_order = Relay(start_mpi(), frames).run()
    except (ImportError, RuntimeError) as error:
        frames.put(("failed", str(error).splitlines()[0]))
        os._exit(1)
    if not is_in_order:
        frames.put(("stuck",))
        while not frames.is_closed:  # a launcher may take the end of a process that has not left MPI for a failure of all
            frames.wait(60.0)
        os._exit(1)
    end_process(0)  # MPICH says farewell to mpiexec only here
