"""Lists of values, as a template file writes them: ``100 200 "two words" 1..1000 0.0..1.0..0.1``."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from taskfarmer_mpi.tasklists.text_sequence import TextSequence

_WORD = re.compile(r"""\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^\s"']+))(?=\s|$)""")
_NUMBER = re.compile(r"([-+]?)(\d+)(?:\.(\d+))?", re.ASCII)
_RANGE_LIKE = re.compile(r"[-+]?\d[^/]*\.\.", re.ASCII)
"""What looks as if a range was meant; a path like ``../x`` does not."""


class Values(TextSequence):
    """Values one after the other, some of them as ranges, which cost nothing however long they are."""

    def __init__(self, parts: Sequence[Sequence[str]]) -> None:
        self._parts = parts
        self._ends = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @property
    def has_blank(self) -> bool:
        """Whether a value is empty or white space."""
        return any(not value.strip() for part in self._parts if isinstance(part, tuple) for value in part)

    def text(self, index: int) -> str:
        """Return one value."""
        index = range(len(self))[index]
        part = bisect_right(self._ends, index)
        return self._parts[part][index - (self._ends[part - 1] if part else 0)]


class DecimalRange(TextSequence):
    """Numbers from the first to the last, which is included if a step hits it; exact, with a fixed number of decimals."""

    def __init__(self, numbers: range, decimals: int, width: int) -> None:
        """Take the numbers.

        Parameters
        ----------
        numbers
            They, in units of the last decimal.
        decimals
            How many digits follow the point.
        width
            How many characters a number has at least, with zeros before it.
        """
        self._numbers = numbers
        self._decimals = decimals
        self._width = width

    def __len__(self) -> int:
        return len(self._numbers)

    def text(self, index: int) -> str:
        """Return one number."""
        number = self._numbers[index]
        if not self._decimals:
            return f"{number:0{self._width}d}"
        whole, fraction = divmod(abs(number), 10**self._decimals)
        text = f"{whole}.{fraction:0{self._decimals}d}"
        return f"{'-' if number < 0 else ''}{text.zfill(self._width - (number < 0))}"


def parse_values(text: str) -> Values:
    """Parse a list of values.

    Words are separated by white space; one with white space in it is put in quotes. ``A..B`` is a range with steps of 1 or
    -1, ``A..B..STEP`` one with another step.

    Raises
    ------
    ValueError
        If it is none; the message is the reason.
    """
    parts: list[Sequence[str]] = []
    words: list[str] = []
    position = 0
    text = text.rstrip()
    while position < len(text):
        match = _WORD.match(text, position)
        if match is None:
            raise ValueError(f"quotes must be around a whole value: {text[position:].strip()[:40]}")
        position = match.end()
        bare = match["bare"]
        if bare is None:
            words.append(match["double"] if match["single"] is None else match["single"])
        elif _RANGE_LIKE.match(bare):
            parts += [tuple(words), parse_range(bare)]
            words = []
        else:
            words.append(bare)
    return Values([part for part in [*parts, tuple(words)] if part])


class _Number(NamedTuple):
    """A number as it is written."""

    sign: str
    whole: str
    fraction: str

    def scaled(self, decimals: int) -> int:
        """Return it in units of the last decimal."""
        number = int(self.whole + self.fraction.ljust(decimals, "0"))
        return -number if self.sign == "-" else number

    def padded_width(self, decimals: int) -> int:
        """Return how many characters numbers like it have; 0 if it is not written with zeros before it."""
        if len(self.whole) == 1 or self.whole[0] != "0":
            return 0
        return (self.sign == "-") + len(self.whole) + (1 + decimals if decimals else 0)


def parse_range(word: str) -> DecimalRange:
    """Parse ``A..B`` or ``A..B..STEP``.

    Raises
    ------
    ValueError
        If it is no range, or an empty one.
    """
    matches = [_NUMBER.fullmatch(part) for part in word.split("..")]
    numbers = [_Number(match[1], match[2], match[3] or "") for match in matches if match]
    if len(numbers) not in (2, 3) or len(numbers) != len(matches):
        raise ValueError(f"{word} is no range like 1..10 or 0.0..1.0..0.1; put it in quotes if it is meant as it stands")
    decimals = max(len(number.fraction) for number in numbers)
    if decimals and len(numbers) == 2:
        raise ValueError(f"{word} needs a step: {word}..0.1, for example")
    first, last, *steps = (number.scaled(decimals) for number in numbers)
    step = steps[0] if steps else (1 if first <= last else -1)
    if step == 0 or (last - first) * step < 0:
        raise ValueError(f"{word} never gets from its first number to its last one")
    width = max(number.padded_width(decimals) for number in numbers[:2])
    return DecimalRange(range(first, last + (1 if step > 0 else -1), step), decimals, width)
