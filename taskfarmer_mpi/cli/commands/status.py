"""Show how far a farm is: counts, farmers, what runs, and the last failures. Works from any machine that sees the directory.

Only reads: the lock of the work directory is never taken, and nothing is changed. docs/monitoring.md has the form of --json.
"""

from __future__ import annotations

import argparse
import json

from taskfarmer_mpi.cli.arguments import add_workdir, count
from taskfarmer_mpi.cli.console import painter, width
from taskfarmer_mpi.common.values import as_dict
from taskfarmer_mpi.status.observer import Observer
from taskfarmer_mpi.status.screen import draw_status
from taskfarmer_mpi.workdir.files import Workdir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_workdir(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")
    parser.add_argument("--failures", type=count, default=5, metavar="N", help="failed tasks to show (default: 5)")


def run(arguments: argparse.Namespace) -> int:
    """Print the status."""
    status = Observer(Workdir.existing(arguments.workdir)).look(arguments.failures)
    if arguments.json:
        print(json.dumps(as_dict(status)))
    else:
        print("\n".join(draw_status(status, painter(), width())))
    return 0
