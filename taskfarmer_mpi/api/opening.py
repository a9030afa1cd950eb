"""A work directory as Python sees it: opened, or made where there is none; the current directory stays as it is."""

from __future__ import annotations

import os
from pathlib import Path

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.upkeep.lock_choice import agree_on_lock
from taskfarmer_mpi.upkeep.ownership import check_owner, safe_lock_paths
from taskfarmer_mpi.upkeep.plan import Request, make_plan, read_tasklist
from taskfarmer_mpi.upkeep.preparation import prepare
from taskfarmer_mpi.upkeep.reopening import LOCK_PATIENCE, reopen_farm
from taskfarmer_mpi.workdir.configuration import read_config
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import Workdir, node_name, replace_file
from taskfarmer_mpi.workdir.locks import WorkLock

TASKS = "tasks"
"""The tasklist of a work directory that was made without one."""
_CONTENT = b"# The tasks of this farm were added: see tasks.added. Lines that are appended here are tasks, too.\n"


def open_farm(workdir: Workdir, tasklist: Path | None, *, is_shared: bool) -> Farm:
    """Return the farm of a work directory, which is made if there is none.

    Parameters
    ----------
    workdir
        The work directory.
    tasklist
        Its tasklist; None for that of the work directory, or for none.
    is_shared
        Whether the work directory may be another user's.

    Raises
    ------
    UserError
        If it cannot be made or read, or is a directory of something else.
    """
    check_owner(workdir, is_shared=is_shared)
    if read_config(workdir) is not None:
        return reopen_farm(workdir, os.environ, is_entering=False)
    paths = safe_lock_paths(workdir, os.environ)
    if tasklist is None:
        tasklist = workdir.path / TASKS
        _check_free(workdir)
        workdir.create()
        if not tasklist.exists():
            replace_file(tasklist, _CONTENT)
    plan = make_plan(Request(tasklist, workdir.path, is_shared=is_shared))
    handler = read_tasklist(plan)
    workdir.create()
    agree_on_lock(workdir, paths[0])
    lock = WorkLock(workdir, paths, f"{node_name()} pid {os.getpid()} (Python)")
    return prepare(Farm.of(workdir, lock, handler), plan.to_store, LOCK_PATIENCE)


def _check_free(workdir: Workdir) -> None:
    """Refuse a directory of something else; what a death left of one that was about to be made is gone on with."""
    if workdir.is_known:
        raise UserError(f"{workdir.path}: only PyTaskFarmer worked here so far: give Farm its tasklist")
    try:
        names = os.listdir(workdir.path) if workdir.path.exists() else []
    except OSError as error:
        raise UserError(f"{workdir.path}: cannot read: {error.strerror}") from error
    if names and TASKS not in names:
        raise UserError(f"{workdir.path}: not a work directory, and not empty: give Farm a new directory, or a tasklist")
