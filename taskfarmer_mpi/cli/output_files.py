"""Files that are made for a user, outside of the work directory's own: whole or not at all, and never over another one."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.workdir.files import temporary_file

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


def check_output(path: Path, *, is_forced: bool) -> None:
    """Check that a file can be made.

    Raises
    ------
    UserError
        If there is one already and it may not be replaced, or if it is no regular file.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise UserError(f"{path}: cannot write: no such directory") from None
        return
    except OSError as error:
        raise UserError(f"{path}: cannot write: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise UserError(f"{path}: cannot write: not a regular file")
    if not is_forced:
        raise UserError(f"{path}: it exists; --force replaces it")


@contextmanager
def new_output(path: Path, *, is_forced: bool) -> Iterator[Path]:
    """Yield a temporary file that takes its place at the end of the `with` block, unless that fails.

    Raises
    ------
    UserError
        If it cannot be written, or if there is one meanwhile and it may not be replaced.
    """
    check_output(path, is_forced=is_forced)
    try:
        with temporary_file(path, is_shared=False) as (_, temporary):
            yield temporary
            if is_forced:
                temporary.replace(path)
            else:
                _place(temporary, path)
    except FileExistsError:
        raise UserError(f"{path}: it exists; --force replaces it") from None
    except OSError as error:
        raise UserError(f"{path}: cannot write: {error.strerror}") from error


def _place(temporary: Path, path: Path) -> None:
    """Give the file its name unless there is one of that name; where no hard links are, that is looked up first."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        check_output(path, is_forced=False)
        temporary.replace(path)
