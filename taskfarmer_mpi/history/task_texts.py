"""The texts of tasks, from the files of a work directory: no tasklist handler, and so no user's code, is needed."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.runners.registry import FILL, HANDLER
from taskfarmer_mpi.tasklists.lines import TaskLines, read_some_lines, read_task_lines
from taskfarmer_mpi.workdir.catalog import parse_added
from taskfarmer_mpi.workdir.configuration import Stored
from taskfarmer_mpi.workdir.files import Workdir, read_file
from taskfarmer_mpi.workdir.lists import split_line, split_removed

_MAX_ID = 2**27
"""IDs beyond this one are not believed: a damaged list must not cost gigabytes."""


class TaskTexts:
    """The text of each task, as the lists have it; a task that is on none of them has the text of its line in the tasklist.

    A task costs its text and 9 bytes.
    """

    def __init__(self, workdir: Workdir, tasklist: Path | None) -> None:
        """Read the lists, without a lock: farmers can be at work.

        Parameters
        ----------
        workdir
            Whose tasks.
        tasklist
            The tasklist, if its lines are the tasks; None if a handler makes something else of them.

        Raises
        ------
        OSError
            If a list cannot be read.
        """
        self._starts = array("Q")
        self._lists = bytearray()
        self._data: list[bytes] = [b""]
        self._append(workdir.tasks_added, _split_added)
        for path in (workdir.toprocess, workdir.added, workdir.failed, workdir.finished):
            self._append(path, split_line)
        self._append(workdir.removed, split_removed)
        self._tasklist = tasklist
        self._lines: TaskLines | None = None

    def _append(self, path: Path, split: Callable[[bytes], tuple[int | None, bytes]]) -> None:
        number = len(self._data)
        data = read_file(path) or b""
        self._data.append(data)
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            task_id, text = split(data[start:end])
            if task_id is not None and task_id <= _MAX_ID:
                if task_id >= len(self._lists):
                    missing = task_id + 1 - len(self._lists)
                    self._lists.extend(bytes(missing))
                    self._starts.frombytes(bytes(missing * self._starts.itemsize))
                self._lists[task_id] = number
                self._starts[task_id] = end - len(text)
            start = end + 1

    def __len__(self) -> int:
        """Return one more than the highest ID that is on a list."""
        return len(self._lists)

    def __getitem__(self, task_id: int) -> str:
        """Return the text of a task; `task 17` if nothing tells it."""
        number = self._lists[task_id] if 0 <= task_id < len(self._lists) else 0
        if not number:
            return self._from_tasklist(task_id)
        data = self._data[number]
        start = self._starts[task_id]
        return data[start : data.find(b"\n", start)].decode("utf-8", "surrogateescape")

    def _from_tasklist(self, task_id: int) -> str:
        if self._lines is None:
            self._lines = TaskLines(b"")
            if self._tasklist is not None:
                with suppress(UserError):
                    self._lines = read_task_lines(self._tasklist)
        return self._lines[task_id] if task_id < len(self._lines) else f"task {task_id}"


def _split_added(line: bytes) -> tuple[int | None, bytes]:
    parsed = parse_added(line)
    return (None, line) if parsed is None else (parsed[0], parsed[2])


def plain_tasklist(stored: Stored | None) -> Path | None:
    """Return the tasklist if its lines are the tasks; None if a handler makes something else of them, or none is known."""
    is_plain = stored is not None and stored.handler.class_path in (HANDLER.built_in["default"], FILL)
    return Path(stored.tasklist) if stored is not None and is_plain else None


def read_some_texts(workdir: Workdir, stored: Stored | None, tasks: Collection[int]) -> dict[int, str]:
    """Return the texts of a few tasks that are on no list, as far as files tell, without reading all lists."""
    tasklist = plain_tasklist(stored)
    listed = stored.listed if stored is not None else 0
    texts: dict[int, str] = {}
    if tasklist is not None:
        with suppress(UserError):
            texts = read_some_lines(tasklist, {task for task in tasks if task < listed})
    if any(task >= listed for task in tasks):
        for line in (read_file(workdir.tasks_added) or b"").split(b"\n")[:-1]:
            parsed = parse_added(line)
            if parsed is not None and parsed[0] in tasks:
                texts[parsed[0]] = parsed[2].decode("utf-8", "surrogateescape")
    return texts


def count_tasks(workdir: Workdir, stored: Stored | None) -> int:
    """Return how many tasks there are at least: those of the tasklist, and those that came later."""
    added = read_file(workdir.tasks_added) or b""
    listed = 0 if stored is None or added.startswith(b"0 ") else stored.listed  # then changes of the tasklist were accepted
    return listed + added.count(b"\n")
