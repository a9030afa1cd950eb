"""The command line of `taskfarmer-mpi`, as values; nothing of the farm is imported for it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from taskfarmer_mpi import __version__
from taskfarmer_mpi.cli.arguments import add_shared, file_name, lease, seconds, slots
from taskfarmer_mpi.cli.parsing import HelpFormatter, Parser
from taskfarmer_mpi.cli.rules import add_rules
from taskfarmer_mpi.common.defaults import GRACE, PROGRESS_MODES, SLOTS

DEFAULT_LOCK_TIMEOUT = 600.0
DEFAULT_MPI_TIMEOUT = 120.0
DEFAULT_LEAVE_DELAY = 30.0

_EPILOG = """\
exit codes:
  0   every task finished
  1   every task is done, and some failed
  2   the job cannot begin: bad usage, configuration or tasklist; no task was run
  75  stopped early, or tasks are left: run it again
  70  an error of this program, with a traceback

SIGUSR1, SIGINT and SIGTERM stop all ranks: running tasks are killed and go back to the list.
SIGUSR2 drains: all ranks start nothing more, and end when their running tasks have ended.
"""


class FarmParser(Parser):
    """The parser of a program that people come to from other tools."""

    def advise(self, name: str) -> str | None:
        """Return what does here what another tool's option does there, else what may be meant."""
        from taskfarmer_mpi.cli.other_tools import advise

        return advise(name) or super().advise(name)


def build_parser() -> Parser:
    """Return the parser of the command line."""
    parser = FarmParser(
        prog="taskfarmer-mpi",
        description="Run every line of a tasklist once, on all ranks of an MPI job and beside other farmers.",
        epilog=_EPILOG,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    _add_work(parser)
    _add_limits(parser)
    add_rules(parser)
    _add_messages(parser)
    return parser


def _add_work(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is done, and how")
    group.add_argument("tasklist", nargs="?", type=file_name, help="text file with one task per line; -: standard input")
    _add_command(group)
    group.add_argument(
        "-w", "--workdir", metavar="DIR", type=file_name, help="where progress and logs are kept (default: TASKLIST_workdir)"
    )
    group.add_argument(
        "-t",
        "--tasklist",
        metavar="NAME",
        dest="handler",
        help="how the tasklist is read: default (one command per line), or one of your INI files",
    )
    group.add_argument(
        "-r",
        "--runner",
        metavar="NAME",
        help="how tasks are started: default (as bash would), exec, or one of your INI files (default: that of the work"
        " directory)",
    )
    group.add_argument(
        "-n",
        "-j",
        "--proc",
        metavar="N|N%|auto",
        nargs="?",
        type=slots,
        const=0,
        help="slots: tasks that each farmer runs at the same time; auto: one per CPU, shared among the ranks of a node;"
        " N%%: for that part of the CPUs"
        f" (default: that of the work directory, {SLOTS} for a new one)",
    )
    group.add_argument(
        "--chdir",
        metavar="DIR",
        type=file_name,
        help="where tasks run (default: where the farm was begun); it is kept",
    )
    group.add_argument(
        "--mpi", choices=("auto", "on", "off"), default="auto", help="auto: start MPI only under a launcher (default)"
    )
    add_shared(group)
    _add_consents(group)


def _add_consents(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--accept-changes",
        action="store_true",
        help="take over what was edited in the tasklist: new lines are new tasks, those whose lines are gone leave the list"
        " unless they run or are done (default: refused; taskfarmer-ctl check shows what differs)",
    )
    group.add_argument(
        "--reclaim",
        action="store_true",
        help="put tasks that are in nobody's hands back on the list; only if no plain PyTaskFarmer is at work on them",
    )


def _add_command(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--command",
        metavar="TEXT",
        help="what the lines are put into, quoted, as GNU parallel does it: {} the line, {.} without its ending, {/} the"
        " last part of a path, {//} its folder, {/.}, {1} {2} columns (by tabs, else blanks), {#} the number",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits of time")
    group.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        help="stop the whole job, not a task, after this time; 0: never. A task's: --task-timeout (default: never)",
    )
    group.add_argument(
        "--grace",
        metavar="SECONDS",
        type=seconds,
        default=GRACE,
        help="stop this long before the end of the batch job, as far as the scheduler tells it (default: 15)",
    )
    group.add_argument(
        "--task-time",
        metavar="SECONDS",
        type=seconds,
        help="start no task with less than this left before the timeout or the end of the job"
        " (default: 1.5 times what tasks took so far)",
    )
    group.add_argument(
        "--stay",
        action="store_true",
        help="wait for tasks that are added or appended where none is left, until taskfarmer-ctl stop or the time is over",
    )
    group.add_argument(
        "--leave-early",
        metavar="SECONDS",
        nargs="?",
        type=seconds,
        const=DEFAULT_LEAVE_DELAY,
        help="have a rank end, and under srun give its node back, when it had nothing to do for this time (default: 30)",
    )
    _add_patience(group)


def _add_patience(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--lock-timeout",
        metavar="SECONDS",
        type=seconds,
        default=DEFAULT_LOCK_TIMEOUT,
        help="give up if others hold the lock for this time (default: 600)",
    )
    group.add_argument(
        "--lease",
        metavar="SECONDS",
        type=lease,
        help="the time after which the file system gives the locks of a node that is cut off to others: tasks are killed"
        " before; 0: never (default: that of the work directory, else what the file system says)",
    )
    group.add_argument(
        "--mpi-timeout",
        metavar="SECONDS",
        type=seconds,
        default=DEFAULT_MPI_TIMEOUT,
        help="go on without the ranks that have not come up within this time (default: 120)",
    )


def _add_messages(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is told")
    group.add_argument(
        "--progress",
        choices=PROGRESS_MODES,
        default="auto",
        help="how far the whole work directory is: bar, lines (the first after 5 s, then now and then), none; auto: a bar if"
        " stderr is a terminal and rich is installed, else lines (default): so under mpiexec and srun, where bar draws one"
        " all the same",
    )
    group.add_argument(
        "-m",
        "--monitor",
        metavar="NAME",
        action="append",
        default=[],
        dest="monitors",
        help="what is told of the farmers' lives, as an INI file defines it; may be given several times",
    )
    group.add_argument(
        "-v",
        "--verbose",
        metavar="VERB",
        nargs="?",
        type=_verbosity,
        default=0,
        const=1,
        help="messages: 0 warnings, 1 changes of state (also without a number), 2 everything (default: 0)",
    )


_VERBOSITIES = {"true": 1, "yes": 1, "on": 1, "false": 0, "no": 0, "off": 0, "0": 0, "1": 1, "2": 2}


def _verbosity(text: str) -> int:
    if text.lower() not in _VERBOSITIES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a verbosity: 0, 1 or 2")
    return _VERBOSITIES[text.lower()]


def settle_verbose(argv: Sequence[str]) -> list[str]:
    """Give ``-v`` and ``--leave-early`` their values where the next argument is none.

    ``-v tasks`` asks for messages, not for a verbosity `tasks`.
    """
    settled = []
    for index, argument in enumerate(argv):
        following = argv[index + 1] if index + 1 < len(argv) else ""
        is_bare = argument in ("-v", "--verbose") and following.lower() not in _VERBOSITIES
        if argument == "--leave-early" and not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)", following):
            settled.append(f"--leave-early={DEFAULT_LEAVE_DELAY}")
        else:
            settled.append("--verbose=1" if is_bare else argument)
    return settled


def split_values(argv: Sequence[str]) -> tuple[Sequence[str], tuple[str, ...] | None]:
    """Return the arguments before `:::`, and those after it, which are a list; None if there is none."""
    if ":::" not in argv:
        return argv, None
    place = list(argv).index(":::")
    return argv[:place], tuple(argv[place + 1 :])


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Return what the user typed; exit with a complaint if it makes no sense."""
    parser = build_parser()
    argv, values = split_values(argv)
    arguments, rest = parser.parse_known_args(settle_verbose(argv))
    arguments.values = values
    parser.check_rest(
        rest, f"one tasklist at a time, and {arguments.tasklist} is given: start a farm for each, or make one list of them"
    )
    if arguments.stay and arguments.leave_early is not None:
        parser.complain("--stay: ranks that wait for more tasks do not leave early: leave one of both away")
    if arguments.stay and (getattr(arguments, "rule then") or "off") != "off":
        parser.complain("--stay: a list that stays open is never done, so --then has no time to run: leave one of both away")
    if values is not None and arguments.tasklist is not None:
        parser.complain(f":::, and a tasklist, {arguments.tasklist}: leave one of both away")
    if values is not None and not values:
        parser.complain("::: and nothing behind it: there is nothing to do")
    if values is not None and ":::" in values:
        parser.complain("::: twice: give one list; the tasklist handler TemplateTaskList makes combinations")
    if arguments.command is not None and arguments.handler is not None:
        parser.complain(f"--command and --tasklist {arguments.handler} both say how a line becomes a task: leave one away")
    if arguments.workdir is None and (values is not None or str(arguments.tasklist) == "-"):
        what = "what follows :::" if values is not None else "a list from standard input"
        parser.complain(f"{what} is kept in the work directory, so say which: --workdir DIR")
    if arguments.tasklist is None and arguments.workdir is None:
        parser.complain("a tasklist is needed, or a --workdir that was used before")
    return arguments
