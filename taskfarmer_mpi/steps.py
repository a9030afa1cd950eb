"""A number that changes at many times, as a curve of few points."""

from __future__ import annotations

from collections.abc import Iterator


class Steps:
    """Changes of a number, in any order and in bounded memory.

    They are kept to the microsecond until there are too many; then neighbours are put together, in intervals of 2, 4, 8
    and so on. What comes out does not depend on the order of the changes.
    """

    def __init__(self, limit: int) -> None:
        """Begin without a change.

        Parameters
        ----------
        limit
            How many intervals with changes are kept apart.
        """
        self._limit = limit
        self._shift = 0
        self._sums: dict[int, int] = {}
        self._moments: dict[int, int] = {}

    def add(self, moment: int, change: int) -> None:
        """Add a change at a time [µs]."""
        number = moment >> self._shift
        offset = change * (moment - (number << self._shift))
        if number in self._sums:
            self._sums[number] += change
            self._moments[number] += offset
        else:
            self._sums[number] = change
            self._moments[number] = offset
            while len(self._sums) > self._limit:
                self._coarsen()

    def _coarsen(self) -> None:
        width = 1 << self._shift
        sums, moments = self._sums, self._moments
        self._shift += 1
        self._sums, self._moments = {}, {}
        for number, change in sums.items():
            half = number >> 1
            offset = moments[number] + (change * width if number & 1 else 0)
            self._sums[half] = self._sums.get(half, 0) + change
            self._moments[half] = self._moments.get(half, 0) + offset

    def values(self, value: int = 0) -> Iterator[tuple[int, int]]:
        """Yield the number after the changes of each interval, at the interval's begin [µs]; it begins with `value`."""
        for number in sorted(self._sums):
            value += self._sums[number]
            yield number << self._shift, value

    def means(self) -> Iterator[tuple[int, float]]:
        """Yield the mean of the number over each interval with changes, and its value after it; times in µs."""
        width = 1 << self._shift
        value = 0
        after = None
        for number in sorted(self._sums):
            if after is not None and after != number:
                yield after << self._shift, value
            change = self._sums[number]
            mean = value + change - self._moments[number] / width
            yield number << self._shift, value + change if width == 1 else round(mean, 2)
            value += change
            after = None if width == 1 else number + 1
        if after is not None:
            yield after << self._shift, value
