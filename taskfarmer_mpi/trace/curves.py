"""A number that changes at many times, as a curve of few points."""

from __future__ import annotations

from collections.abc import Iterator


class Curve:
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
            if len(self._sums) > self._limit:
                self._coarsen()

    def _coarsen(self) -> None:
        """Put neighbours together, by as few powers of two as are enough."""
        levels = 1
        while len({number >> levels for number in self._sums}) > self._limit:
            levels += 1
        sums: dict[int, int] = {}
        moments: dict[int, int] = {}
        for number, change in self._sums.items():
            wide = number >> levels
            offset = self._moments[number] + change * ((number - (wide << levels)) << self._shift)
            sums[wide] = sums.get(wide, 0) + change
            moments[wide] = moments.get(wide, 0) + offset
        self._shift += levels
        self._sums, self._moments = sums, moments

    def copy(self) -> Curve:
        """Return one with the same changes, to which others can be added."""
        other = Curve(self._limit)
        other._shift, other._sums, other._moments = self._shift, self._sums.copy(), self._moments.copy()
        return other

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
