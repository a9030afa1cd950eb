"""The farmer's side of MPI: its child process, what becomes of it, and the messages that come through it."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.signals import STOP_SIGNALS
from taskfarmer_mpi.errors import is_shortage
from taskfarmer_mpi.rendezvous.communicator import Message, MissingRankError, MpiError, StoppedError
from taskfarmer_mpi.rendezvous.frames import Frames
from taskfarmer_mpi.rendezvous.mpi_process import run_mpi
from taskfarmer_mpi.rendezvous.patience import STOP_PATIENCE, Hurry, Patience, never

log = Log(__name__)

LEAVE_LIMIT = 10.0
"""How long ranks wait for each other at the end of MPI [s]."""
END_LIMIT = 5.0
"""How long `MPI_Finalize` may take once all ranks are there [s]."""
_POLL = 0.02
_SHORTAGE_PAUSE = 0.5


class MpiChild:
    """The child process that speaks MPI."""

    def __init__(self) -> None:
        """Make it; early, as long as this process has no threads."""
        own, other = socket.socketpair()
        try:
            self._output = os.memfd_create("MPI")
        except OSError:
            own.close()
            other.close()
            raise
        farmer = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        signals = signal.pthread_sigmask(signal.SIG_BLOCK, {*STOP_SIGNALS, signal.SIGHUP})
        try:
            self._pid = os.fork()
            if self._pid == 0:
                own.close()
                signal.set_wakeup_fd(-1)
                run_mpi(Frames(other), farmer, self._output)
        except OSError:
            os.close(self._output)
            own.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, signals)
            other.close()
        self.frames = Frames(own)

    def freeze(self) -> None:
        """Leave it as it is: some launchers take its death for that of all ranks. It costs nothing, and dies with us."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGSTOP)

    def reap(self) -> int:
        """Wait for its end, which is certain; return its exit code."""
        _, status = os.waitpid(self._pid, 0)
        self.frames.close()
        return os.waitstatus_to_exitcode(status)

    def said(self) -> list[str]:
        """Return the lines that say something of what the library printed."""
        text = os.pread(self._output, 1 << 16, 0).decode(errors="replace")
        return [line.strip() for line in text.splitlines() if any(map(str.isalnum, line))]


class MpiComm:
    """The ranks of MPI's world, as long as they come together."""

    def __init__(
        self, frames: Frames, rank: int, size: int, child: MpiChild | None = None, is_hurried: Hurry = never
    ) -> None:
        """Use MPI through the process that speaks it.

        Parameters
        ----------
        frames
            The way to it.
        rank, size
            What it has found out.
        child
            The process, if it is one of its own.
        is_hurried
            Whether there is no time, as this farmer was told to stop.
        """
        self.rank = rank
        self.size = size
        self._frames = frames
        self._child = child
        self._is_hurried = is_hurried

    def send(self, dest: int, kind: str, content: object = None) -> None:
        """Send a message; do not wait for anything."""
        self._frames.put(("send", dest, pickle.dumps((kind, content))))

    def receive(self) -> Iterator[Message]:
        """Yield the messages that have arrived."""
        for frame in self._frames.take():
            if frame[0] == "message":
                with suppress(EOFError, pickle.UnpicklingError):  # its sender died, and not all of it came
                    yield frame[1], *pickle.loads(frame[2])  # noqa: S301  of a rank of the same job, through MPI

    def leave(self) -> None:
        """End MPI, together with all other ranks if they come in time."""
        child, self._child = self._child, None
        if child is None:
            return
        limit = STOP_PATIENCE if self._is_hurried() else LEAVE_LIMIT
        self._frames.put(("leave", limit))
        deadline = time.monotonic() + limit + END_LIMIT
        is_stuck = False
        while not (is_stuck or self._frames.is_closed) and time.monotonic() < deadline:
            self._frames.wait(_POLL)
            is_stuck = any(frame[0] == "stuck" for frame in self._frames.take())
        for line in child.said():
            log.info("MPI: %s", line)
        if self._frames.is_closed:
            child.reap()
        else:
            log.info("MPI has not ended in order, as a rank is missing; it is not needed any more")
            child.freeze()


def start_comm(patience: float, is_hurried: Hurry = never) -> MpiComm:
    """Start MPI in a child process, and return the way to the other ranks.

    Parameters
    ----------
    patience
        How long to wait for MPI to come up [s].
    is_hurried
        Whether there is no time, as this farmer was told to stop.

    Raises
    ------
    MpiError
        If it does not come up.
    StoppedError
        If this farmer was told to stop, and it does not come up soon.
    """
    limit = Patience(patience, is_hurried)
    child = _start_child(limit)
    frames = child.frames
    word = None
    while word is None and not frames.is_closed and not limit.is_over:
        frames.wait(_POLL)
        word = next(frames.take(), None)
    if word is None and not frames.is_closed:
        child.freeze()
        if limit.is_cut:
            raise StoppedError("told to stop before the ranks came together")
        raise MissingRankError(f"MPI did not start within {patience:.0f} s, as a rank is missing or cannot be reached")
    if word is not None and word[0] == "up":
        return MpiComm(frames, word[1], word[2], child, is_hurried)
    code = child.reap()
    if word is not None:
        raise MpiError(f"MPI cannot be started: {word[1]}")
    how = f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
    said = next(iter(child.said()), "and said nothing")
    raise MpiError(f"MPI cannot be started: its library ended the process {how}: {said}")


def _start_child(limit: Patience) -> MpiChild:
    """Make the child; wait while processes, memory or descriptors are short."""
    while True:
        try:
            return MpiChild()
        except OSError as error:
            if not is_shortage(error) or limit.is_over:
                raise MpiError(f"MPI cannot be started: no process for it: {error.strerror}") from error
        time.sleep(_SHORTAGE_PAUSE)
