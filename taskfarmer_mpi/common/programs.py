"""Other programs that are asked for something; tasks are started by `pool`."""

from __future__ import annotations

import itertools
import os
import resource
from _thread import allocate_lock
from collections.abc import Callable, Iterable, Mapping

from taskfarmer_mpi.common.log import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess

log = Log(__name__)

ANSWER_LIMIT = 10.0
"""How long to wait for an answer [s]."""
_PATIENCE = 2.0
"""How long to wait before it is said what for [s]."""
_NOWHERE = "/proc"
"""A working directory in which nothing can be left: scontrol writes two files when it changes a job, and can do without."""

_asking = allocate_lock()
"""Held while a program runs that was asked."""


class AskError(Exception):
    """A program could not be run, failed, or said nothing in time."""


Ask = Callable[..., str]


def hold_questions() -> bool:
    """Have nothing asked until `let_ask`; return False if a program runs that was asked.

    Who reaps all children of this process in between takes no exit status away.
    """
    return _asking.acquire(blocking=False)


def let_ask() -> None:
    """End what `hold_questions` began."""
    _asking.release()


Ended = tuple[int, int, resource.struct_rusage]
"""Process, status and usage of a child that has ended."""


def reap_children(own: Iterable[int]) -> list[Ended]:
    """Return the children that have ended since the last call; while another thread awaits one, only `own` ones."""
    if not hold_questions():
        return _reap(own)
    try:
        return _reap(itertools.repeat(-1))
    finally:
        let_ask()


def _reap(pids: Iterable[int]) -> list[Ended]:
    """Return those of some children that have ended; -1 is any child, until none is left."""
    ended = []
    for awaited in pids:
        try:
            child = os.wait4(awaited, os.WNOHANG)
        except ChildProcessError:
            break
        if child[0]:
            ended.append(child)
        elif awaited == -1:
            break
    return ended


def ask(
    *command: str,
    environ: Mapping[str, str] | None = None,
    text: str | None = None,
    folder: str = _NOWHERE,
    limit: float | None = None,
) -> str:
    """Return what a command prints.

    Parameters
    ----------
    command
        The program and its arguments.
    environ
        Its environment (default: that of this process).
    text
        What it reads from standard input (default: nothing).
    folder
        Where it runs.
    limit
        How long to wait for the answer [s] (default: `ANSWER_LIMIT`).

    Raises
    ------
    AskError
        If it cannot be run, fails or takes too long.
    """
    import subprocess

    try:
        with (
            _asking,
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                cwd=folder,
                env=environ,
            ) as program,
        ):
            answer, complaint = _wait_for(program, command[0], text, ANSWER_LIMIT if limit is None else limit)
    except OSError as error:
        raise AskError(f"{command[0]}: {error.strerror}") from error
    if program.returncode:
        said = complaint.strip().splitlines() or [f"exit code {program.returncode}"]
        raise AskError(f"{command[0]}: {said[-1]}")
    return answer


def _wait_for(program: subprocess.Popen[str], name: str, text: str | None, limit: float) -> tuple[str, str]:
    """Return what a program writes to standard output and error, and say so if that takes long."""
    import subprocess

    try:
        return program.communicate(text, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        log.warning("waits for an answer of %s, for %.0f s at most", name, limit)
    try:
        return program.communicate(timeout=limit - _PATIENCE)
    except subprocess.TimeoutExpired:
        program.kill()
        raise AskError(f"{name}: no answer within {limit:.0f} s") from None
