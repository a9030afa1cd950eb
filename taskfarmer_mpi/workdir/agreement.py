"""What farmers must agree on before they share a work directory: the file by which they exclude each other.

It is in the file `agreement`, which the first farmer of ours makes at once, without the lock: there is none yet. All else
that a farm agrees on (tasks and their digest, directory, handler, format) is in `farm.ini`, which is made under that lock.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

from taskfarmer_mpi.common.values import Value, as_dict
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.workdir.files import Workdir, open_file, read_file, replace_file, temporary_file, write_all

FORMAT = 1
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


class Agreement(Value):
    """Which lock guards a work directory."""

    lock: str
    """Absolute path of the lock file that is taken first."""
    workdir: str
    """The work directory's path as the farmer had it that chose the lock."""

    def is_kept_by(self, path: Path) -> bool:
        """Whether a lock file is the one that was agreed on."""
        return str(path) == self.lock or os.path.realpath(path) == os.path.realpath(self.lock)

    def describe_difference(self, workdir: Workdir, path: Path) -> str:
        """Say in one line that a farmer would use another lock file, and what to do."""
        folder, own = os.path.dirname(self.lock), str(path.parent)
        if folder == own:
            mend = f"name the work directory {self.workdir}"
        else:
            mend = "unset SCRATCH" if self.lock == f"{self.workdir}/lock" else f"set SCRATCH to {folder}"
        return f"{workdir.path}: its farmers exclude each other by {self.lock}, and not by {path}: {mend}"


def encode_agreement(agreement: Agreement) -> bytes:
    """Encode the content of `agreement`."""
    return json.dumps({"format": FORMAT, **as_dict(agreement)}).encode() + b"\n"


def parse_agreement(data: bytes, path: Path) -> Agreement:
    """Decode the content of `agreement`.

    Raises
    ------
    UserError
        If it is damaged, or of a newer version.
    """
    try:
        content = json.loads(data)
        if content["format"] != FORMAT:
            raise UserError(f"{path}: format {content['format']} is not {FORMAT}: written by a newer version?")
        return Agreement(str(content["lock"]), str(content["workdir"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: damaged; if no farmer is at work, remove it") from error


def read_agreement(workdir: Workdir) -> Agreement | None:
    """Return what the farmers of a work directory agreed on; None if none of ours worked there."""
    data = read_file(workdir.agreement)
    return None if data is None else parse_agreement(data, workdir.agreement)


def make_agreement(workdir: Workdir, agreement: Agreement) -> Agreement:
    """Put an agreement where there is none, and return the one that is there then: the first one wins."""
    data = encode_agreement(agreement)
    try:
        with temporary_file(workdir.agreement) as (fd, temporary):
            write_all(fd, data)
            os.fsync(fd)
            os.link(temporary, workdir.agreement)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _make_without_links(workdir, data)
    return read_agreement(workdir) or agreement


def _make_without_links(workdir: Workdir, data: bytes) -> None:
    """Make the file under its own name: whoever sees it before it is whole takes it for damaged, and begins nothing."""
    try:
        fd = open_file(workdir.agreement, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_agreement(workdir: Workdir, agreement: Agreement) -> None:
    """Change what was agreed on; only for who holds the old lock and the new one, and knows that no farmer lives."""
    replace_file(workdir.agreement, encode_agreement(agreement))
