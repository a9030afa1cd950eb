"""The file `order` of a work directory: in which order the tasks of its tasklist run, and what they are expected to last."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

from taskfarmer_mpi.errors import FarmError, describe
from taskfarmer_mpi.workdir.files import Workdir, read_file

_LINE = re.compile(rb"^(\d{1,18})(?: (\d+(?:\.\d+)?))?$", re.MULTILINE)


def encode_order(tasks: Iterable[tuple[int, float]]) -> bytes:
    """Encode tasks, in the order in which they run, with what they are expected to last [s]; NaN where that is not known."""
    return b"".join(b"%d\n" % task if math.isnan(seconds) else b"%d %.3f\n" % (task, seconds) for task, seconds in tasks)


def parse_order(data: bytes) -> dict[int, float]:
    """Decode the file: the tasks in their order, with what they are expected to last [s], or NaN."""
    return {int(match[1]): float(match[2] or "nan") for match in _LINE.finditer(data)}


def read_order(workdir: Workdir) -> dict[int, float]:
    """Return the order of a work directory; nothing if it has none.

    Raises
    ------
    FarmError
        If it cannot be read.
    """
    try:
        return parse_order(read_file(workdir.order) or b"")
    except OSError as error:
        raise FarmError(describe(error, workdir.order)) from error


class KeptOrder:
    """The place of each task in the order of a work directory, read when it is first asked for."""

    def __init__(self, workdir: Workdir) -> None:
        self._workdir = workdir
        self._places: Mapping[int, int] = {}
        self._state: tuple[int, ...] = ()
        """Of the file when it was read."""

    def place(self, task: int) -> int:
        """Return when a task comes: the lower, the earlier; one of which the order says nothing comes after all others."""
        if task not in self._places and (state := self._look()) != self._state:
            self._state = state
            self._places = {known: place for place, known in enumerate(read_order(self._workdir))}
        return self._places.get(task, len(self._places) + task)

    def _look(self) -> tuple[int, ...]:
        """Return what changes when the file does: another one is put in its place when tasks are added."""
        try:
            status = self._workdir.order.stat()
        except OSError:
            return (0,)  # and have the reader say why
        return status.st_ino, status.st_size, status.st_mtime_ns
