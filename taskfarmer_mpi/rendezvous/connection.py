"""Connects the ranks: by MPI where a launcher started several, else there is nobody; says where a launch went wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.rendezvous.communicator import PATIENCE, Comm, MissingRankError, MpiError, SerialComm
from taskfarmer_mpi.rendezvous.launcher import is_launched, launched_rank, launched_size
from taskfarmer_mpi.rendezvous.patience import Hurry, never


def connect(
    mode: str,
    environ: Mapping[str, str] = os.environ,
    patience: float = PATIENCE,
    is_hurried: Hurry = never,
) -> tuple[Comm, str | None]:
    """Return the way to the other ranks, and a warning if the launch went wrong.

    Parameters
    ----------
    mode
        ``"on"``, ``"off"``, or ``"auto"``: start MPI only under a launcher.
    environ
        The environment.
    patience
        How long to wait for MPI to come up [s].
    is_hurried
        Whether there is no time, as this farmer was told to stop.

    Raises
    ------
    UserError
        If MPI is asked for and cannot be started.
    StoppedError
        If this farmer was told to stop, and MPI does not come up soon.
    """
    if mode == "off" or (mode == "auto" and not is_launched(environ)):
        return SerialComm(), _lost_ranks(1, environ) if mode == "auto" else None
    from taskfarmer_mpi.rendezvous.mpi_comm import start_comm

    try:
        comm = start_comm(patience, is_hurried)
    except MpiError as error:
        if mode == "on":
            raise UserError(f"--mpi on: {error}") from error
        return SerialComm(), _lost_ranks(1, environ, error)
    return comm, _lost_ranks(comm.size, environ)


def _lost_ranks(size: int, environ: Mapping[str, str], reason: MpiError | None = None) -> str | None:
    """Warn of processes that should be ranks of one job and are not: the first of them does."""
    started = launched_size(environ)
    if launched_rank(environ) != 0 or size > 1 or (started <= 1 and reason is None):
        return None
    if isinstance(reason, MissingRankError):
        return f"{reason}: those that are there work as independent farmers"
    what = reason or f"{started} processes were started, but MPI connects none of them"
    return (
        f"{what}: they work as independent farmers. Start them with the mpiexec of the MPI library that mpi4py loads, or"
        " with srun --mpi=pmi2 (or pmix, cray_shasta)"
    )
