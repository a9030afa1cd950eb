"""What `taskfarmer-ctl` needs for a trace: the texts of the tasks, and the lock if it can be had."""

from __future__ import annotations

import os
from pathlib import Path

from taskfarmer_mpi.errors import FarmError, UserError
from taskfarmer_mpi.history.task_texts import TaskTexts, plain_tasklist
from taskfarmer_mpi.workdir.agreement import read_agreement
from taskfarmer_mpi.workdir.configuration import read_config
from taskfarmer_mpi.workdir.files import Workdir, node_name
from taskfarmer_mpi.workdir.lock_files import lock_paths
from taskfarmer_mpi.workdir.locks import WorkLock

READING_PATIENCE = 10.0
"""How long to wait for the lock where it is possible to do without [s]."""


def read_texts(workdir: Workdir) -> tuple[TaskTexts, list[str]]:
    """Return the texts of the tasks, without the code of their handler, and what could not be read and why.

    Raises
    ------
    FarmError
        If a list cannot be read.
    """
    troubles = []
    stored = None
    try:
        stored = read_config(workdir)
    except UserError as error:
        troubles.append(str(error))
    try:
        return TaskTexts(workdir, plain_tasklist(stored)), troubles
    except OSError as error:
        raise FarmError(f"{error.filename or workdir.path}: cannot read: {error.strerror}") from error


def open_reading_lock(workdir: Workdir) -> WorkLock | None:
    """Return the lock of a work directory; None if this user cannot take it, and has to read without."""
    agreed = read_agreement(workdir)
    paths = lock_paths(workdir, os.environ) if agreed is None else [Path(agreed.lock)]
    lock = WorkLock(workdir, paths, f"{node_name()} pid {os.getpid()} (taskfarmer-ctl)")
    for path in lock.paths:
        writable = path if path.exists() else path.parent
        if not os.access(writable, os.W_OK):
            return None
    return lock
