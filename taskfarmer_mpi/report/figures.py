"""The pictures of a report as numbers: paths, bars and ticks on planes that a page stretches to its width."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.common.wording import say_duration

WIDTH = 1000
"""Width of each plane."""
HEIGHT = 100
"""Height of a plane with an area on it."""
_DAY = 86400.0
_STEPS = tuple(
    [size * unit for unit in (1e-3, 1e-2, 0.1, 1.0) for size in (1, 2, 5)]
    + [10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200]
    + [size * unit for unit in (_DAY, 10 * _DAY, 100 * _DAY, 1000 * _DAY) for size in (1, 2, 5)]
)
"""Distances of marks that are easy to read [s]."""


class Tick(Value):
    """A mark on an axis."""

    place: float
    """From the left [% of the width]."""
    label: str


class Bar(Value):
    """A rectangle on a plane."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    """The class of its style."""
    title: str


def draw_area(values: Sequence[float], top: float, points: int) -> str:
    """Return the path of an area under steps.

    Parameters
    ----------
    values
        Heights in equal parts of the width.
    top
        The height that fills the plane.
    points
        At most so many steps are drawn; several values are drawn as their mean.
    """
    per_step = max(1, -(-len(values) // points))
    steps = [values[i : i + per_step] for i in range(0, len(values), per_step)]
    heights = [round(HEIGHT * (1 - min(sum(step) / len(step) / top, 1.0)), 1) if top else HEIGHT for step in steps]
    path = [f"M0 {HEIGHT}"]
    last: float = HEIGHT
    for number, height in enumerate(heights):
        if height != last:
            path.append(f"H{_short(WIDTH * number * per_step / len(values))}V{_short(height)}")
            last = height
    return "".join([*path, f"H{WIDTH}V{HEIGHT}Z"])


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def time_ticks(length: float, most: int = 7) -> list[Tick]:
    """Return marks at round times of an axis of this length [s]."""
    if length <= 0:
        return [Tick(0.0, "0")]
    step = next((step for step in _STEPS if length / step <= most), length)
    return [
        Tick(100 * i * step / length, say_duration(i * step) if i else "0") for i in range(math.floor(length / step) + 1)
    ]


def histogram(durations: Sequence[float], bars: int = 40) -> tuple[list[Bar], int, list[Tick]]:
    """Return bars, the count of the highest one, and marks of sorted durations [s] on a logarithmic axis from 1 ms on."""
    if not durations:
        return [], 0, []
    low = math.log10(max(durations[0], 1e-3))
    high = math.log10(max(durations[-1], 1e-3))
    if high - low < 0.1:
        low, high = low - 0.05, high + 0.05
    edges = [low + (high - low) * i / bars for i in range(bars + 1)]
    places = [0, *(bisect_right(durations, 10**edge) for edge in edges[1:-1]), len(durations)]
    counts = [end - begin for begin, end in pairwise(places)]
    top = max(counts)
    width = WIDTH / bars
    found = [
        Bar(
            x=round(i * width + 0.08 * width, 2),
            y=round(HEIGHT * (1 - _visible(count / top)), 2),
            width=round(0.84 * width, 2),
            height=round(HEIGHT * _visible(count / top), 2),
            kind="finished",
            title=f"{count:,} runs from {say_duration(10 ** edges[i])} to {say_duration(10 ** edges[i + 1])}",
        )
        for i, count in enumerate(counts)
        if count
    ]
    return found, top, _log_ticks(low, high)


def _visible(share: float) -> float:
    return max(share, 0.02)


def _log_ticks(low: float, high: float) -> list[Tick]:
    marks = [step for step in _STEPS if low <= math.log10(step) <= high]
    if len(marks) < 2:
        marks = [10 ** (low + (high - low) * part) for part in (0.05, 0.35, 0.65, 0.95)]
    marks = marks[:: max(1, -(-len(marks) // 7))]
    return [Tick(100 * (math.log10(mark) - low) / (high - low), say_duration(mark)) for mark in marks]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the sorted values lies."""
    return values[min(math.ceil(share * len(values)), len(values)) - 1 if share > 0 else 0]
