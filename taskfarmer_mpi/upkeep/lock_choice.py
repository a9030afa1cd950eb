"""Before anything else is done to a work directory: whether this process would exclude those that work there."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from taskfarmer_mpi.common.filesystems import is_local
from taskfarmer_mpi.errors import FarmError, UserError
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.workdir.agreement import Agreement, make_agreement, read_agreement, replace_agreement
from taskfarmer_mpi.workdir.files import Workdir, node_name, open_file
from taskfarmer_mpi.workdir.journal_reading import open_journal, open_journals
from taskfarmer_mpi.workdir.journal_records import Identity, parse_record, read_identity
from taskfarmer_mpi.workdir.locks import WorkLock

SWITCH_PATIENCE = 10.0
"""How long to wait for two locks at once [s]."""


def agree_on_lock(workdir: Workdir, path: Path) -> None:
    """Make sure that the farmers of a work directory lock this file, and no other.

    Where they locked another one, and none of them lives, this file takes its place.

    Raises
    ------
    UserError
        If farmers are at work, or may be, that lock another file; nothing was changed.
    """
    own = Agreement(str(path), str(workdir.path))
    try:
        stored = read_agreement(workdir)
        if stored is None:
            _check_living(workdir, own)  # those of an older version, which made no agreement
            stored = make_agreement(workdir, own)
        if not stored.is_kept_by(path):
            _check_living(workdir, own)
            _switch(workdir, stored, own)
    except OSError as error:
        raise UserError(f"{workdir.agreement}: {error.strerror}") from error


def describe_second_lock(workdir: Workdir, paths: list[Path], *, is_new: bool) -> str | None:
    """Say whether a farm is at risk that takes a lock file of this node beside its own; said once, as long as it is not.

    Parameters
    ----------
    workdir, paths
        The work directory and its lock files.
    is_new
        Whether this is the first run there.
    """
    if len(paths) < 2 or is_local(workdir.path) or not is_local(paths[1]):
        return None
    from taskfarmer_mpi.history.plain_signs import has_plain_signs  # rarely needed

    mend = "set SCRATCH to a directory that all nodes share, for all farmers"
    place = f"each node has a {paths[1].parent} of its own"
    if has_plain_signs(workdir, ()):
        return (
            f"this farm is at risk: a PyTaskFarmer has worked here, and {place}, where such a one locks {paths[1].name}:"
            f" on another node it is not excluded; {mend}"
        )
    if is_new:
        return (
            f"this farm is not at risk, as its farmers exclude each other by {paths[0]}; but {place}, so a PyTaskFarmer"
            f" on another node would not be excluded: before you start one, {mend}"
        )
    return None


def bind_to_lock(workdir: Workdir, path: Path) -> None:
    """Agree on a lock, and have nobody change that as long as this process lives.

    From here on, and not only from the birth of its journal, this farmer is seen by who would change the lock.

    Raises
    ------
    UserError
        If farmers are at work, or may be, that lock another file.
    """
    fd = -1
    deadline = time.monotonic() + SWITCH_PATIENCE
    while fd < 0 and time.monotonic() < deadline:
        agree_on_lock(workdir, path)
        fd = open_file(workdir.agreement, os.O_RDONLY)  # held to the end of this process
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            is_bound = os.path.samestat(os.fstat(fd), os.stat(workdir.agreement))
        except BlockingIOError:  # it is being changed
            is_bound = False
            time.sleep(0.01)
        except OSError:  # no flock here; then the check at each acquisition has to do
            is_bound = True
        if not is_bound:
            os.close(fd)
            fd = -1
    agree_on_lock(workdir, path)


def _check_living(workdir: Workdir, own: Agreement) -> None:
    for identity in living_farmers(workdir):
        lock = identity.alive_lock.removesuffix(f".{identity.farmer}.alive")
        theirs = Agreement(lock, str(workdir.path))
        if not theirs.is_kept_by(Path(own.lock)):
            stored = read_agreement(workdir) or theirs
            raise UserError(f"{stored.describe_difference(workdir, Path(own.lock))} ({identity.farmer} is at work)")


def living_farmers(workdir: Workdir) -> Iterator[Identity]:
    """Yield the farmers of a work directory that live, or of which that cannot be known from here."""
    for path in open_journals(workdir.farmers):
        try:
            with open_journal(path) as file:
                record = parse_record(file.readline())
            identity = None if record is None else read_identity(record, path)
        except (OSError, FarmError):
            continue  # it left this moment, or recovery reports it
        if identity is not None and _may_live(Path(identity.alive_lock)):
            yield identity


def _may_live(alive: Path) -> bool:
    try:
        return LifeLock.is_taken(alive)
    except FileNotFoundError:
        return not alive.parent.exists()  # where lock files are cannot be seen from here
    except OSError:
        return True


def _switch(workdir: Workdir, stored: Agreement, own: Agreement) -> None:
    """Let another lock file take the place of the agreed one: with both held, nobody can be at work on the lists."""
    fd = open_file(workdir.agreement, os.O_RDWR)
    try:
        with suppress(OSError):  # no flock here
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                reason = f"{stored.describe_difference(workdir, Path(own.lock))} (a farmer is at work)"
                raise UserError(reason) from None
        paths = [Path(stored.lock), Path(own.lock)]
        is_there = paths[0].parent.is_dir()  # else nobody can hold it; who holds it elsewhere has a journal
        holder = f"{node_name()} pid {os.getpid()}"
        lock = WorkLock(workdir, paths if is_there else paths[1:], holder, is_checked=is_there)
        with lock.held(SWITCH_PATIENCE):
            _check_living(workdir, own)
            replace_agreement(workdir, own)
    finally:
        os.close(fd)
