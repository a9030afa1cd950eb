"""Why a run ended as it did: the one place that decides it, and says it in words."""

from __future__ import annotations

import signal
from enum import StrEnum

from taskfarmer_mpi.common.wording import say_memory


class Cause(StrEnum):
    """Why a run ended without exit code 0; its word is in journals and tables, and is never changed."""

    EXIT = "exit code"
    """Its command ended by itself, with another exit code than 0."""
    SIGNAL = "signal"
    """A signal ended it, and nobody knows who sent it."""
    TIME_LIMIT = "time limit"
    MEMORY = "out of memory"
    NOT_STARTED = "could not be started"
    CANCELLED = "cancelled"
    REMOVED = "removed"
    """It was taken off the list, and not run."""
    CRASHES = "crash limit"
    """Its farmers died again and again while it ran."""
    STOPPED = "stopped"
    """Its farmer was told to stop: the task goes back to the list."""
    MEMORY_SHORT = "memory short"
    """So little memory was left on its node that its farmer ended it: the task goes back to the list."""
    FARMER_DIED = "farmer died"
    NODE_LOST = "node lost"


def cause_of(returncode: int | None, told: str | None = None) -> Cause | None:
    """Return why a run ended; None if it finished, or nobody knows.

    Parameters
    ----------
    returncode
        Exit code, or minus the number of the signal that ended it; None if nobody knows.
    told
        The word that its farmer noted; None if it noted none, as older versions do.
    """
    if told is not None and told in _WORDS:
        return Cause(told)
    if not returncode:
        return None
    return Cause.SIGNAL if returncode < 0 else Cause.EXIT


_WORDS = frozenset(cause.value for cause in Cause)

CANNOT = b"taskfarmer_mpi: cannot "
"""What a log begins with if the farmer could not start the task's command, or make one of the task."""
CANNOT_CODES = (126, 127)
"""Exit codes for which it is worth to look how the log begins."""

JOB_END = "the batch job is about to end"
TIMEOUT = "--timeout"
"""Why farmers stop; other reasons are the name of a signal, and words of a user's request."""

_SENTENCES = {
    Cause.CANCELLED: "cancelled",
    Cause.REMOVED: "removed from the list",
    Cause.CRASHES: "its farmers died again and again while it ran (--crash-limit)",
    Cause.STOPPED: "cut short by a shutdown",
    Cause.MEMORY_SHORT: "given back, as memory was short on its node (--memory-reserve)",
    Cause.FARMER_DIED: "its farmer died",
    Cause.NODE_LOST: "its node was lost, or all there was killed at once",
}
_HOW = {Cause.TIME_LIMIT: "over its time limit", Cause.MEMORY: "out of memory"}
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
    return number if number > 0 and number in signal.valid_signals() else 0  # it builds a set: not for each task


def describe_cause(returncode: int | None, log: bytes = b"", cause: Cause | None = None, peak: int = 0) -> str:
    """Say why a run did not finish.

    Parameters
    ----------
    returncode
        Exit code, or minus the number of the signal that ended it; None if nobody knows.
    log
        How the task's log begins.
    cause
        Why it ended, as `cause_of` has it; None to judge by the code alone.
    peak
        Peak memory of its largest process [KiB], said where memory may be why it ended; 0 if it is not known.
    """
    if cause in _SENTENCES:
        return _SENTENCES[cause]
    if cause in _HOW:
        memory = f" (peak {say_memory(peak)})" if cause is Cause.MEMORY and peak else ""
        return f"{_HOW[cause]}: {_describe_code(returncode)}{memory}"
    if returncode in CANNOT_CODES and log.startswith(CANNOT):
        verb, _, reason = log[len(CANNOT) :].partition(b"\n")[0].decode("utf-8", "replace").partition(" ")
        return f"could not be started: {reason if verb == 'start' else f'cannot {verb} {reason}'}"
    hint = ""
    if signal_of(returncode) == signal.SIGKILL:  # by the kernel, perhaps, or by a user or a scheduler
        hint = f" (out of memory? peak {say_memory(peak)})" if peak else " (out of memory?)"
    return f"{_describe_code(returncode)}{hint}"


def _describe_code(returncode: int | None) -> str:
    if returncode is None:
        return "not known"
    if returncode < 0:
        return f"killed by {signal_name(-returncode)}"
    if number := signal_of(returncode):
        return f"exit code {returncode}: {signal_name(number)} in a shell"
    return _SHELL_CODES.get(returncode, f"exit code {returncode}")
