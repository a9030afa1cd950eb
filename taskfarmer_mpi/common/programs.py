"""Other programs that are asked for something; tasks are started by `pool`."""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Callable, Mapping

ANSWER_LIMIT = 10.0
"""How long to wait for an answer [s]."""
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


def ask(*command: str, environ: Mapping[str, str] | None = None) -> str:
    """Return what a command prints.

    Parameters
    ----------
    command
        The program and its arguments.
    environ
        Its environment (default: that of this process).

    Raises
    ------
    AskError
        If it cannot be run, fails or takes too long.
    """
    import subprocess

    try:
        with _asking:
            answer = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=ANSWER_LIMIT,
                check=True,
                text=True,
                errors="replace",
                cwd=_NOWHERE,
                env=environ,
            )
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
        raise AskError(f"{command[0]}: {said[-1]}") from error
    except subprocess.TimeoutExpired as error:
        raise AskError(f"{command[0]}: no answer within {ANSWER_LIMIT:.0f} s") from error
    except OSError as error:
        raise AskError(f"{command[0]}: {error.strerror}") from error
    return answer.stdout
