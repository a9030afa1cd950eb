"""The MPI library: loading and starting it, and what it says of itself. The only importer of mpi4py.

Loading it can end the process where MPI may not be started, and so does starting it where launcher and library do not fit:
a farmer does both in a child process (`mpi_process`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.rendezvous.launcher import SRUN, is_pmix_only, launcher_of


def start_mpi() -> Any:
    """Start MPI, if that was not done, and return mpi4py's module.

    Raises
    ------
    ImportError, RuntimeError
        If mpi4py or the MPI library is missing or does not fit.
    """
    mpi = load_mpi()
    if not mpi.Is_initialized():
        library = mpi.Get_library_version()
        if (misfit := find_misfit(library, os.environ, loaded_libraries())) is not None:
            raise RuntimeError(misfit)
        with _environment(choose_transport(library, os.environ)):
            mpi.Init()
    mpi.COMM_WORLD.Set_errhandler(mpi.ERRORS_RETURN)
    return mpi


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


class MpiDescription(Value):
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
