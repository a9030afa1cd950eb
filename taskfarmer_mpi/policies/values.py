"""How the values of rules are read."""

from __future__ import annotations

import math
import re
import signal

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.errors import OptionError
from taskfarmer_mpi.policies.halt import Halt, Limit
from taskfarmer_mpi.policies.retries import Choice
from taskfarmer_mpi.policies.time_limit import TaskTime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ORDERS = ("given", "longest", "shuffle")
"""As in the tasklist; those first that are expected to last longest; at random."""
LOG_FORMS = ("files", "failed", "packed", "packed-gzip", "none")
"""A file for each task; only for tasks that failed; one file for each farmer; none."""
SMALLEST_LOG = 1024
"""Of limits [bytes]: below it the line that says what is missing would be most of the log."""
_LIMIT = re.compile(r"([A-Za-z0-9_.:+-]{1,60})=([1-9]\d{0,5})", re.ASCII)
_UNSENT = (signal.SIGSTOP, signal.SIGCONT, signal.SIGCHLD)
_RETRIED = (Cause.EXIT, Cause.SIGNAL, Cause.TIME_LIMIT, Cause.MEMORY, Cause.NOT_STARTED)


def read_seconds(name: str, text: str) -> float:
    """Return a time [s], 0 or more."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise OptionError(name, f"{text!r} is not a time in seconds: 0 or more")
    return value


def read_count(name: str, text: str) -> int:
    """Return a number of things, 0 or more."""
    if not (text.isascii() and text.isdigit()) or len(text) > 6:
        raise OptionError(name, f"{text!r} is not a number from 0 to 999999")
    return int(text)


def read_signal(name: str, text: str) -> signal.Signals | None:
    """Return a signal by its name, with or without SIG, or its number; None for `off`."""
    if text.lower() == "off":
        return None
    word = text.upper().removeprefix("SIG")
    found = signal.Signals.__members__.get(f"SIG{word}")
    if found is None and word.isdigit() and int(word) in list(signal.Signals):
        found = signal.Signals(int(word))
    if found is None or found in _UNSENT:
        raise OptionError(name, f"{text!r} is not a signal that can ask a task to end, like TERM, INT, USR1 or USR2, or off")
    return found


def read_task_time(name: str, text: str) -> TaskTime | None:
    """Return how long a task may last, in seconds or percent of the median; None for 0."""
    value = _number(text.removesuffix("%"))
    if not 0 <= value < math.inf or (text.endswith("%") and 0 < value <= 100):
        raise OptionError(name, f"{text!r} is not a time in seconds, or a percentage above 100 of the median, like 300%")
    if not value:
        return None
    return TaskTime(share=value / 100) if text.endswith("%") else TaskTime(seconds=value)


def read_choice(name: str, text: str) -> Choice:
    """Return which failures are tried again: causes and exit codes, with commas between them."""
    causes, codes = set(), set()
    for word in filter(None, text.split(",")):
        cause = next((cause for cause in _RETRIED if word.strip().replace("-", " ") == cause), None)
        code = _code(word.strip())
        if cause is not None:
            causes.add(cause)
        elif code is not None:
            codes.add(code)
        else:
            allowed = ", ".join(cause.replace(" ", "-") for cause in _RETRIED)
            raise OptionError(name, f"{word!r} is neither a cause ({allowed}) nor an exit code from 1 to 255 or a signal")
    if not causes and not codes:
        raise OptionError(name, "names nothing")
    return Choice(frozenset(causes), frozenset(codes))


def read_halt(name: str, text: str) -> Halt | None:
    """Return when the whole farm is to stop: `soon,fail=3`, `now,fail=5%`, `now,success=1`; None for `never`."""
    if text == "never":
        return None
    match = re.fullmatch(r"(soon|now),(fail|success)=(\d{1,9})(%?)", text)
    if match is None or not int(match[3]) or (match[4] and int(match[3]) > 100):
        raise OptionError(name, f"{text!r} is not like soon,fail=3 or now,fail=5% or now,success=1, or never")
    return Halt(is_now=match[1] == "now", is_about_failures=match[2] == "fail", limit=Limit(int(match[3]), bool(match[4])))


def read_limits(name: str, text: str) -> dict[str, int]:
    """Return how many tasks of a kind may run at once: `licence=3`, several with commas between them; nothing for `off`."""
    if text == "off":
        return {}
    limits: dict[str, int] = {}
    for part in text.split(","):
        match = _LIMIT.fullmatch(part.strip())
        if match is None or match[1] in limits:
            why = "names one twice" if match is not None else "is not like licence=3, with a number from 1 to 999999, or off"
            raise OptionError(name, f"{text!r} {why}")
        limits[match[1]] = int(match[2])
    return limits


def read_log_form(name: str, text: str) -> str:
    """Return how the output of tasks is kept."""
    if text not in LOG_FORMS:
        raise OptionError(name, f"{text!r} is not one of {', '.join(LOG_FORMS)}")
    return text


def read_order(name: str, text: str) -> str:
    """Return in which order the tasks of a new work directory run."""
    if text not in ORDERS:
        raise OptionError(name, f"{text!r} is not one of {', '.join(ORDERS)}")
    return text


def read_path(name: str, text: str) -> str:
    """Return a path."""
    if not text or not text.isprintable() or text != text.strip():
        raise OptionError(name, f"{text!r} is not a path")
    return text


def read_log_limit(name: str, text: str) -> int:
    """Return how much of a log is kept [bytes]: a number, with K, M or G for KiB, MiB, GiB; 0 for all of it."""
    match = re.fullmatch(r"(\d{1,12})([KMG]?)(?:i?B)?", text, re.IGNORECASE)
    size = int(match[1]) << " KMG".index(match[2].upper() or " ") * 10 if match else -1
    if size < 0 or 0 < size < SMALLEST_LOG:
        raise OptionError(name, f"{text!r} is not a size like 64K or 10M: {SMALLEST_LOG} bytes or more, or 0 for no limit")
    return size


def read_command(name: str, text: str) -> str:
    """Return a command for a shell; nothing for `off`."""
    if "\n" in text or "\0" in text or text != text.strip():
        raise OptionError(name, f"{text!r} is not one line without white space around it")
    return "" if text == "off" else text


def read_place(name: str, text: str) -> str:
    """Return an absolute path, which may begin with a variable; nothing for `off`."""
    if text != "off" and (not text.startswith(("/", "$")) or not text.isprintable() or text != text.strip()):
        raise OptionError(name, f"{text!r} is not an absolute path, like /tmp or $TMPDIR, or off")
    return "" if text == "off" else text


def _code(word: str) -> int | None:
    """Return an exit code, or minus the number of a signal."""
    found = signal.Signals.__members__.get(f"SIG{word.upper().removeprefix('SIG')}")
    if found is not None:
        return -found
    return int(word) if word.isdigit() and 1 <= int(word) <= 255 else None


def _number(text: str) -> float:
    try:
        return float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan


READERS: dict[str, Callable[[str, str], Any]] = {
    "task-timeout": read_task_time,
    "task-signal": read_signal,
    "task-grace": read_seconds,
    "stop-signal": read_signal,
    "stop-grace": read_seconds,
    "retries": read_count,
    "retry-on": read_choice,
    "retry-delay": read_seconds,
    "crash-limit": read_count,
    "halt": read_halt,
    "logs": read_log_form,
    "log-limit": read_log_limit,
    "tempdir": read_place,
    "setup": read_command,
    "teardown": read_command,
    "then": read_command,
    "order": read_order,
    "durations": read_path,
    "limit": read_limits,
}
"""What reads the value of each rule."""
