"""Where the lock files of a work directory are, by the environment, as PyTaskFarmer has it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.workdir.files import Workdir

LOCK_VARIABLES = ("SCRATCH", "TMP", "TMPDIR")
"""Where PyTaskFarmer 0.1.0 looks for a directory for its lock, in this order; its documentation names the first only."""


def lock_paths(workdir: Workdir, environ: Mapping[str, str]) -> list[Path]:
    """Return the lock files that guard `workdir`, in the order in which they are taken.

    The documented one comes first: in ``$SCRATCH``, else in the work directory. Where ``SCRATCH`` is not set but ``TMP`` or
    ``TMPDIR`` is, PyTaskFarmer 0.1.0 locks a file there instead, which is the second one if that directory exists.

    Raises
    ------
    UserError
        If ``SCRATCH`` is set and is no directory.
    """
    _check_scratch(environ)
    name = hashlib.md5(os.fsencode(workdir.path), usedforsecurity=False).hexdigest() + "_lock"
    variable = next((variable for variable in LOCK_VARIABLES if variable in environ), None)
    if variable == "SCRATCH":
        return [Path(os.path.abspath(environ[variable])) / name]
    if variable is None:
        return [workdir.path / "lock"]
    folder = Path(os.path.abspath(environ[variable] or "/"))
    return [workdir.path / "lock", *([folder / name] if folder.is_dir() else [])]


def _check_scratch(environ: Mapping[str, str]) -> None:
    """Check that ``SCRATCH``, if it is set, names a directory for lock files.

    Raises
    ------
    UserError
        If not.
    """
    folder = environ.get("SCRATCH")
    if folder is not None and not os.path.isdir(folder):
        reason = "it is empty" if not folder else "not a directory" if os.path.exists(folder) else "no such directory"
        raise UserError(f"SCRATCH={folder}: {reason}: the lock file belongs there; set SCRATCH to a directory, or unset it")
