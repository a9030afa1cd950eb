"""One rank of `taskfarmer-mpi`, from what was typed to its exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from taskfarmer_mpi.cli.arguments import check_directory
from taskfarmer_mpi.cli.entry import EXIT_LEFT, EXIT_USAGE, report_bug
from taskfarmer_mpi.cli.options import parse_arguments
from taskfarmer_mpi.cli.streams import say
from taskfarmer_mpi.common.log import DEBUG, INFO, WARNING, Log, output
from taskfarmer_mpi.errors import FarmError, UserError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from taskfarmer_mpi.common.signals import SignalReceiver
    from taskfarmer_mpi.rendezvous.communicator import Comm
    from taskfarmer_mpi.run.ending import Ending
    from taskfarmer_mpi.run.start import Options
    from taskfarmer_mpi.runners.registry import Definition

PROG = "taskfarmer-mpi"


def run(argv: Sequence[str]) -> int:
    """Work until the job is over; return the exit code."""
    arguments = parse_arguments(argv)

    from taskfarmer_mpi.common.signals import STOP_SIGNALS, SignalReceiver
    from taskfarmer_mpi.rendezvous.communicator import StoppedError
    from taskfarmer_mpi.rendezvous.connection import connect

    with SignalReceiver() as receiver:
        try:
            check_directory()
            comm, warning = connect(arguments.mpi, patience=arguments.mpi_timeout, is_hurried=lambda: bool(receiver.stops))
        except (UserError, StoppedError) as error:
            _complain(error)
            return EXIT_USAGE if isinstance(error, UserError) else EXIT_LEFT
        set_up_messages(arguments.verbose, comm.rank, comm.size, warning)
        ending = _work(arguments, comm, receiver)
        say(*ending.lines)
        comm.leave()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # one that comes now must not change the exit code
    say(to="stderr")
    return ending.code


def set_up_messages(verbosity: int, rank: int, size: int, warning: str | None) -> None:
    """Have messages appear with time and rank, and the first one of them."""
    output.set_up((WARNING, INFO, DEBUG)[min(verbosity, 2)], f" rank {rank}:" if size > 1 else "")
    if warning is not None:
        Log(__name__).warning("%s", warning)


def _work(arguments: argparse.Namespace, comm: Comm, receiver: SignalReceiver) -> Ending:
    from taskfarmer_mpi.rendezvous.startup import refuse
    from taskfarmer_mpi.run.ending import Ending
    from taskfarmer_mpi.run.rank import run_rank

    try:
        return run_rank(read_options(arguments), comm, receiver, os.environ)
    except UserError as error:
        refuse(comm, error)
        if comm.rank == 0:
            _complain(error)
        return Ending(EXIT_LEFT if receiver.stops else EXIT_USAGE, [])
    except FarmError as error:
        _complain(error)
        return Ending(EXIT_LEFT, [])
    except Exception as error:
        return Ending(report_bug(PROG, error), [])


def read_options(arguments: argparse.Namespace) -> Options:
    """Return what the user typed."""
    from taskfarmer_mpi.cli.rules import read_rule_options
    from taskfarmer_mpi.progress.display import choose_display
    from taskfarmer_mpi.run.start import Options
    from taskfarmer_mpi.upkeep.plan import Request

    return Options(
        request=Request(
            arguments.tasklist,
            arguments.workdir,
            arguments.handler,
            arguments.runner,
            arguments.proc,
            arguments.chdir,
            read_rule_options(arguments),
            arguments.lease,
            arguments.shared,
            arguments.command,
            arguments.values,
            arguments.accept_changes,
        ),
        timeout=arguments.timeout or None,
        grace=arguments.grace,
        task_time=arguments.task_time,
        lock_patience=arguments.lock_timeout,
        mpi_patience=arguments.mpi_timeout,
        reclaim=arguments.reclaim,
        monitors=_find_monitors(arguments.monitors),
        progress=choose_display(arguments.progress, sys.stderr, os.environ),
        stay=arguments.stay,
        leave_early=arguments.leave_early,
    )


def _find_monitors(names: Sequence[str]) -> tuple[Definition, ...]:
    if not names:
        return ()
    from taskfarmer_mpi.monitors.dispatch import find_monitor

    return tuple(find_monitor(name) for name in dict.fromkeys(names))


def _complain(error: Exception) -> None:
    say(f"{PROG}: {error}", to="stderr")
