"""What tasks are expected to last, by what others took."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from statistics import fmean

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.common.wording import count_of

_SETTING = re.compile(r"[A-Za-z_]\w*=")
_INTERPRETERS = re.compile(r"(?:python|perl|ruby|bash|sh|Rscript|julia|root|env|time|nice)[\d.]*")


class Guesses(Value):
    """What each task is expected to last, and from what that is known."""

    seconds: list[float]
    """Of each task [s]."""
    known: int
    """How many of them were run before, with the same command."""
    alike: int
    """How many have the mean of those with the same program."""
    others: int
    """How many have the mean of all."""

    def describe(self) -> str:
        """Say from what the durations are known."""
        parts = [f"{self.known:,} by an earlier run"]
        if self.alike:
            parts.append(f"{self.alike:,} by the mean of those with the same program")
        if self.others:
            parts.append(f"{self.others:,} by the mean of all")
        return f"durations of {count_of(len(self.seconds), 'task')}: {', '.join(parts)}"


def guess_durations(
    texts: Iterable[str], command_of: Callable[[int], str], known: Mapping[str, float], program_of: Callable[[str], str]
) -> Guesses:
    """Return what tasks are expected to last.

    Parameters
    ----------
    texts
        The text of each task.
    command_of
        Returns the command of a task by its index; asked where nothing is known about its text.
    known
        What texts or commands took [s]; not empty.
    program_of
        Returns which program a command is about: those with the same one are alike.
    """
    of_program: dict[str, list[float]] = {}
    for command, seconds in known.items():
        of_program.setdefault(program_of(command), []).append(seconds)
    means = {program: fmean(all_seconds) for program, all_seconds in of_program.items()}
    mean = fmean(known.values())
    found: list[float] = []
    counts = [0, 0, 0]
    for index, text in enumerate(texts):
        guess, kind = known.get(text), 0
        if guess is None:
            command = command_of(index)
            guess = known.get(command)
            if guess is None:
                guess, kind = means.get(program_of(command)), 1
        if guess is None:
            guess, kind = mean, 2
        counts[kind] += 1
        found.append(guess)
    return Guesses(found, *counts)


def program_of(command: str) -> str:
    """Return which program a command starts: its first word, no setting of a variable; an interpreter with its script."""
    words = [word for word in command.split() if not _SETTING.match(word)]
    names = [os.path.basename(word) for word in words[:2]]
    has_script = len(names) == 2 and _INTERPRETERS.fullmatch(names[0]) and not names[1].startswith("-")
    return " ".join(names if has_script else names[:1])
