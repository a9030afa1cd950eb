"""The command line of `taskfarmer-ctl`: everything that is done to a work directory beside working on it."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from taskfarmer_mpi import __version__
from taskfarmer_mpi.errors import FarmError, UserError

EXIT_USAGE = 2
EXIT_TROUBLE = 75
"""The work directory could not be read or written now: try again."""

COMMANDS: tuple[str, ...] = (
    "status",
    "watch",
    "report",
    "trace",
    "view",
    "export",
    "check",
    "doctor",
    "script",
    "add",
    "retry",
    "reclaim",
    "stop",
)
"""The modules of `taskfarmer_mpi.cli.commands`, in the order of the help text."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="taskfarmer-ctl", description="Look at a work directory of task farmers, and change what is to be done there."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = importlib.import_module(f"taskfarmer_mpi.cli.commands.{name}")
        command = commands.add_parser(
            name, help=module.HELP, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a command or path with undecodable bytes must not stop a message
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    if any(word.startswith("-") for word in rest) or (rest and not hasattr(arguments, "commands")):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.commands += rest  # argparse gives up on a list of arguments that an option interrupts
    try:
        code = arguments.run(arguments)
        sys.stdout.flush()
    except UserError as error:
        code = _complain(error, EXIT_USAGE)
    except FarmError as error:
        code = _complain(error, EXIT_TROUBLE)
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except BrokenPipeError:  # nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


def _complain(error: Exception, code: int) -> int:
    print(f"taskfarmer-ctl: {error}", file=sys.stderr)
    return code
