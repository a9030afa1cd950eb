"""How a list of lines was edited: which lines are kept, new, gone, changed and moved. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.common.wording import count_of, make_printable, shorten

SHOWN = 20
"""How many lines of each kind are shown."""
_WIDTH = 100


class Edit(Value):
    """What became of the lines."""

    ids: list[int | None]
    """The task of each line that is there now; None for a new one."""
    added: list[bytes]
    """Lines that are new, and took no other's place."""
    removed: list[tuple[int, bytes]]
    """Tasks whose lines are gone, and nothing is in their place."""
    changed: list[tuple[int, bytes, bytes]]
    """Tasks whose lines are gone, their lines, and the new lines in their place."""
    moved: list[tuple[int, bytes]]
    """Tasks whose lines are at another place."""

    @property
    def is_empty(self) -> bool:
        """Whether the same lines are there as before, wherever."""
        return not (self.added or self.removed or self.changed)

    def describe(self) -> str:
        """Say how many lines of which kind there are."""
        kinds = (
            ("added", self.added),
            ("removed", self.removed),
            ("changed", self.changed),
            ("moved", self.moved),
        )
        counts = [f"{count_of(len(lines), 'line')} {kind}" for kind, lines in kinds if lines]
        return ", ".join(counts) or "no line is another one"

    def show(self) -> Iterator[str]:
        """Yield the lines that differ, at most `SHOWN` of each kind."""
        yield from _show([f"+ {_show_line(line)}" for line in self.added])
        yield from _show([f"- {task}: {_show_line(line)}" for task, line in self.removed])
        yield from _show([f"~ {task}: {_show_line(line)} -> {_show_line(now)}" for task, line, now in self.changed])
        yield from _show([f"> {task}: {_show_line(line)}: moved" for task, line in self.moved])


def _show(lines: list[str]) -> Iterator[str]:
    yield from lines[:SHOWN]
    if len(lines) > SHOWN:
        yield f"{lines[0][0]} ... {len(lines) - SHOWN} more"


def _show_line(line: bytes) -> str:
    return shorten(make_printable(line.decode("utf-8", "replace")), _WIDTH)


def compare_lines(before: Sequence[tuple[int, bytes]], now: Sequence[bytes]) -> Edit:
    """Compare lines; those with the same text are the same, the first ones first.

    Parameters
    ----------
    before
        The lines that were there, in their order, with their tasks.
    now
        Those that are there.
    """
    waiting: dict[bytes, deque[int]] = defaultdict(deque)
    for place, (_, text) in enumerate(before):
        waiting[text].append(place)
    places = [waiting[text].popleft() if waiting.get(text) else None for text in now]
    staying = _longest_rise([place for place in places if place is not None])
    stays_at = [index for index, place in enumerate(places) if place in staying]
    order = sorted(staying)
    gaps: dict[int, deque[int]] = defaultdict(deque)
    """New lines, by how many lines before them stay where they are."""
    for index, old in enumerate(places):
        if old is None:
            gaps[bisect_left(stays_at, index)].append(index)
    removed, changed = [], []
    for place in sorted(place for rest in waiting.values() for place in rest):
        task, text = before[place]
        if there := gaps[bisect_left(order, place)]:
            changed.append((task, text, now[there.popleft()]))
        else:
            removed.append((task, text))
    added = sorted(index for rest in gaps.values() for index in rest)
    ids = [None if place is None else before[place][0] for place in places]
    moved = [before[place] for place in places if place is not None and place not in staying]
    return Edit(ids, [now[index] for index in added], removed, changed, moved)


def _longest_rise(numbers: Sequence[int]) -> set[int]:
    """Return the numbers of a longest part that rises (by patience sorting)."""
    tops: list[int] = []
    before: dict[int, int | None] = {}
    for number in numbers:
        pile = bisect_left(tops, number)
        before[number] = tops[pile - 1] if pile else None
        tops[pile : pile + 1] = [number]
    found = set()
    at: int | None = tops[-1] if tops else None
    while at is not None:
        found.add(at)
        at = before[at]
    return found
