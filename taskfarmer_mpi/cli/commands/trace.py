"""Make the trace of a work directory, which https://ui.perfetto.dev opens: who ran what, when, and how it ended.

The trace goes to timeline.json in the work directory, as at the end of a job, or to FILE. Farmers may be at work.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from taskfarmer_mpi.cli.arguments import add_workdir, file_name
from taskfarmer_mpi.cli.output_files import new_output
from taskfarmer_mpi.cli.streams import show
from taskfarmer_mpi.common.wording import make_printable
from taskfarmer_mpi.errors import FarmError, UserError
from taskfarmer_mpi.trace.inputs import READING_PATIENCE, open_reading_lock, read_texts
from taskfarmer_mpi.upkeep.reopening import LOCK_PATIENCE, open_lock
from taskfarmer_mpi.workdir.files import Workdir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_workdir(parser)
    parser.add_argument(
        "-o", "--output", type=file_name, metavar="FILE", help="where it goes (default: WORKDIR/timeline.json)"
    )
    parser.add_argument(
        "--gzip",
        action="store_true",
        help="compress it, to about a tenth; Perfetto opens that, too (default FILE: WORKDIR/timeline.json.gz)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace FILE if it exists; without FILE, put a large trace also where a PyTaskFarmer would choke on it",
    )


def run(arguments: argparse.Namespace) -> int:
    """Make the trace and say where it is."""
    workdir = Workdir.existing(arguments.workdir)
    output = arguments.output or (workdir.path / "timeline.json.gz" if arguments.gzip else None)
    if output is None or (not arguments.gzip and os.path.abspath(output) == str(workdir.timeline)):
        show(str(_merge(workdir, is_forced=arguments.force)))
    else:
        from taskfarmer_mpi.trace.timeline import write_trace

        texts, troubles = read_texts(workdir)
        lock = open_reading_lock(workdir)
        with new_output(output, is_forced=arguments.force) as temporary:
            troubles += write_trace(workdir, lock, texts, READING_PATIENCE, temporary, is_gzip=arguments.gzip)
        _warn(troubles)
        show(str(output))
    return 0


def _merge(workdir: Workdir, *, is_forced: bool) -> Path:
    from taskfarmer_mpi.trace.timeline import merge_timeline

    texts, troubles = read_texts(workdir)
    try:
        merged = merge_timeline(workdir, open_lock(workdir, os.environ), texts, LOCK_PATIENCE, is_forced=is_forced)
    except PermissionError as error:
        raise UserError(f"{error.filename or workdir.path}: {error.strerror}: give --output FILE") from error
    except OSError as error:
        raise FarmError(f"{error.filename or workdir.timeline}: {error.strerror}") from error
    _warn([*troubles, *merged.troubles])
    return merged.path


def _warn(troubles: list[str]) -> None:
    for trouble in troubles:
        print(make_printable(f"taskfarmer-ctl: {trouble}"), file=sys.stderr)
