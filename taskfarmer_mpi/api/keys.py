"""Keys of tasks: who adds a task under a key once more, after a death as well, gets the one that is there.

`tasks.keys` of the work directory has a line for each::

    200 5f1d0c7b9a3e4d21 "first fit"      ID, digest of the command, key as JSON

It is written before the task itself. A line counts only if the task is there with that command: so one whose writer died
before it added the task means nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.upkeep.added_tasks import add_tasks
from taskfarmer_mpi.workdir.catalog import Origin
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import read_file
from taskfarmer_mpi.workdir.lists import append_lines

FILE = "tasks.keys"
_SHOWN = 60


class KeyConflictError(UserError):
    """A key is that of a task with another command."""


class TaskKeys:
    """The keys of one farm; every method is called with the lock of the work directory held."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._path = farm.workdir.path / FILE
        self._offset = 0
        self._ids: dict[str, int] = {}

    def add(self, texts: Sequence[bytes], keys: Sequence[str | None]) -> list[int]:
        """Add tasks, but those whose keys are there already; return the ID of each.

        Raises
        ------
        KeyConflictError
            If a key is that of another command; nothing was added.
        """
        self._advance()
        first = len(self._farm.catalog)
        new: list[bytes] = []
        ids: list[int] = []
        known = dict(self._ids)
        for text, key in zip(texts, keys, strict=True):
            task_id = known.get(key) if key is not None else None
            if task_id is None:
                task_id = first + len(new)
                new.append(text)
            elif (there := new[task_id - first] if task_id >= first else self._farm.catalog.raw(task_id)) != text:
                raise KeyConflictError(f"key {key!r} is that of task {task_id}, {_show(there)}, not of {_show(text)}")
            if key is not None:
                known[key] = task_id
            ids.append(task_id)
        named = [(task_id, key) for key, task_id in known.items() if task_id >= first]
        settings_of = getattr(self._farm.handler, "settings_of", None)
        directives = settings_of((), new) if callable(settings_of) else ()
        if named:
            data = b"".join(b"%d %s %s\n" % (i, _digest(new[i - first]), json.dumps(key).encode()) for i, key in named)
            append_lines(self._path, data, self._farm.lock.confirm)
        add_tasks(self._farm, new, Origin.USER, directives)
        self._ids = known
        return ids

    def _advance(self) -> None:
        self._farm.catalog.advance()
        catalog = self._farm.catalog
        data = read_file(self._path, self._offset) or b""
        for line in data.split(b"\n")[:-1]:
            self._offset += len(line) + 1
            number, digest, key = line.split(b" ", 2)
            if int(number) < len(catalog) and _digest(catalog.raw(int(number))) == digest:
                self._ids[json.loads(key)] = int(number)


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:16].encode()


def _show(text: bytes) -> str:
    shown = text.decode("utf-8", "replace")
    return repr(shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…")
