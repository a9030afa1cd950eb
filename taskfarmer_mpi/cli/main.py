"""The program `taskfarmer-mpi`: what it does is in `farm`, which is imported when all is prepared for that."""

from __future__ import annotations

import sys

from taskfarmer_mpi.cli.entry import enter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit."""
    sys.exit(enter("taskfarmer-mpi", "taskfarmer_mpi.cli.farm", argv))
