"""Whose a work directory and its lock files are: whoever can write there can have commands run, or keep others from it."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path

from taskfarmer_mpi.common.wording import user_name
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.lock_files import lock_paths

_NOBODY = 65534
"""What the kernel says of owners that it cannot tell: of other user namespaces, and on NFS where names are not mapped."""


def check_owner(workdir: Workdir, *, is_shared: bool) -> None:
    """Refuse a work directory in which others could have this user run what they want.

    Parameters
    ----------
    workdir
        The work directory; it need not exist.
    is_shared
        Whether the user wants to share it with them.

    Raises
    ------
    UserError
        If it belongs to another user who has not shared it with a group of this user's, or everybody can write to it.
    """
    try:
        status = workdir.path.stat()
    except OSError:
        return
    reason = "they can have commands run as you; --shared works there nevertheless"
    if not is_shared and not _is_own(status.st_uid) and not _is_of_own_group(status, workdir.path):
        raise UserError(f"{workdir.path}: belongs to user {user_name(status.st_uid)}: {reason}")
    if not is_shared and status.st_mode & stat.S_IWOTH:
        mend = f"chmod o-w {shlex.quote(str(workdir.path))}"
        raise UserError(f"{workdir.path}: everybody can write there: {mend}, as {reason}")


def safe_lock_paths(workdir: Workdir, environ: Mapping[str, str]) -> list[Path]:
    """Return the lock files of a work directory, as `lock_paths` does, and refuse what could be kept locked by a stranger.

    In a shared directory anybody can make a file of that name.

    Raises
    ------
    UserError
        If one is a link or no file, or belongs to somebody who has no part in the work directory.
    """
    paths = lock_paths(workdir, environ)
    for path in paths:
        _check_lock_file(path, workdir)
    return paths


def _check_lock_file(path: Path, workdir: Workdir) -> None:
    try:
        status = path.lstat()
    except OSError:
        return
    mend = "have it removed, or set SCRATCH to a directory of your own"
    if not stat.S_ISREG(status.st_mode):
        what = "a link" if stat.S_ISLNK(status.st_mode) else "no file"
        raise UserError(f"{path}: {what}, in the place of the lock file: {mend}")
    if not _is_own(status.st_uid) and not _has_part(status, workdir.path):
        raise UserError(
            f"{path}: the lock file belongs to user {user_name(status.st_uid)}, who could keep it locked: {mend}"
        )


def _is_own(owner: int) -> bool:
    return owner in (0, os.geteuid(), _NOBODY)


def _is_of_own_group(status: os.stat_result, path: Path) -> bool:
    """Whether its owner shares a directory with a group of this user's, in a place where not just anybody can make one."""
    is_in_group = status.st_gid in (os.getegid(), *os.getgroups())
    return is_in_group and bool(status.st_mode & stat.S_IWGRP) and not path.parent.stat().st_mode & stat.S_IWOTH


def _has_part(status: os.stat_result, workdir: Path) -> bool:
    """Whether a file is that of the owner of a work directory, or of the group that may write to it."""
    try:
        folder = workdir.stat()
    except OSError:
        return False
    return status.st_uid == folder.st_uid or (bool(folder.st_mode & stat.S_IWGRP) and status.st_gid == folder.st_gid)
