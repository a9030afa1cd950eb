"""Brings what the `#TF` lines of a tasklist say into the work directory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from taskfarmer_mpi.directives.book import Part, SettingsBook, encode_parts
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.tasklists.directives import Directive, cut_directives
from taskfarmer_mpi.workdir.catalog import Origin, parse_added
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import read_file, replace_file
from taskfarmer_mpi.workdir.lists import append_lines


def append_settings(farm: Farm, first: int, directives: Sequence[Directive], start: int, stop: int) -> None:
    """Keep the settings of tasks that are about to be added; the lock is held.

    Parameters
    ----------
    farm
        The farm.
    first
        The ID that the first of them gets.
    directives
        Those of a list.
    start, stop
        Which tasks of that list are added.
    """
    nothing = (first, first + stop - start - 1, "")  # an addition that was cut short may have left something for these
    parts = [(i - start + first, j - start + first, text) for i, j, text in cut_directives(directives, start, stop)]
    append_lines(farm.workdir.settings, encode_parts([nothing, *parts]), farm.lock.confirm)


class SettingsUpdate:
    """What is to be changed in the work directory, so that its tasks have what the tasklist says now."""

    def __init__(self, farm: Farm, at_work: Callable[[], str | None]) -> None:
        """Look whether anything is; the lock need not be held.

        Parameters
        ----------
        farm
            The farm, with all tasks that it has.
        at_work
            Returns the name of a farmer that is at work, if there is one.

        Raises
        ------
        UserError
            If settings have changed, but farmers work by the old ones.
        """
        self._farm = farm
        self._at_work = at_work
        self._find()

    def _find(self) -> bytes | None:
        """Return the new content of the file; None if it is right as it is."""
        book = SettingsBook(self._farm.workdir.settings)
        book.advance()
        is_from_list, wanted = self._wanted()
        kept = list(_pick(book.parts, is_from_list, value=False))
        if list(_pick(book.parts, is_from_list, value=True)) == wanted:
            return None
        farmer = self._at_work()
        if farmer is not None:
            raise UserError(
                f"{self._farm.handler.path}: its #TF lines changed, but farmers are at work in {self._farm.workdir.path}"
                f" ({farmer}): put them back as they were, or stop the farmers first"
            )
        return encode_parts(sorted([*wanted, *kept]))

    def _wanted(self) -> tuple[bytearray, list[Part]]:
        """Return a flag for each task that is from the tasklist, and what these are to have by it."""
        catalog = self._farm.catalog
        is_from_list = bytearray(b"\1") * catalog.listed
        kept: dict[bytes, deque[int]] = {}
        appended: list[int] = []
        for line in (read_file(self._farm.workdir.tasks_added) or b"").split(b"\n")[:-1]:
            parsed = parse_added(line)
            if parsed is not None and parsed[1] is Origin.KEPT:
                kept.setdefault(parsed[2], deque()).append(parsed[0])
            elif parsed is not None and parsed[1] is Origin.LINE:
                appended.append(parsed[0])
            is_from_list.append(parsed is not None and parsed[1] in (Origin.KEPT, Origin.LINE))
        lines = catalog.lines
        first = [kept[lines.raw(i)].popleft() for i in range(catalog.begun)] if kept else list(range(catalog.listed))
        ids = [*first, *appended]
        parts = cut_directives(lines.directives, 0, min(len(ids), len(lines)))
        wanted = sorted((ids[i], ids[i], text) for begin, end, text in parts for i in range(begin, end + 1))
        return is_from_list, list(_pick(wanted, is_from_list, value=True))

    def write(self) -> None:
        """Make the change; the lock is held.

        Raises
        ------
        UserError
            If farmers began to work meanwhile.
        """
        data = self._find()
        if data is not None:
            replace_file(self._farm.workdir.settings, data, self._farm.lock.confirm)


def _pick(parts: Iterator[Part] | Sequence[Part], flags: bytearray, *, value: bool) -> Iterator[Part]:
    """Yield parts of tasks whose flag has a value; what touches and is the same becomes one part."""
    begin = last = -1
    held = ""
    for first, end, text in parts:
        for task in range(first, min(end, len(flags) - 1) + 1):
            if bool(flags[task]) is not value:
                continue
            if task != last + 1 or text != held:
                if held:
                    yield begin, last, held
                begin, held = task, text
            last = task
    if held:
        yield begin, last, held
