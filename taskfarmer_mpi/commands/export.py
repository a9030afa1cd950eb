"""Write the tasks as tables for other programs: GNU parallel's joblog, CSV, SQLite. Farmers may be at work.

docs/monitoring.md has the columns.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from taskfarmer_mpi.arguments import add_workdir
from taskfarmer_mpi.console import warn
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.ledger import Ledger, read_ledger
from taskfarmer_mpi.outputs import check_output, new_output
from taskfarmer_mpi.rows import write_csv, write_joblog
from taskfarmer_mpi.workdir import Workdir

HELP = "write tables: GNU parallel's joblog, CSV, SQLite"

Writer = Callable[[Path, Ledger, Workdir], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_workdir(parser)
    parser.add_argument("--joblog", type=Path, metavar="FILE", help="what has ended, as `parallel --joblog` writes it")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="one line a task, comma-separated values")
    parser.add_argument("--sqlite", type=Path, metavar="FILE", help="one row a task, an SQLite database")
    parser.add_argument("--force", action="store_true", help="replace files that exist")


def run(arguments: argparse.Namespace) -> int:
    """Write what was asked for."""
    workdir = Workdir.existing(arguments.workdir)
    wanted: list[tuple[Path | None, Writer]] = [
        (arguments.joblog, write_joblog),
        (arguments.csv, write_csv),
        (arguments.sqlite, _write_sqlite),
    ]
    outputs = [(path, write) for path, write in wanted if path is not None]
    if not outputs:
        raise UserError("nothing to write: give at least one of --joblog, --csv and --sqlite")
    if len({path.absolute() for path, _ in outputs}) < len(outputs):
        raise UserError(f"{outputs[0][0]}: two tables cannot be written to one file")
    for path, _ in outputs:
        check_output(path, is_forced=arguments.force)
    ledger, troubles = read_ledger(workdir)
    warn(troubles)
    for path, write in outputs:
        with new_output(path, is_forced=arguments.force) as temporary:
            write(temporary, ledger, workdir)
        print(f"{path}: {len(ledger):,} tasks", file=sys.stderr)
    return 0


def _write_sqlite(path: Path, ledger: Ledger, workdir: Workdir) -> None:
    from taskfarmer_mpi.database import write_sqlite  # only who wants it needs a Python with sqlite3

    write_sqlite(path, ledger, workdir)
