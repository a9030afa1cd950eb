"""Columns of a table that say what the task of a row has: ``TF:cpus``, ``TF:timeout`` and so on, as `#TF` lines do it.

No field of a command can have such a name, as a colon ends it.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.policies.settings import ALLOWED, WORDS, change_settings

PREFIX = "TF:"
COST = "TF:cost"
"""The column that says what a task is expected to last, for `--order longest`."""


class RowSettings:
    """Where a table has such columns, and what its rows say there."""

    def __init__(self, names: Sequence[str]) -> None:
        """Look for the columns among the names of all.

        Raises
        ------
        ValueError
            If one of them means nothing; the message is the reason.
        """
        self._words = [(place, name.removeprefix(PREFIX)) for place, name in enumerate(names) if name.startswith(PREFIX)]
        self._cost = next((place for place, word in self._words if word == "cost"), None)
        self._words = [(place, word) for place, word in self._words if word != "cost"]
        for _, word in self._words:
            if word not in WORDS:
                raise ValueError(f"column {PREFIX}{word}: allowed: {', '.join(PREFIX + name for name in WORDS)}, {COST}")
        self.costs = array("d")
        """What each row that was read is expected to last [s]; not a number where it does not say."""
        self._known: dict[tuple[str, ...], str] = {}

    def __bool__(self) -> bool:
        return bool(self._words) or self._cost is not None

    def read(self, held: str, values: Sequence[str]) -> str:
        """Return what the task of a row has, beside what `#TF` lines before it say; note its cost.

        Raises
        ------
        ValueError
            If a value is none; the message is the reason.
        """
        if self._cost is not None:
            self.costs.append(_read_cost(values[self._cost].strip()))
        said = (held, *(values[place].strip() for place, _ in self._words))
        if said not in self._known:
            words = [f"{word}={text}" for (_, word), text in zip(self._words, said[1:], strict=True) if text]
            try:
                self._known[said] = change_settings(held, words) if words else held
            except UserError as error:
                raise ValueError(f"{str(error).replace('#TF ', PREFIX)}; allowed: {ALLOWED}") from error
        return self._known[said]


def _read_cost(text: str) -> float:
    try:
        cost = float(text) if text else math.nan
    except ValueError:
        cost = -1.0
    if cost < 0 or math.isinf(cost):
        raise ValueError(f"{COST}: {text!r} is not a time in seconds: 0 or more")
    return cost


def join_directives(texts: Iterator[str]) -> tuple[tuple[int, str], ...]:
    """Return as directives what each task of a list has."""
    found: list[tuple[int, str]] = []
    before = ""
    for index, text in enumerate(texts):
        if text != before:
            found.append((index, text))
            before = text
    return tuple(found)


def hold_directives(directives: Sequence[tuple[int, str]], count: int) -> Iterator[str]:
    """Yield what each of so many tasks has by the directives of a list."""
    held, following = "", 0
    for index in range(count):
        while following < len(directives) and directives[following][0] <= index:
            held = directives[following][1]
            following += 1
        yield held
