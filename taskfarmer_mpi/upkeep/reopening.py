"""A work directory as `taskfarmer-ctl` sees it: what farmers are told when they start, without being one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.policies.rules import read_rules
from taskfarmer_mpi.upkeep.lock_choice import agree_on_lock
from taskfarmer_mpi.upkeep.ownership import safe_lock_paths
from taskfarmer_mpi.workdir.configuration import Stored, read_config
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import Workdir, node_name
from taskfarmer_mpi.workdir.journal import Journal
from taskfarmer_mpi.workdir.journal_records import Identity
from taskfarmer_mpi.workdir.locks import WorkLock, lock_mode

LOCK_PATIENCE = 600.0
"""How long to wait for the lock before giving up [s]."""


def read_stored(workdir: Workdir) -> Stored:
    """Return the configuration that a farmer of ours left in a work directory.

    Raises
    ------
    UserError
        If there is none.
    """
    stored = read_config(workdir)
    if stored is None:
        raise UserError(
            f"{workdir.path}: no farm.ini here: only PyTaskFarmer worked in it so far;"
            " start taskfarmer-mpi with its tasklist"
        )
    return stored


def open_lock(workdir: Workdir, environ: Mapping[str, str]) -> WorkLock:
    """Return the lock of a work directory, for who changes something there.

    Raises
    ------
    UserError
        If its farmers lock another file.
    """
    paths = safe_lock_paths(workdir, environ)
    if workdir.farmers.exists():
        agree_on_lock(workdir, paths[0])
    return WorkLock(workdir, paths, f"{node_name()} pid {os.getpid()} (taskfarmer-ctl)")


def reopen_farm(workdir: Workdir, environ: Mapping[str, str], *, is_entering: bool = True) -> Farm:
    """Return the farm of a work directory, with its handler and all of its tasks.

    Parameters
    ----------
    workdir, environ
        The work directory, and the environment that says where its lock is.
    is_entering
        Whether this process goes to where the tasks run: input files that the tasklist names may be relative to it.

    Raises
    ------
    UserError
        If it cannot be read, or the tasklist is not the one for which it was made.
    """
    from taskfarmer_mpi.runners.pytaskfarmer import make_handler

    lock = open_lock(workdir, environ)
    stored = read_stored(workdir)
    if is_entering:
        with suppress(OSError):
            os.chdir(stored.directory)
    handler = make_handler(stored.handler, stored.tasklist, str(workdir.path))
    if not handler.tasks.begins_with(stored.begun, stored.digest):
        raise UserError(f"{stored.tasklist}: its first {stored.begun} tasks are not those for which {workdir.path} was made")
    return Farm.of(workdir, lock, handler, stored.listed, read_rules(stored.rules), stored.accepted)


@contextmanager
def hands(workdir: Workdir, lock: WorkLock) -> Iterator[Journal]:
    """Have a journal for a moment, as a farmer does: if this process dies, recovery puts right what it says.

    At the end nothing may be in its hands; then it is gone.
    """
    name = f"ctl-{node_name()}-{os.getpid()}-{os.urandom(3).hex()}"
    mode = lock_mode(workdir.path)
    lives = [LifeLock.create(lock.life_path(name, what), mode) for what in ("alive", "tasks")]
    identity = Identity(
        farmer=name,
        host=node_name(),
        pid=os.getpid(),
        rank=0,
        ranks=1,
        job="",
        slots=0,
        alive_lock=str(lives[0].path),
        task_lock=str(lives[1].path),
    )
    journal = Journal(workdir.farmers, identity)
    yield journal  # after an error it stays, and is that of a dead farmer
    journal.close()
    journal.path.unlink()
    for life in reversed(lives):
        life.path.unlink(missing_ok=True)
        life.release()
