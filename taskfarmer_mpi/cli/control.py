"""One command of `taskfarmer-ctl`, from what was typed to its exit code: only its own module is imported."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from collections.abc import Sequence

from taskfarmer_mpi import __version__
from taskfarmer_mpi.cli.arguments import add_shared, check_directory
from taskfarmer_mpi.cli.entry import EXIT_USAGE
from taskfarmer_mpi.cli.parsing import HelpFormatter, Parser, did_you_mean
from taskfarmer_mpi.cli.streams import abandon, bear_with_stdout, say
from taskfarmer_mpi.errors import FarmError, UserError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROG = "taskfarmer-ctl"
EXIT_TROUBLE = 75
"""The work directory could not be read or written now, or the output not be written: try again."""

COMMANDS = {
    "status": "show counts, farmers, running tasks and the last failures",
    "watch": "redraw the status until the list is done",
    "report": "write one HTML page with pictures, failures and advice",
    "trace": "make the trace that Perfetto opens",
    "view": "show the trace in Perfetto",
    "export": "write tables: GNU parallel's joblog, CSV, SQLite",
    "show": "show all that is known of a task",
    "log": "print the log of a task",
    "wait": "wait until the list is done",
    "check": "show what would be done: a dry run",
    "doctor": "find out what may keep a farm from working here: a page for a support ticket",
    "submit": "submit a farm to Slurm",
    "script": "print a batch script for Slurm",
    "add": "add tasks",
    "retry": "put failed tasks back on the list",
    "remove": "take tasks off the list that are not to be run",
    "cancel": "take tasks off the list, and end those that run",
    "pause": "have farmers take no more tasks until they are to go on",
    "resume": "have farmers take tasks again",
    "reclaim": "put tasks in nobody's hands back on the list",
    "repair": "find damage of the lists, and mend it",
    "stop": "stop all farmers",
}
"""What each command is for, in the order of the help text."""
PURPOSE = "Look at a work directory of task farmers, and change what is to be done there."
CHANGES = ("remove", "cancel", "pause", "resume")
FOLDERS = {
    **dict.fromkeys(("show", "log", "wait"), "inquiries"),
    **dict.fromkeys(CHANGES, "changes"),
    "submit": "submission",
}
"""The folder in which the module of a command is, where that is not `commands`."""
CHANGING = ("add", "retry", "reclaim", "stop", *CHANGES)
"""Those whose purpose is not what they print."""
OBEYING = (*CHANGING, "check")
"""Those that change a work directory, or run what it says."""


def run(argv: Sequence[str]) -> int:
    """Do what the command says; return the exit code."""
    name = argv[0] if argv else ""
    if name not in COMMANDS:
        _show_general(argv)
    module = find_command(name)
    arguments = _parse(name, module, argv[1:])
    if name in CHANGING:
        bear_with_stdout()
    try:
        check_directory()
        if sys.stdout is None and name not in (*CHANGING, "wait"):
            raise OSError("stdout is closed")
        _check_owner(name, arguments)
        code = int(module.run(arguments))
        if sys.stdout is not None:
            sys.stdout.flush()
    except UserError as error:
        say(f"{PROG}: {error}", to="stderr")
        return EXIT_USAGE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # nobody reads on
        abandon(sys.stdout)
        return 0
    except (FarmError, OSError) as error:
        say(f"{PROG}: {error}", to="stderr")
        if isinstance(error, OSError) and sys.stdout is not None:
            abandon(sys.stdout)  # it may be what failed
        return EXIT_TROUBLE
    return code


def find_command(name: str) -> Any:
    """Return the module of a command."""
    folder = FOLDERS.get(name, "commands")
    return importlib.import_module(f"taskfarmer_mpi.cli.{folder}.{name}")


def declare(name: str, parser: argparse.ArgumentParser) -> None:
    """Add all arguments of a command."""
    find_command(name).add_arguments(parser)
    if name in OBEYING:
        add_shared(parser)


def _check_owner(name: str, arguments: argparse.Namespace) -> None:
    if name in OBEYING and arguments.workdir is not None:
        from taskfarmer_mpi.upkeep.ownership import check_owner
        from taskfarmer_mpi.workdir.files import Workdir

        check_owner(Workdir(arguments.workdir), is_shared=arguments.shared)


def _show_general(argv: Sequence[str]) -> None:
    """Show help or version, or complain, and exit."""
    lines = "\n".join(f"  {name:<8}  {purpose}" for name, purpose in COMMANDS.items())
    parser = Parser(
        prog=PROG,
        usage=f"{PROG} [-h] [--version] COMMAND ...",
        description=PURPOSE,
        epilog=f"commands:\n{lines}\n\n{PROG} COMMAND --help tells about one of them.",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    _, rest = parser.parse_known_args(argv)
    if rest and not rest[0].startswith("-"):
        parser.complain(f"{rest[0]}: unknown command", did_you_mean(rest[0], COMMANDS))
    parser.check_rest(rest, "")
    parser.complain(f"a command is needed: {', '.join(COMMANDS)}")


def _parse(name: str, module: Any, argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog=f"{PROG} {name}", description=module.__doc__, formatter_class=HelpFormatter)
    declare(name, parser)
    if hasattr(module, "parse"):  # its words are for other programs, too
        return argparse.Namespace(**vars(module.parse(parser, argv)))
    arguments, rest = parser.parse_known_args(argv)
    if not hasattr(arguments, "commands") or any(word.startswith("-") for word in rest):
        parser.check_rest(rest, "unexpected argument")
    if rest:
        arguments.commands += rest  # argparse gives up on a list of arguments that an option interrupts
    return arguments
