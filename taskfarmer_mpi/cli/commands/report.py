"""Write a report of a farm: one HTML page that needs nothing else and can be mailed.

How full the slots were, how long tasks took, what failed, and one sentence on how to waste less time. Farmers may
be at work meanwhile.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from taskfarmer_mpi.cli.arguments import add_workdir, file_name
from taskfarmer_mpi.cli.console import warn
from taskfarmer_mpi.cli.output_files import check_output, new_output
from taskfarmer_mpi.cli.streams import show
from taskfarmer_mpi.workdir.files import Workdir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_workdir(parser)
    parser.add_argument(
        "-o", "--output", type=file_name, default=Path("report.html"), metavar="FILE", help="the page (default: report.html)"
    )
    parser.add_argument("--force", action="store_true", help="replace a file that exists")


def run(arguments: argparse.Namespace) -> int:
    """Write the page."""
    from taskfarmer_mpi.report.contents import make_report
    from taskfarmer_mpi.report.page import load_template, render_page  # late: the other commands need no template library

    workdir = Workdir.existing(arguments.workdir)
    check_output(arguments.output, is_forced=arguments.force)
    template = load_template()
    report = make_report(workdir)
    warn(report.warnings)
    page = render_page(template, report)
    with new_output(arguments.output, is_forced=arguments.force) as temporary:
        temporary.write_bytes(page)
    show(f"{arguments.output}: {report.advice}")
    return 0
