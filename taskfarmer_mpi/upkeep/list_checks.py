"""The lists of a work directory, read at one moment and then compared with the tasklist, a part at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from taskfarmer_mpi.common.packed import PackedBlocks
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.workdir.catalog import Catalog
from taskfarmer_mpi.workdir.configuration import Stored
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import Workdir, read_file
from taskfarmer_mpi.workdir.growing_file import GrowingFile, open_lines, read_list
from taskfarmer_mpi.workdir.lists import ids_in, split_line, split_removed

_REMEDY = (
    "put it back as it was, take it over with --accept-changes (taskfarmer-ctl check shows what differs), or begin anew with"
    " another --workdir"
)


class Lists(Value):
    """The files of a work directory at one moment."""

    config: bytes | None
    tasks_added: str
    """The SHA-256 of what it has."""
    toprocess: PackedBlocks | None
    added: PackedBlocks | None
    finished: Iterable[bytes]
    """The recorded ones can be read once, as long as they are open."""
    failed: Iterable[bytes]
    removed: Iterable[bytes]

    @staticmethod
    def read_run(workdir: Workdir) -> tuple[bytes | None, str]:
        """Return what says which tasks there are."""
        sha = hashlib.sha256()
        for lines, _ in GrowingFile(workdir.tasks_added).news():
            sha.update(lines)
        return read_file(workdir.config), sha.hexdigest()

    @classmethod
    def read(cls, workdir: Workdir, opened: ExitStack) -> Lists:
        """Read them, or open them; the lock is held."""
        recorded = [open_lines(path, opened) for path in (workdir.finished, workdir.failed, workdir.removed)]
        return cls(*cls.read_run(workdir), read_list(workdir.toprocess), read_list(workdir.added), *recorded)


class Checked(Value):
    """Which tasks are on the lists."""

    recorded: bytearray
    """A flag for each task whose outcome is recorded, or that was removed."""
    seen: bytearray
    """A flag for each task that is on any list."""
    has_done_tasks: bool
    """Whether a stack has tasks that are recorded already, or twice: PyTaskFarmer puts some back when it stops."""


def check_lists(farm: Farm, stored: Stored | None, lists: Lists) -> Checked:
    """Check all lists against the tasklist.

    Raises
    ------
    UserError
        If they do not match.
    """
    workdir = farm.workdir
    is_same = stored is not None and farm.catalog.lines.begins_with(stored.begun, stored.digest)
    if stored is not None:
        farm.catalog.advance()
    changes: list[str] = []
    recorded = bytearray(len(farm.catalog))
    for path, content in (
        (workdir.finished, lists.finished),
        (workdir.failed, lists.failed),
        (workdir.removed, lists.removed),
    ):
        for ids in _examine(farm, path, content, None if is_same else changes):
            _flag(recorded, ids)
    seen = bytearray(recorded)
    has_done_tasks = False
    for path, content in ((workdir.toprocess, lists.toprocess or ()), (workdir.added, lists.added or ())):
        for ids in _examine(farm, path, content, None if is_same else changes):
            has_done_tasks |= _flag(seen, ids)
    if changes or (stored is not None and not is_same):
        raise UserError(_describe(farm, changes))
    if stored is not None and stored.listed and not farm.catalog.listed:
        raise UserError(
            f"{farm.workdir.path}: a change of its tasklist was not taken over to the end: --accept-changes does it"
        )
    _check_appended(farm)
    return Checked(recorded, seen, has_done_tasks)


def _flag(flags: bytearray, ids: Sequence[int]) -> bool:
    """Flag tasks; return whether one of them was flagged already, or is there twice."""
    is_known = any(map(flags.__getitem__, ids)) or len(set(ids)) < len(ids)
    for task_id in ids:
        flags[task_id] = 1
    return is_known


def _check_appended(farm: Farm) -> None:
    """Check the lines that were appended to the tasklist before against what it has there now."""
    catalog = farm.catalog
    for number, task in enumerate(catalog.appended, catalog.begun):
        text = catalog.raw(task)
        now = catalog.lines.raw(number) if number < len(catalog.lines) else None
        if now != text:
            what = "is gone" if now is None else f"is {_shorten(now)} now"
            raise UserError(
                f"{farm.handler.path}: the appended line {_shorten(text)} {what}: the tasklist no longer matches"
                f" {farm.workdir.path}; only lines appended at the end are allowed: {_REMEDY}"
            )


def _describe(farm: Farm, changes: list[str]) -> str:
    """Say what changed in the tasklist since the work directory was made."""
    if not changes:
        header = "header or its " if farm.catalog.lines.header else ""
        return (
            f"{farm.handler.path}: its {header}first {farm.catalog.begun} tasks are not those for which"
            f" {farm.workdir.path} was made; only lines appended at the end are allowed: {_REMEDY}"
        )
    more = f"; {len(changes) - 1} more tasks differ: " + ", ".join(changes[1:4]) if len(changes) > 1 else ""
    return f"{changes[0]}: the tasklist no longer matches the work directory{more}: {_REMEDY}"


def _examine(farm: Farm, path: Path, content: Iterable[bytes], changes: list[str] | None) -> Iterator[Sequence[int]]:
    """Yield the IDs in the blocks of one list after checking each line.

    If `changes` is a list, the texts are compared, and it gets those that differ. Otherwise the tasklist is known to be that
    of the work directory, and so a task that is to be run and has another text was edited in its list.
    """
    is_stack = path in (farm.workdir.toprocess, farm.workdir.added)
    split = split_removed if path == farm.workdir.removed else split_line
    number = 1
    for block in content:
        ids = _sound_ids(farm.catalog, block, is_stack=is_stack) if changes is None and split is split_line else None
        yield list(_check_lines(farm, path, block, number, split, changes, is_stack=is_stack)) if ids is None else ids
        number += block.count(b"\n")


def _sound_ids(catalog: Catalog, block: bytes, *, is_stack: bool) -> Sequence[int] | None:
    """Return the IDs in a block if all its lines are as they should be; None if they are to be looked at one by one."""
    ids = list(ids_in(block))
    if len(ids) < block.count(b"\n") or catalog.listed > len(catalog.lines):
        return None
    first, last = min(ids), max(ids)
    if last >= len(catalog):
        return None
    if not is_stack or (catalog.lines.is_computed and last < catalog.listed):
        return ids
    if catalog.lines.is_computed and first < catalog.listed:
        return None
    if last - first < len(ids):
        run = catalog.raws(first, last + 1)
        texts = [run[task_id - first] for task_id in ids]
    else:
        known = {task_id: catalog.raw(task_id) for task_id in sorted(ids)}
        texts = [known[task_id] for task_id in ids]
    return ids if b"".join(map(b"%d %s\n".__mod__, zip(ids, texts, strict=True))) == block else None


def _check_lines(
    farm: Farm,
    path: Path,
    block: bytes,
    first: int,
    split: Callable[[bytes], tuple[int | None, bytes]],
    changes: list[str] | None,
    *,
    is_stack: bool,
) -> Iterator[int]:
    """Yield the IDs in a block, whose first line has the number `first`, after checking each line as `_examine` says."""
    catalog = farm.catalog
    for number, line in enumerate(block.split(b"\n")[:-1], first):
        task_id, text = split(line)
        if task_id is None:
            shown = line[:60].decode("utf-8", "replace")
            raise UserError(f"{path}:{number}: {shown!r} is not a task; a line is `ID task`, with a number for the ID")
        count = len(catalog.lines) if task_id < catalog.listed else len(catalog)
        if task_id >= count:
            raise UserError(
                f"{path}:{number}: task {task_id} is not in {farm.handler.path}, which has {count} tasks, from 0 on"
                f"{'' if changes is None else f': {_REMEDY}'}"
            )
        if changes is None and is_stack and not catalog.has(task_id, text):
            raise UserError(
                f"{path}:{number}: task {task_id} is {_shorten(text)} here, but it is {_shorten(catalog.raw(task_id))}:"
                " put the line back as it was; another command is a task of its own (taskfarmer-ctl add)"
            )
        if changes is not None and text != catalog.raw(task_id):
            now = _shorten(catalog.raw(task_id))
            place = f"{farm.handler.path}: " if not changes else ""
            changes.append(f"{place}task {task_id} is {now}, but {path}:{number} has {_shorten(text)}")
        yield task_id


def _shorten(line: bytes) -> str:
    shown = line.decode("utf-8", "replace")
    return repr(shown if len(shown) <= 60 else shown[:59] + "…")
