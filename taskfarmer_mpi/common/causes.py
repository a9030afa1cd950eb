"""How a run ended, in words."""

from __future__ import annotations

import signal

CANNOT = b"taskfarmer_mpi: cannot "
"""What a log begins with if the farmer could not start the task's command, or make one of the task."""
CANNOT_CODES = (126, 127)
"""Exit codes for which it is worth to look how the log begins."""

_SHELL_CODES = {126: "exit code 126: cannot be executed", 127: "exit code 127: command not found"}


def signal_name(number: int) -> str:
    """Return the name of a signal, as `SIGKILL`; `signal 99` if it has none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def signal_of(returncode: int | None) -> int:
    """Return the number of the signal that ended a run, seen directly or through a shell's 128 + signal; 0 if none."""
    if returncode is None:
        return 0
    number = -returncode if returncode < 0 else returncode - 128
    return number if number in signal.valid_signals() else 0


def describe_cause(returncode: int | None, log: bytes = b"") -> str:
    """Say why a run did not finish.

    Parameters
    ----------
    returncode
        Exit code, or minus the number of the signal that ended it; None if nobody knows.
    log
        How the task's log begins.
    """
    if returncode is None:
        return "not known"
    if returncode in CANNOT_CODES and log.startswith(CANNOT):
        verb, _, reason = log[len(CANNOT) :].partition(b"\n")[0].decode("utf-8", "replace").partition(" ")
        return f"could not be started: {reason if verb == 'start' else f'cannot {verb} {reason}'}"
    number = signal_of(returncode)
    hint = " (out of memory?)" if number == signal.SIGKILL else ""
    if returncode < 0:
        return f"killed by {signal_name(-returncode)}{hint}"
    if number:
        return f"exit code {returncode}: {signal_name(number)} in a shell{hint}"
    return _SHELL_CODES.get(returncode, f"exit code {returncode}")
