"""Print a batch script for Slurm, to be copied and changed: `taskfarmer-ctl script multinode > farm.sh`.

docs/slurm.md says which one to use.
"""

from __future__ import annotations

import argparse

from taskfarmer_mpi.cli.batch_scripts import SCRIPTS, make_script


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the argument of the command."""
    names = "; ".join(f"{name}: {purpose}" for name, purpose in SCRIPTS.items())
    parser.add_argument("name", metavar="NAME", help=names)


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    print(make_script(arguments.name), end="")
    return 0
