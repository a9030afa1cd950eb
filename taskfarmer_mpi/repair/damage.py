"""What is wrong with the lists of a work directory, and what they should be: found from their bytes and the journals."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.history.last_places import LastPlaces, Place
from taskfarmer_mpi.workdir.catalog import Catalog
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.lists import split_line, split_removed


class Fault(Value):
    """One thing that is wrong."""

    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}: {self.remedy}"


class _Line(Value):
    path: Path
    number: int
    task: int
    data: bytes


class Damage:
    """The lists of a work directory at one moment, compared with what the journals say."""

    def __init__(self, workdir: Workdir, catalog: Catalog, lists: Mapping[Path, bytes | None], said: LastPlaces) -> None:
        """Examine the lists.

        Parameters
        ----------
        workdir, catalog
            Whose lists they are, and all of its tasks.
        lists
            The content of each list; None where there is none.
        said
            What the journals say.
        """
        self._catalog = catalog
        self._said = said
        self._outcomes = {Place.FINISHED: workdir.finished, Place.FAILED: workdir.failed}
        self._stacks = (workdir.toprocess, workdir.added)
        self._removed = workdir.removed
        self.faults: list[Fault] = []
        """What is wrong, in the order in which it was found."""
        self.undecided: list[int] = []
        """Tasks of which the journals do not say where they belong."""
        self.unheard: list[int] = []
        """Tasks that are on no list, and no farmer of ours had them last: so a PyTaskFarmer may have had them."""
        self.lists = dict(lists)
        """What the lists should be."""
        self._find(lists)

    def _find(self, lists: Mapping[Path, bytes | None]) -> None:
        lines = [line for path, data in lists.items() for line in self._sound_lines(path, data or b"")]
        by_task: dict[int, list[_Line]] = {}
        for line in lines:
            by_task.setdefault(line.task, []).append(line)
        kept = {id(self._choose(task, found)) for task, found in by_task.items()}
        added = self._missing(by_task)
        for path, data in lists.items():
            mine = [line for line in lines if line.path == path and id(line) in kept]
            more = sorted(added.get(path, ()))
            if more and path in self._stacks:
                ids = sorted([*(line.task for line in mine), *more], reverse=True)
                content = b"".join(map(self._encode, ids))
            else:
                content = b"".join([*(line.data for line in mine), *map(self._encode, more)])
            self.lists[path] = content if content or data is not None else None

    def _encode(self, task: int) -> bytes:
        return b"%d %s\n" % (task, self._catalog.raw(task))

    def _sound_lines(self, path: Path, data: bytes) -> list[_Line]:
        sound = []
        for number, line in enumerate(io.BytesIO(data), 1):
            task, text = (split_removed if path == self._removed else split_line)(line[:-1])
            reason = self._reason(path, line, task, text)
            if reason is None and task is not None:
                sound.append(_Line(path, number, task, line))
            else:
                self._add(f"{path}:{number}", reason or "", "the line is taken out")
        return sound

    def _reason(self, path: Path, line: bytes, task: int | None, text: bytes) -> str | None:
        """Return what is wrong with a line, if anything is."""
        shown = repr(line[:60].decode("utf-8", "replace"))
        if b"\0" in line:
            return f"NUL bytes ({line.count(0)} of {len(line)})"
        if not line.endswith(b"\n"):
            return f"{shown} is torn"
        if task is None:
            return f"{shown} is not a task"
        if task >= len(self._catalog):
            return f"there is no task {task}"
        if not self._catalog.has(task, text):
            return f"{shown} is not task {task}"
        if path in self._stacks and path != self._stack(task):
            return f"task {task} belongs on {self._stack(task).name}"
        return None

    def _stack(self, task: int) -> Path:
        return self._stacks[0 if task < self._catalog.listed else 1]

    def _choose(self, task: int, found: list[_Line]) -> _Line:
        """Return which of the lines of a task is right."""
        place = self._said.places.get(task)
        wanted = self._outcomes.get(place) if place else None
        if place is Place.TO_DO:
            wanted = self._stack(task)
        recorded = [line for line in found if line.path in (*self._outcomes.values(), self._removed)]
        right = next((line for line in found if line.path == wanted), (recorded or found)[0])
        if right.path != wanted and len({line.path for line in recorded}) > 1:
            self.undecided.append(task)
        for line in found:
            if line is not right:
                self._add(
                    f"{line.path}:{line.number}", f"task {task} is in {right.path.name} already", "the line is taken out"
                )
        return right

    def _missing(self, present: Mapping[int, object]) -> dict[Path, list[int]]:
        """Return what has to be added to the lists."""
        uncut = {task for cut in self._said.cuts if any(map(present.__contains__, cut)) for task in cut}
        added: dict[Path, list[int]] = {}
        for task in range(len(self._catalog)):
            place = self._said.places.get(task)
            if task in present or (place is Place.HELD and task not in uncut):
                continue
            path = self._outcomes.get(place) if place else None
            if path is None:
                path = self._stack(task)
                self.unheard.append(task)
            reason = "no journal has it" if place is None else f"by the journals it is {place.value}"
            self._add(str(path), f"task {task} is on no list, and {reason}", "a line is added")
            added.setdefault(path, []).append(task)
        return added

    def _add(self, where: str, what: str, remedy: str) -> None:
        self.faults.append(Fault(where, what, remedy))
