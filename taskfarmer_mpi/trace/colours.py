"""Names by which failed runs differ in colour from others: Perfetto makes the colour of a slice from its name alone.

It takes all numbers off, with the blank before each; the hue is a hash of the rest. See `getColorForSlice` and `hash` in
https://github.com/google/perfetto, `ui/src/components/colorizer.ts` and `ui/src/base/hash.ts`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from taskfarmer_mpi.common.wording import shorten
from taskfarmer_mpi.history.runs import Outcome

NAME_LENGTH = 80
"""Longest name of a slice [characters]."""
SAMPLE = 1000
"""How many names of finished runs are looked at."""
FAILURE_WORDS = ("! FAILED task", "** FAILED", "FAILED:")
"""What failed runs can be called, before the number of their task: they become red, violet or blue."""
_NEAR = 40
"""Hues that are closer than this look alike [degrees]."""
_FEW = 0.05
"""A part of the finished runs that may look like failed ones."""
_NUMBER = re.compile(r" ?\d+")
_OTHER_LABELS = {Outcome.RUNNING: "RUNNING ", Outcome.ENDED: "ENDED "}


def find_hue(name: str) -> int:
    """Return the hue that Perfetto gives a slice of this name [degrees]."""
    units = _NUMBER.sub("", name).encode("utf-16-le", "surrogatepass")
    value = 18652613
    for number in range(0, len(units), 2):
        value ^= int.from_bytes(units[number : number + 2], "little")
        value = _to_int32(int(16777619.0 * _to_int32(value)))  # as JavaScript, which loses digits of such a product
    return abs(value) % 360


def _to_int32(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31


def choose_failure_word(names: Iterable[str]) -> str:
    """Return how failed runs are called, so that few of the other runs, which have these names, look alike."""
    hues = [find_hue(name) for name in names]

    def count_alike(word: str) -> int:
        hue = find_hue(word)
        return sum(min(abs(hue - other), 360 - abs(hue - other)) < _NEAR for other in hues)

    good = (word for word in FAILURE_WORDS if count_alike(word) <= _FEW * len(hues))
    return next(good, None) or min(FAILURE_WORDS, key=count_alike)


def name_run(outcome: Outcome, task: int, text: str, failure_word: str, name: str = "") -> str:
    """Return the name of the slice of a run: all that failed have one colour, and so have all that were killed or lost.

    Those of other tasks that are called by a name have the colour of that name.
    """
    if outcome is Outcome.FAILED:
        return f"{failure_word} {task}"
    if outcome in (Outcome.KILLED, Outcome.LOST):
        return f"{outcome.name} {task}"
    label = "" if outcome is Outcome.FINISHED else _OTHER_LABELS.get(outcome, "")
    return shorten(label + (f"{name} {task}" if name else text), NAME_LENGTH)
