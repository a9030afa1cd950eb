"""Wait until the list is done, whoever works on it.

Exit code 0: all tasks finished, but for those that were removed; 1: some failed; 75: the time is over, or tasks
that are left are not run, as others before a `#TF barrier check` failed.
"""

from __future__ import annotations

import argparse
import time

from taskfarmer_mpi.cli.arguments import add_workdir, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.status.snapshot import Counts
    from taskfarmer_mpi.workdir.files import Workdir

EXIT_LEFT = 75
_PAUSES = (0.2, 5.0)
"""Shortest and longest pause between two looks [s]; at least ten times what a look takes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_workdir(parser)
    parser.add_argument("--any-failed", action="store_true", help="end with exit code 1 as soon as a task has failed")
    parser.add_argument("--timeout", type=seconds, metavar="SECONDS", help="how long to wait [s] (default: for ever)")


def run(arguments: argparse.Namespace) -> int:
    """Look until there is nothing to wait for."""
    from taskfarmer_mpi.cli.streams import say
    from taskfarmer_mpi.status.observer import Observer
    from taskfarmer_mpi.workdir.files import Workdir

    workdir = Workdir.existing(arguments.workdir)
    observer = Observer(workdir)
    end = float("inf") if arguments.timeout is None else time.monotonic() + arguments.timeout
    pause, is_told, before = _PAUSES[0], False, ""
    while True:
        began = time.monotonic()
        status = observer.look(0)
        counts = status.tasks
        if status.paused and not is_told:
            say(f"{status.paused}: it goes on after: taskfarmer-ctl resume", to="stderr")
        is_told = bool(status.paused)
        is_done = counts.finished + counts.failed + counts.removed == counts.total
        if counts.failed and (arguments.any_failed or is_done):
            say(_say_failed(workdir, counts.total), to="stderr")
            return 1
        if is_done:
            return 0
        check = _failed_check(workdir, counts)
        if check and check == before:  # twice: between two files that are read a task may go from one to the other
            say(f"taskfarmer-ctl: {check}", to="stderr")
            return EXIT_LEFT
        before = check
        now = time.monotonic()
        if now >= end:
            return EXIT_LEFT
        pause = min(1.5 * pause, _PAUSES[1])
        time.sleep(max(0.0, min(max(pause, 10 * (now - began)), end - now)))


def _failed_check(workdir: Workdir, counts: Counts) -> str:
    """Say which task failed before a `#TF barrier check` that all others wait at, if it is so."""
    if not counts.failed or counts.running or counts.taken or counts.nobody or not workdir.settings.exists():
        return ""
    from taskfarmer_mpi.status.reasons import failed_check

    return failed_check(workdir)


def _say_failed(workdir: Workdir, total: int) -> str:
    from shlex import quote

    from taskfarmer_mpi.common.wording import list_ids
    from taskfarmer_mpi.workdir.files import read_file
    from taskfarmer_mpi.workdir.lists import ids_in

    failed = sorted(set(ids_in(read_file(workdir.failed) or b"")))
    why = f"taskfarmer-ctl status {quote(str(workdir.path))}"
    return f"taskfarmer-ctl: {len(failed)} of {total} tasks failed: {list_ids(failed)}; why: {why}"
