"""What one process can find out about where it runs: versions, MPI, how it was launched, how much time is left."""

from __future__ import annotations

import json
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import taskfarmer_mpi
from taskfarmer_mpi.common.programs import Ask, AskError, ask
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.rendezvous.launcher import SRUN, interface_of, launcher_of, started_ranks
from taskfarmer_mpi.rendezvous.mpi_library import MpiDescription
from taskfarmer_mpi.workdir.lock_files import LockFile

_DESCRIBE = """\
import json
from taskfarmer_mpi.common.values import as_dict
from taskfarmer_mpi.rendezvous.mpi_library import describe_mpi
print("MPI:" + json.dumps(as_dict(describe_mpi())))
"""


class Finding(Value):
    """One line of the page."""

    topic: str
    text: str
    mend: str | None = None
    """What to do about it; None if nothing is wrong."""


# -- versions ---------------------------------------------------------------------------------------


def find_versions(run: Ask = ask) -> list[Finding]:
    """Say what is installed."""
    return [
        Finding("taskfarmer_mpi", f"{taskfarmer_mpi.__version__} in {Path(taskfarmer_mpi.__file__).parent}"),
        Finding("Python", f"{platform.python_version()} at {sys.executable}"),
        _find_filelock(),
        Finding("Slurm", _first_line(run, "srun", "--version")),
        Finding("kernel", f"{platform.system()} {platform.release()} {platform.machine()}, {_distribution()}"),
    ]


def _find_filelock() -> Finding:
    """Say whether the lock package and this program keep each other out: whoever guards a work directory by it can."""
    version = metadata.version("filelock")
    if int(version.split(".")[0]) < 4:
        mend = "versions 3.21 to 3.29.4 remove the lock file, and locks do not exclude: pip install 'filelock>=4'"
        return Finding("filelock", version, mend)
    with tempfile.TemporaryDirectory() as folder:
        is_fit = _exclude_each_other(Path(folder) / "lock")
    return Finding("filelock", version, None if is_fit else "its locks and those of a farmer do not exclude each other")


def _exclude_each_other(path: Path) -> bool:
    import filelock

    ours = LockFile(path, 0o600)
    theirs = filelock.FileLock(path, timeout=0, fallback_to_soft=False, preserve_lock_file=True)
    with suppress(OSError):
        with theirs:
            is_kept_out = not ours.try_acquire()
        ours.release()
        try:
            return is_kept_out and ours.try_acquire() and not theirs.acquire()
        except filelock.Timeout:
            return True
        finally:
            ours.release()
    return True  # there are no locks at all, which is said elsewhere


def _first_line(run: Ask, *command: str) -> str:
    try:
        return next(iter(run(*command).splitlines()), "says nothing")
    except AskError as error:
        return f"not found ({error})"


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    except OSError:
        return "unknown distribution"


# -- MPI and the launch -----------------------------------------------------------------------------


def find_mpi(environ: Mapping[str, str], run: Ask = ask) -> list[Finding]:
    """Say which MPI there is.

    It is loaded in a process of its own, and not started, since that may end a process on a login node.
    """
    try:
        metadata.version("mpi4py")
    except metadata.PackageNotFoundError:
        mend = "install mpi4py for this Python: without it the ranks work as independent farmers"
        return [
            Finding("mpi4py", "not installed: farmers work without MPI", mend if len(_sizes_above_one(environ)) else None)
        ]
    package = str(Path(taskfarmer_mpi.__file__).parents[1])
    path = os.pathsep.join([package, *filter(None, [environ.get("PYTHONPATH")])])
    try:
        said = run(sys.executable, "-c", _DESCRIBE, environ={**environ, "PYTHONPATH": path})
    except AskError as error:
        mend = "set MPI4PY_LIBMPI or LD_LIBRARY_PATH to an MPI library, or pip install mpich (at a laptop, not at a cluster)"
        return [Finding("MPI library", f"cannot be loaded: {error}", mend)]
    found = MpiDescription(**json.loads(said.partition("MPI:")[2]))
    return [
        Finding("MPI library", f"{found.library}; MPI {found.standard}"),
        Finding("found", f"{found.path or 'in the module itself'} ({_how_found(found.path, environ)})"),
        Finding("mpi4py", f"{found.mpi4py}, binary interface: {_interface(found.module)}; {found.module}"),
    ]


def _interface(module: str) -> str:
    """Return which of the builds in mpi4py's wheel was loaded: it is in the file's name."""
    parts = Path(module).name.split(".")
    return parts[1] if len(parts) > 1 and not parts[1].startswith(("cpython", "abi3", "so")) else "as it was built"


def _how_found(path: str, environ: Mapping[str, str]) -> str:
    if environ.get("MPI4PY_LIBMPI"):
        return f"MPI4PY_LIBMPI={environ['MPI4PY_LIBMPI']}"
    if path.startswith(sys.prefix + os.sep):
        return "installed in this Python's environment"
    folders = [folder for folder in environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    if any(os.path.realpath(folder) == os.path.realpath(os.path.dirname(path)) for folder in folders):
        return "by LD_LIBRARY_PATH"
    return "by the system's linker"


def find_launch(size: int, environ: Mapping[str, str], warning: str | None) -> list[Finding]:
    """Say who started the ranks, and compare how many there are with what the launcher says.

    Parameters
    ----------
    size
        Ranks in MPI's world.
    environ
        The environment.
    warning
        What went wrong when MPI was started.
    """
    started = started_ranks(environ)
    said = ", ".join(f"{name}={number}" for name, number in started.items()) or "no launcher says how many"
    step = started.get("SLURM_STEP_NUM_TASKS", size)
    mend = warning
    if mend is None and launcher_of(environ) == SRUN and step != size:
        mend = "srun --mpi= must fit the MPI library: srun --mpi=list shows what there is (MPICH: pmi2)"
    return [
        Finding("launcher", launcher_of(environ) or "none"),
        Finding("process management", _describe_interface(environ)),
        Finding("ranks", f"{size}; {said}", mend),
    ]


def _describe_interface(environ: Mapping[str, str]) -> str:
    name = interface_of(environ) or "none"
    slurm = environ.get("SLURM_MPI_TYPE")
    return f"{name}; srun --mpi={slurm}" if slurm else name


def _sizes_above_one(environ: Mapping[str, str]) -> list[int]:
    return [size for size in started_ranks(environ).values() if size > 1]


# -- time -------------------------------------------------------------------------------------------


def find_time(environ: Mapping[str, str], run: Ask = ask, now: float | None = None) -> Finding:
    """Say when the batch job ends."""
    from taskfarmer_mpi.job.walltime import own_job, stated_end

    now = time.time() if now is None else now
    job = own_job(environ)
    end = stated_end(environ)
    if end is not None and end <= now:
        text = (
            f"SLURM_JOB_END_TIME={end:.0f} is in the past: it comes from a job that is over, and farmers do not believe it"
        )
        return Finding("time", text, "unset SLURM_JOB_END_TIME, and what else starts with SLURM_ if this is no job")
    if job is None:
        return Finding("time", "no batch job: farmers stop at --timeout only")
    try:
        end = job.ask_end(job.number, run) if end is None else end
    except AskError as error:
        mend = "use --timeout, or have the scheduler send SIGUSR1 in time (Slurm: #SBATCH --signal=B:USR1@60)"
        return Finding("time", f"{job.title}: {job.scheduler} does not say when it ends: {error}", mend)
    if end == math.inf:
        return Finding("time", f"{job.title} has no time limit")
    left = int(end - now)
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(end))
    return Finding("time", f"{job.title} ends at {clock}, in {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}")
