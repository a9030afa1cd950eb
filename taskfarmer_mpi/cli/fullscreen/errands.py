"""What the keys have done: each is a command of `taskfarmer-ctl`, in a process of its own: so it does the same as there."""

from __future__ import annotations

import sys

from taskfarmer_mpi.common.programs import Ask, AskError, ask
from taskfarmer_mpi.common.wording import make_printable

_LIMIT = 60.0
"""How long to wait for a command [s]."""
_WAITING = "exit code 75"
"""What a command ends with that has asked farmers, and has not waited for them."""


def run_errand(workdir: str, *words: str, run: Ask = ask) -> tuple[bool, str]:
    """Run a command on a work directory; return whether it did what it was to do, and what it says last.

    Parameters
    ----------
    workdir
        The work directory.
    words
        The command and its arguments after the work directory: ``retry``, ``7``.
    run
        Runs a program and returns what it prints.
    """
    command, *arguments = words
    try:
        said = run(sys.executable, "-m", "taskfarmer_mpi.ctl", command, workdir, *arguments, limit=_LIMIT)
    except AskError as error:
        text = str(error).partition(": ")[2]
        return (True, f"{command}: farmers were told, and do it as soon as they can") if text == _WAITING else (False, text)
    lines = said.strip().splitlines()
    return True, make_printable(lines[-1] if lines else command)
