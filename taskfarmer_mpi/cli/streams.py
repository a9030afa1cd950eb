"""The standard streams: there in any case, and what cannot be written to them changes no exit code."""

from __future__ import annotations

import io
import os
import sys

from taskfarmer_mpi.common.wording import make_lines_printable, make_printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO


def settle_streams() -> None:
    """Open those that the parent left closed, or files would get their numbers; have messages survive undecodable bytes."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")  # messages go there from everywhere
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def say(*lines: str, to: str = "stdout") -> OSError | None:
    """Print lines to stdout or stderr as far as that is possible; return why it is not, if so.

    What a terminal would obey is shown as escapes: names and texts of others may be in them.
    """
    stream = getattr(sys, to)
    if stream is None:
        return OSError(f"{to} is closed")
    try:
        stream.write("".join(f"{make_lines_printable(line)}\n" for line in lines))
        stream.flush()
    except OSError as error:
        abandon(stream)
        return error
    return None


def show(*lines: str) -> None:
    """Print lines for a command whose purpose that is, made printable as `say` does."""
    for line in lines:
        print(make_printable(line), flush=True)


def abandon(stream: TextIO) -> None:
    """Have what is left in the buffer of a stream go nowhere: at the exit, it would change the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def bear_with_stdout() -> None:
    """Have writing to stdout never fail, for a command whose purpose is something else."""
    if sys.stdout is not None:
        with_buffer = io.BufferedWriter(_Patient(sys.stdout.fileno(), "w", closefd=False))
        sys.stdout = io.TextIOWrapper(with_buffer, errors="replace", line_buffering=sys.stdout.isatty())


class _Patient(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)
