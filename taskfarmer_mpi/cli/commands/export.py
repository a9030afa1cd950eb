"""Write the tasks as tables for other programs: GNU parallel's joblog, CSV, SQLite. Farmers may be at work.

`-` as a file is the standard output; docs/monitoring.md has the columns.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from taskfarmer_mpi.cli.arguments import add_workdir, file_name
from taskfarmer_mpi.cli.console import warn
from taskfarmer_mpi.cli.output_files import check_output, new_output
from taskfarmer_mpi.common.wording import make_printable
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.workdir.files import Workdir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.history.last_runs import LastRuns

    Writer = Callable[[Path, LastRuns, Workdir], None]

_STDOUT = Path("-")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_workdir(parser)
    parser.add_argument(
        "--joblog", type=file_name, metavar="FILE", help="what has ended, as `parallel --joblog` writes it; - for stdout"
    )
    parser.add_argument(
        "--csv", type=file_name, metavar="FILE", help="one line a task, comma-separated values; - for stdout"
    )
    parser.add_argument("--sqlite", type=file_name, metavar="FILE", help="one row a task, an SQLite database")
    parser.add_argument("--force", action="store_true", help="replace files that exist")


def run(arguments: argparse.Namespace) -> int:
    """Write what was asked for."""
    from taskfarmer_mpi.history.last_runs import read_last_runs
    from taskfarmer_mpi.status.tables import write_csv, write_joblog

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
    if arguments.sqlite == _STDOUT:
        raise UserError("--sqlite -: a database cannot be written to the standard output: name a file")
    for path, _ in outputs:
        if path != _STDOUT:
            check_output(path, is_forced=arguments.force)
    last_runs, troubles = read_last_runs(workdir)
    warn(troubles)
    for path, write in outputs:
        if path == _STDOUT:
            _print(write, last_runs, workdir)
            continue
        with new_output(path, is_forced=arguments.force) as temporary:
            write(temporary, last_runs, workdir)
        print(make_printable(f"{path}: {len(last_runs):,} tasks"), file=sys.stderr)
    return 0


def _print(write: Writer, last_runs: LastRuns, workdir: Workdir) -> None:
    import shutil
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        table = Path(folder) / "table"
        write(table, last_runs, workdir)
        with table.open("rb") as file:
            sys.stdout.flush()
            shutil.copyfileobj(file, sys.stdout.buffer)


def _write_sqlite(path: Path, last_runs: LastRuns, workdir: Workdir) -> None:
    from taskfarmer_mpi.status.sqlite import write_sqlite  # only who wants it needs a Python with sqlite3

    write_sqlite(path, last_runs, workdir)
