"""The program `taskfarmer-ctl`: what it does is in `control`, which is imported when all is prepared for that."""

from __future__ import annotations

import sys

from taskfarmer_mpi.cli.entry import enter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit."""
    sys.exit(enter("taskfarmer-ctl", "taskfarmer_mpi.cli.control", argv))
