"""Where a trace goes that is not `timeline.json`: a file that is whole or not there."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.workdir import temporary_file, write_all

_COMPRESSION = 4
"""Higher levels take much longer and save little."""


@contextmanager
def open_output(path: Path, *, is_gzip: bool, is_forced: bool) -> Iterator[Callable[[bytes], object]]:
    """Open a file that is at its place only when it is whole, for a `with` block.

    Raises
    ------
    UserError
        If there is a file already, and it is not forced; or if it cannot be written.
    """
    if path.is_dir() or (path.exists() and not path.is_file()):
        raise UserError(f"{path}: not a file: cannot write the trace there")
    if os.path.lexists(path) and not is_forced:
        raise UserError(f"{path}: exists already: give another name, or --force to replace it")
    try:
        with temporary_file(path) as (fd, temporary):
            if is_gzip:
                with open(fd, "wb", closefd=False) as raw, gzip.GzipFile("", "wb", _COMPRESSION, raw, mtime=0) as file:
                    yield file.write
            else:
                yield lambda data: write_all(fd, data)
            if os.path.lexists(path) and not is_forced:
                raise UserError(f"{path}: exists already: somebody made it meanwhile; --force replaces it")
            temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot write the trace: {error.strerror}") from error
