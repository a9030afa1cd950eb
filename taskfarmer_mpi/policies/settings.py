"""What one task has otherwise than the others: the words of `#TF` lines, and what they mean."""

from __future__ import annotations

import math
import re
from contextlib import suppress

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.errors import OptionError
from taskfarmer_mpi.policies.resources import read_devices_per_task, read_size
from taskfarmer_mpi.policies.values import read_count, read_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

_STAGE = "stage"
"""What the text of settings calls the barriers before a task: how many; after a colon, which was the last with `check`."""
GPU = 1000
"""Into how many parts a GPU is counted."""
SIZES = ("cpus", "mem", "gpus")
"""The words that say how large a task is."""
LAST_STAGE = 999_999_999
"""Behind how many barriers the task of `--then` is: more than any list has."""
THEN = f"timeout=0 name=--then {_STAGE}={LAST_STAGE}"
"""What that task has, as a text of `change_settings`."""
_STAGES = re.compile(r"(\d{1,9})(?::(\d{1,9}))?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_.:+-]{1,60}")


class Settings(Value):
    """What a task has; None, or an empty text, where it is as the others."""

    timeout: float | None = None
    """How long it may last [s]; infinite for any time."""
    retries: int | None = None
    """How often it is tried again if it fails by itself."""
    name: str = ""
    limit: str = ""
    """The name of a limit: only so many tasks with it may run at once in the whole farm."""
    cpus: int | None = None
    """How many CPUs it takes."""
    mem: int | None = None
    """How much memory it may need [bytes]."""
    gpus: int | None = None
    """How many GPUs it takes, in parts of which `GPU` are one."""
    stage: int = 0
    """Behind how many barriers it is."""
    checked: int = 0
    """It is not run if a task failed that is behind less barriers than this."""


def read_name(option: str, text: str) -> str:
    """Return a name: letters, digits, and a few signs."""
    if not _NAME.fullmatch(text):
        raise OptionError(option, f"{text[:60]!r} is not a name of letters, digits and _ . : + -, of 60 characters at most")
    return text


def read_cpus(option: str, text: str) -> int:
    """Return a number of CPUs, 1 or more."""
    number = read_count(option, text)
    if not number:
        raise OptionError(option, "'0' is not a number of CPUs: 1 or more")
    return number


def read_gpus(option: str, text: str) -> int:
    """Return a number of GPUs, or a part of one, in parts of which `GPU` are one."""
    return round(read_devices_per_task(option, text) * GPU)


_READERS: dict[str, Callable[[str, str], Any]] = {
    "timeout": read_seconds,
    "retries": read_count,
    "name": read_name,
    "limit": read_name,
    "cpus": read_cpus,
    "mem": read_size,
    "gpus": read_gpus,
}
WORDS = tuple(_READERS)
ALLOWED = "timeout=SECONDS, retries=N, name=NAME, limit=NAME, cpus=N, mem=SIZE, gpus=N, or nothing; barrier, barrier check"
"""What a line may say."""


def change_settings(before: str, words: Iterable[str]) -> str:
    """Return what holds from a `#TF` line on, as a text.

    Parameters
    ----------
    before
        What held so far.
    words
        Those of the line; none resets all.

    Raises
    ------
    UserError
        If one of them means nothing; its text is the reason.
    """
    held = dict(word.split("=", 1) for word in before.split())
    words = tuple(words)
    if "barrier" in words:
        return _pass_barrier(held, words)
    seen: set[str] = set()
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or name not in _READERS:
            raise OptionError(f"#TF {word[:60]}", "no such word" if sign else "is not of the form word=value")
        if name in seen:
            raise OptionError(f"#TF {word[:60]}", "is there twice")
        _READERS[name](f"#TF {name}", value)
        seen.add(name)
        held[name] = value
    return _join(held if seen else {_STAGE: held[_STAGE]} if _STAGE in held else {})


def _join(held: Mapping[str, str]) -> str:
    return " ".join(f"{name}={held[name]}" for name in (*_READERS, _STAGE) if name in held)


def _pass_barrier(held: dict[str, str], words: tuple[str, ...]) -> str:
    """Return what holds behind a barrier: the same, at the next stage."""
    if words not in (("barrier",), ("barrier", "check")):
        raise OptionError(f"#TF {' '.join(words)[:60]}", "a barrier is alone on its line, or with check")
    before, _, checked = held.get(_STAGE, "0").partition(":")
    number = int(before) + 1
    checked = str(number) if len(words) > 1 else checked
    return _join({**held, _STAGE: f"{number}:{checked}" if checked else str(number)})


def has_barriers(text: str) -> bool:
    """Whether tasks with this text of `change_settings` are behind a barrier."""
    return any(word.startswith(f"{_STAGE}=") for word in text.split())


def without_barriers(text: str) -> str:
    """Return a text of `change_settings` without what it says of barriers."""
    return " ".join(word for word in text.split() if not has_barriers(word))


def sizes_in(text: str) -> str:
    """Return what a text of `change_settings` says about the size of tasks; nothing if it says nothing."""
    return " ".join(word for word in text.split() if word.partition("=")[0] in SIZES)


def read_settings(text: str) -> Settings:
    """Return what a text of `change_settings` means; words that mean nothing here, as of a newer version, do not count."""
    values: dict[str, Any] = {}
    for word in text.split():
        name, _, value = word.partition("=")
        if name in _READERS:
            with suppress(OptionError):
                values[name] = _READERS[name](name, value)
        elif name == _STAGE and (match := _STAGES.fullmatch(value)):
            values |= {"stage": int(match[1]), "checked": int(match[2] or 0)}
    if values.get("timeout") == 0:
        values["timeout"] = math.inf
    return Settings(**values)
