"""What commands of `taskfarmer-ctl` have in common: colours and warnings."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable

from taskfarmer_mpi.common.wording import make_printable
from taskfarmer_mpi.status.screen import WIDTH, Paint, leave_plain, paint


def painter() -> Paint:
    """Return how to colour text on stdout: only on a terminal, and not if NO_COLOR is set."""
    is_wanted = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return paint if is_wanted else leave_plain


def width() -> int:
    """Return how many columns there are: at most those for which the text is made, and as many where stdout is a file."""
    return min(WIDTH, shutil.get_terminal_size().columns) if sys.stdout.isatty() else WIDTH


def warn(troubles: Iterable[str]) -> None:
    """Say on stderr what could not be read; the rest is shown nevertheless."""
    for trouble in troubles:
        sys.stderr.write(f"taskfarmer-ctl: warning: {make_printable(trouble)}\n")
