"""Whether the farmers of a work directory take tasks: a file that says who paused them, until it is gone."""

from __future__ import annotations

import time

from taskfarmer_mpi.common.wording import user_name
from taskfarmer_mpi.workdir.files import Workdir, node_name, read_file, replace_file
from taskfarmer_mpi.workdir.locks import WorkLock


def read_pause(workdir: Workdir) -> str:
    """Return who paused the farmers and when, in words; empty if they are not paused.

    Raises
    ------
    OSError
        If the file is there and cannot be read.
    """
    data = read_file(workdir.paused)
    return "" if data is None else data.decode("utf-8", "replace").strip() or "paused"


def pause(workdir: Workdir, lock: WorkLock, user: int) -> None:
    """Have all farmers take no tasks; the lock is held.

    Parameters
    ----------
    workdir, lock
        The work directory, and its lock.
    user
        The number of who wants it.
    """
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime())
    replace_file(workdir.paused, f"paused by {user_name(user)} on {node_name()} at {when}\n".encode(), lock.confirm)


def resume(workdir: Workdir, lock: WorkLock) -> None:
    """Have them take tasks again; the lock is held."""
    lock.confirm()
    workdir.paused.unlink(missing_ok=True)
