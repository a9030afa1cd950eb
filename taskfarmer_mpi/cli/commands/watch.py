"""Redraw the status of a farm until its list is done or Ctrl-C is pressed.

On a terminal it is a full-screen view with keys to follow logs, retry, cancel and stop, if textual is installed (the extra
tui). Else, and with --plain, the picture is drawn anew in its place, or one picture follows the other.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

from taskfarmer_mpi.cli.arguments import add_workdir, count, interval
from taskfarmer_mpi.cli.console import painter, width
from taskfarmer_mpi.cli.streams import show
from taskfarmer_mpi.status.observer import Observer
from taskfarmer_mpi.status.screen import draw_status
from taskfarmer_mpi.workdir.files import Workdir

_LOOK = 0.5
"""How often it is looked whether the farm has begun [s]."""
_RESTING = 10
"""At least this many times as long as a look takes is waited until the next one: watching must not cost a core."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_workdir(parser)
    parser.add_argument(
        "--interval", type=interval, default=2.0, metavar="SECONDS", help="time between pictures [s] (default: 2)"
    )
    parser.add_argument(
        "--failures", type=count, metavar="N", help="failed tasks to show (default: 5, in the full-screen view 50)"
    )
    parser.add_argument("--plain", action="store_true", help="text only, without keys: ends when the list is done")


def run(arguments: argparse.Namespace) -> int:
    """Draw the status again and again."""
    try:
        workdir = _wait_for_farm(arguments.workdir)
        if not arguments.plain and _can_fill_screen():
            from taskfarmer_mpi.cli.fullscreen.application import watch

            watch(workdir.path, arguments.interval, 50 if arguments.failures is None else arguments.failures)
            return 0
        observer = Observer(workdir)
        failures = 5 if arguments.failures is None else arguments.failures
        while True:
            began = time.monotonic()
            status = observer.look(failures)
            _show(draw_status(status, painter(), width()))
            if status.is_done:
                return 0
            time.sleep(max(arguments.interval, _RESTING * (time.monotonic() - began)))
    except KeyboardInterrupt:
        return 0


def _can_fill_screen() -> bool:
    """Whether there is a terminal that can be drawn on and read from, and what draws."""
    streams = (sys.stdin, sys.stdout, sys.stderr)  # textual draws on the last one
    if not all(stream is not None and stream.isatty() for stream in streams) or os.environ.get("TERM", "dumb") == "dumb":
        return False
    from importlib.util import find_spec

    return find_spec("textual") is not None


def _wait_for_farm(path: Path) -> Workdir:
    """Return the work directory as soon as a farmer has made it; what is there already must be one, or on its way to it."""
    workdir = Workdir.meant(path)
    is_coming = workdir.farmers.is_dir() if workdir.path.is_dir() else workdir.path.parent.is_dir()
    if is_coming and not workdir.is_known:
        show(f"{workdir.path}: waiting for a farm to begin there; Ctrl-C ends")
    while is_coming and not workdir.is_known:
        time.sleep(_LOOK)
    return Workdir.existing(path)


def _show(lines: list[str]) -> None:
    if not sys.stdout.isatty():
        print("\n".join(lines), end="\n\n", flush=True)
        return
    height = shutil.get_terminal_size().lines - 1
    shown = "".join(f"{line}\x1b[K\n" for line in lines[:height])
    print(f"\x1b[?7l\x1b[H{shown}\x1b[J\x1b[?7h", end="", flush=True)  # too long a line is cut, not wrapped
