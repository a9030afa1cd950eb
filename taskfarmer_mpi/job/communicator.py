"""Messages between the ranks of one job. The only importer of mpi4py, and that only where MPI is wanted.

No call here blocks on another rank: messages are sent without waiting for their receipt and looked for without waiting for
their arrival (a blocking receive burns a whole core, and a collective call hangs where a rank is dead).
"""

from __future__ import annotations

import logging
import os
import pickle
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.job.launcher import SRUN, is_launched, is_pmix_only, launched_rank, launched_size, launcher_of

log = logging.getLogger(__name__)

LEAVE_LIMIT = 10.0
"""How long ranks wait for each other at the end [s]; one that dies in this moment would otherwise hang the others."""
FAREWELL_LIMIT = 1.0
"""How long a rank that leaves without the others waits for its last messages to be received [s]."""

Message = tuple[int, str, Any]
"""Rank of the sender, kind, and content."""


class Comm(Protocol):
    """A way to the other ranks of the job."""

    rank: int
    size: int

    def send(self, dest: int, kind: str, content: object = None) -> None:
        """Send a message; do not wait for anything."""
        ...

    def receive(self) -> Iterator[Message]:
        """Yield the messages that have arrived."""
        ...

    def leave(self, *, are_all_alive: bool) -> bool:
        """End MPI if all ranks do; return whether it ended in order, so that the process may end as any other."""
        ...


class SerialComm:
    """A job of one rank, without MPI."""

    rank = 0
    size = 1

    def send(self, dest: int, kind: str, content: object = None) -> None:
        """There is nobody to send to."""

    def receive(self) -> Iterator[Message]:
        """Nobody sends."""
        return iter(())

    def leave(self, *, are_all_alive: bool) -> bool:
        """Nothing was started."""
        del are_all_alive
        return True


class MpiComm:
    """The ranks of MPI's world."""

    def __init__(self) -> None:
        """Start MPI.

        Raises
        ------
        ImportError, RuntimeError
            If mpi4py or the MPI library is missing or does not fit.
        """
        self._mpi = mpi = load_mpi()
        if not mpi.Is_initialized():
            library = mpi.Get_library_version()
            if (misfit := find_misfit(library, os.environ, loaded_libraries())) is not None:
                raise RuntimeError(misfit)
            with _environment(choose_transport(library, os.environ)):
                mpi.Init()
        self._world = mpi.COMM_WORLD
        self._world.Set_errhandler(mpi.ERRORS_RETURN)
        self._requests: list[Any] = []
        self.rank = self._world.rank
        self.size = self._world.size

    def send(self, dest: int, kind: str, content: object = None) -> None:
        """Send a message; one to a dead rank is lost."""
        try:
            self._requests.append(self._world.issend((kind, content), dest))
        except self._mpi.Exception:
            return

    def receive(self) -> Iterator[Message]:
        """Yield the messages that have arrived."""
        self._requests = [request for request in self._requests if not self._is_done(request)]
        while (message := self._next_message()) is not None:
            yield message

    def _next_message(self) -> Message | None:
        """Return a message that has arrived.

        Where its sender died before it was told so, the library reports an error although the content is there.
        """
        status = self._mpi.Status()
        content = bytearray()
        try:
            envelope = self._world.Improbe(status=status)
            if envelope is None:
                return None
            content = bytearray(status.Get_count(self._mpi.BYTE))
            envelope.Recv([content, self._mpi.BYTE])
        except self._mpi.Exception as error:
            log.info("the sender of a message is dead: %s", str(error).splitlines()[-1])
        try:
            return status.source, *self._mpi.pickle.loads(content)
        except (EOFError, pickle.UnpicklingError):
            return None  # not all of it came

    def _is_done(self, request: Any) -> bool:
        try:
            return bool(request.test()[0])
        except self._mpi.Exception:
            return True  # its receiver is dead

    def leave(self, *, are_all_alive: bool) -> bool:
        """End MPI if all ranks do; return whether it ended in order.

        Where a rank is dead, `MPI_Finalize` would never return. And it fails where a message is left that nobody took: so
        ranks send only messages that are complete when they are received, and each one goes on receiving until all have
        come here with none of theirs under way (the consensus of Hoefler, Siebert and Lumsdaine, PPoPP 2010).
        """
        deadline = time.monotonic() + (LEAVE_LIMIT if are_all_alive else FAREWELL_LIMIT)
        if not are_all_alive:
            while self._requests and time.monotonic() < deadline:
                for _ in self.receive():
                    pass
                time.sleep(0.001)
            return False
        try:
            if not self._arrive(deadline):
                return False
        except self._mpi.Exception:
            return False  # a rank died in this moment
        self._mpi.Finalize()
        return True

    def _arrive(self, deadline: float) -> bool:
        """Wait until all ranks are at the end; return whether they came in time."""
        arrival = None
        while arrival is None or not arrival.Test():
            if time.monotonic() > deadline:
                return False
            for _ in self.receive():
                pass  # said after the job was over
            if arrival is None and not self._requests:
                arrival = self._world.Ibarrier()
            time.sleep(0.001)
        return True


def load_mpi() -> Any:
    """Load the MPI library, without starting MPI, and return mpi4py's module.

    Raises
    ------
    ImportError, RuntimeError
        If mpi4py or the MPI library is missing or does not fit.
    """
    import mpi4py

    mpi4py.rc.threads = False
    mpi4py.rc.initialize = False
    mpi4py.rc.finalize = False
    from mpi4py import MPI

    return MPI


@dataclass(frozen=True, slots=True)
class MpiDescription:
    """Which MPI there is."""

    mpi4py: str
    """Version."""
    module: str
    """The file of mpi4py that was loaded: it is named after the MPI's binary interface where there is a choice."""
    library: str
    """What the library says that it is."""
    path: str
    """The library's file; empty if it is part of another one."""
    standard: str
    """Version of the MPI standard."""


def describe_mpi() -> MpiDescription:
    """Load the MPI library, without starting MPI, and say what it is.

    Raises
    ------
    ImportError, RuntimeError
        If mpi4py or the MPI library is missing or does not fit.
    """
    import mpi4py

    mpi = load_mpi()
    libraries = [path for path in loaded_libraries() if Path(path).name.startswith("libmpi")]
    standard = "{}.{}".format(*mpi.Get_version())
    said = [" ".join(line.split()) for line in mpi.Get_library_version().replace("\0", "").splitlines()]
    library = ", ".join([said[0], *(line for line in said[1:] if "Device" in line)])
    return MpiDescription(mpi4py.__version__, mpi.__file__, library, next(iter(libraries), ""), standard)


def loaded_libraries() -> list[str]:
    """Return the paths of the shared libraries of MPI and of process management that this process has loaded."""
    paths = {line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/" in line}
    return sorted(path for path in paths if Path(path).name.startswith(("libmpi", "libpmi")))


def find_misfit(library: str, environ: Mapping[str, str], loaded: list[str]) -> str | None:
    """Return why MPI may not be started: where launcher and library do not fit, some libraries end the process.

    Parameters
    ----------
    library
        What the MPI library says that it is.
    environ
        The environment.
    loaded
        The libraries that came with it.
    """
    if not library.startswith("MPICH") or not is_pmix_only(environ) or any("libpmix" in path for path in loaded):
        return None
    launcher = launcher_of(environ) or "the launcher"
    return f"{launcher} speaks PMIx, and the MPI library that mpi4py loads does not: {library.split(chr(10))[0]}"


def choose_transport(library: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with which MPICH starts where its own choice may fail.

    Over UCX, MPICH 5.0 tells the others of memory behind its address, too. What that needs is at times longer than the 1,024
    bytes of a line that Slurm's PMI takes, and then the process is ended. Over OFI it is short.

    Parameters
    ----------
    library
        What the MPI library says that it is.
    environ
        The environment.
    """
    device = next((line for line in library.splitlines() if line.startswith("MPICH Device")), "")
    is_choice = "ucx" in device and "ofi" in device and not environ.keys() & {"MPIR_CVAR_CH4_NETMOD", "MPICH_CH4_NETMOD"}
    return {"MPIR_CVAR_CH4_NETMOD": "ofi"} if is_choice and launcher_of(environ) == SRUN and "PMI_FD" in environ else {}


@contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    os.environ.update(more)
    try:
        yield
    finally:
        for name in more:
            del os.environ[name]


def connect(mode: str, environ: Mapping[str, str] = os.environ) -> tuple[Comm, str | None]:
    """Return the way to the other ranks, and a warning if the launch went wrong.

    Parameters
    ----------
    mode
        ``"on"``, ``"off"``, or ``"auto"``: start MPI only under a launcher.
    environ
        The environment.

    Raises
    ------
    UserError
        If MPI is asked for and cannot be started.
    """
    if mode == "off" or (mode == "auto" and not is_launched(environ)):
        return SerialComm(), _lost_ranks(1, environ) if mode == "auto" else None
    try:
        comm = MpiComm()
    except (ImportError, RuntimeError) as error:
        reason = f"MPI cannot be started: {str(error).splitlines()[0]}"
        if mode == "on":
            raise UserError(f"--mpi on: {reason}") from error
        return SerialComm(), _lost_ranks(1, environ, reason)
    return comm, _lost_ranks(comm.size, environ)


def _lost_ranks(size: int, environ: Mapping[str, str], reason: str | None = None) -> str | None:
    """Warn of processes that should be ranks of one job and are not: the first of them does."""
    started = launched_size(environ)
    if launched_rank(environ) != 0 or size > 1 or (started <= 1 and reason is None):
        return None
    what = reason or f"{started} processes were started, but MPI connects none of them"
    return (
        f"{what}: they work as independent farmers. Start them with the mpiexec of the MPI library that mpi4py loads, or"
        " with srun --mpi=pmi2 (or pmix, cray_shasta)"
    )
