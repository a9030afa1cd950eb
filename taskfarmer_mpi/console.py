"""What commands of `taskfarmer-ctl` have in common: arguments and colours."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable

from taskfarmer_mpi.screen import Paint, leave_plain, paint


def add_workdir(parser: argparse.ArgumentParser) -> None:
    """Add the work directory."""
    parser.add_argument("workdir", metavar="WORKDIR", help="the work directory: <tasklist>_workdir unless it was given")


def count(text: str) -> int:
    """Parse a number of things, 0 or more."""
    if not (text.isascii() and text.isdigit()) or len(text) > 6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 999999")
    return int(text)


def seconds(text: str) -> float:
    """Parse a time [s] of a tenth of a second to a day."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.1 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in seconds from 0.1 to 86400")
    return value


def painter() -> Paint:
    """Return how to colour text on stdout: only on a terminal, and not if NO_COLOR is set."""
    is_wanted = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return paint if is_wanted else leave_plain


def warn(troubles: Iterable[str]) -> None:
    """Say on stderr what could not be read; the rest is shown nevertheless."""
    for trouble in troubles:
        sys.stderr.write(f"taskfarmer-ctl: warning: {trouble}\n")
