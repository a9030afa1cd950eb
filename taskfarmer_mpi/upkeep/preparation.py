"""The start of a farmer: check the work directory against the tasklist, and make what is missing.

All checks come before the first change. Files are read under the lock and examined without it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.values import Value, replace
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.upkeep.added_tasks import ForgottenTasks, add_all_appended
from taskfarmer_mpi.upkeep.lock_choice import living_farmers
from taskfarmer_mpi.workdir.configuration import Stored, encode_config, parse_config, read_config
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import Workdir, read_file, replace_file, temporary_file, write_all
from taskfarmer_mpi.workdir.journal_reading import held_tasks
from taskfarmer_mpi.workdir.lists import split_line, split_removed
from taskfarmer_mpi.workdir.locks import WorkLock

log = Log(__name__)

_REMEDY = (
    "put it back as it was, take it over with --accept-changes (taskfarmer-ctl check shows what differs), or begin anew with"
    " another --workdir"
)


def change_directory(workdir: Workdir, lock: WorkLock, directory: str, patience: float) -> None:
    """Have the tasks of a work directory run elsewhere from now on.

    Raises
    ------
    UserError
        If farmers are at work, who run them where they did so far.
    """
    with lock.held(patience):
        stored = read_config(workdir)
        if stored is None or stored.directory == directory:
            return
        farmer = next(living_farmers(workdir), None)
        if farmer is not None:
            raise UserError(
                f"{workdir.path}: its tasks run in {stored.directory}, not in {directory}, as long as farmers are at work"
                f" ({farmer.farmer}): leave --chdir away, or stop them first"
            )
        replace_file(workdir.config, encode_config(replace(stored, directory=directory)), lock.confirm)


def prepare(farm: Farm, wanted: Stored, patience: float, *, accepts: bool = False) -> Farm:
    """Check the work directory and bring it to where a farmer can take tasks.

    Parameters
    ----------
    farm
        The farm, with all tasks of the tasklist.
    wanted
        The configuration of this run, to be stored if there is none.
    patience
        How long to wait for the lock [s].
    accepts
        Whether what was edited in the tasklist is taken over.

    Returns
    -------
    The farm, with the tasks of the work directory.

    Raises
    ------
    UserError
        If the tasklist does not match the work directory, or a list is damaged; nothing was changed.
    """
    if accepts:
        from taskfarmer_mpi.changes.edited_list import accept_changes
        from taskfarmer_mpi.upkeep.reopening import hands

        accept_changes(farm, partial(hands, farm.workdir, farm.lock), patience)
    return _prepare(farm, wanted, patience)


def _prepare(farm: Farm, wanted: Stored, patience: float) -> Farm:
    order: list[tuple[int, float]] = []
    while True:
        with farm.lock.held(patience):
            lists = _Lists.read(farm.workdir)
        stored = None if lists.config is None else parse_config(lists.config, farm.workdir.config)
        listed, accepted = (None, None) if stored is None else (stored.listed, stored.accepted)
        farm = Farm.of(farm.workdir, farm.lock, farm.handler, listed, farm.rules, accepted)
        checked = _check(farm, stored, lists)
        config = stored or replace(wanted, listed=farm.catalog.listed, digest=farm.catalog.lines.digest(farm.catalog.listed))
        forgotten = ForgottenTasks(farm, checked.seen)
        order = order or _make_order(farm, stored)
        settle = _look_at_settings(farm)
        if not (order or forgotten or checked.has_done_tasks or settle is not bool or None in (stored, lists.toprocess)):
            break
        with temporary_file(farm.workdir.toprocess) as (fd, temporary):
            if lists.toprocess is None:
                _write_to_do(fd, farm, checked.recorded, [task for task, _ in order])
                os.fsync(fd)
            with farm.lock.held(patience):
                if _Lists.read_run(farm.workdir) != (lists.config, lists.tasks_added):
                    continue  # another farmer was quicker: look at what it made
                _keep_order(farm, order)
                settle()
                if lists.toprocess is None and not farm.workdir.toprocess.exists():
                    farm.lock.confirm()
                    temporary.replace(farm.workdir.toprocess)
                _drop_all_done(farm, lists, checked)
                if stored is None:
                    replace_file(farm.workdir.config, encode_config(config), farm.lock.confirm)
                forgotten.give_back()
        break
    add_all_appended(farm, farm.catalog.lines, patience)
    return farm


def _look_at_settings(farm: Farm) -> Callable[[], object]:
    """Return what brings the settings of tasks up to date under the lock, if any has some."""
    if not (farm.catalog.lines.directives or farm.workdir.settings.exists()):
        return bool
    from taskfarmer_mpi.directives.update import SettingsUpdate

    return SettingsUpdate(farm, lambda: next((who.farmer for who in living_farmers(farm.workdir)), None)).write


class _Lists(Value):
    """The files of a work directory at one moment."""

    config: bytes | None
    tasks_added: bytes | None
    toprocess: bytes | None
    added: bytes | None
    finished: bytes | None
    failed: bytes | None
    removed: bytes | None

    @staticmethod
    def read_run(workdir: Workdir) -> tuple[bytes | None, bytes | None]:
        """Return what says which tasks there are."""
        return read_file(workdir.config), read_file(workdir.tasks_added)

    @classmethod
    def read(cls, workdir: Workdir) -> _Lists:
        paths = (workdir.toprocess, workdir.added, workdir.finished, workdir.failed, workdir.removed)
        return cls(*cls.read_run(workdir), *map(read_file, paths))


class _Checked(Value):
    recorded: bytearray
    """A flag for each task whose outcome is recorded, or that was removed."""
    seen: bytearray
    """A flag for each task that is on any list."""
    has_done_tasks: bool
    """Whether a stack has tasks that are recorded already, or twice: PyTaskFarmer puts some back when it stops."""


def _check(farm: Farm, stored: Stored | None, lists: _Lists) -> _Checked:
    """Check all lists against the tasklist."""
    workdir = farm.workdir
    is_same = stored is not None and farm.catalog.lines.begins_with(stored.begun, stored.digest)
    if stored is not None:
        farm.catalog.advance()
    changes: list[str] = []
    recorded = bytearray(len(farm.catalog))
    for path, data in ((workdir.finished, lists.finished), (workdir.failed, lists.failed), (workdir.removed, lists.removed)):
        for task_id in _examine(farm, path, data, None if is_same else changes):
            recorded[task_id] = 1
    seen = bytearray(recorded)
    has_done_tasks = False
    for path, data in ((workdir.toprocess, lists.toprocess), (workdir.added, lists.added)):
        for task_id in _examine(farm, path, data, None if is_same else changes):
            has_done_tasks |= bool(seen[task_id])
            seen[task_id] = 1
    if changes or (stored is not None and not is_same):
        raise UserError(_describe(farm, changes))
    if stored is not None and stored.listed and not farm.catalog.listed:
        raise UserError(
            f"{farm.workdir.path}: a change of its tasklist was not taken over to the end: --accept-changes does it"
        )
    _check_appended(farm)
    return _Checked(recorded, seen, has_done_tasks)


def _check_appended(farm: Farm) -> None:
    """Check the lines that were appended to the tasklist before against what it has there now."""
    catalog = farm.catalog
    for number, text in enumerate(catalog.appended, catalog.begun):
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


def _examine(farm: Farm, path: Path, data: bytes | None, changes: list[str] | None) -> Iterator[int]:
    """Yield the IDs in one list after checking each line; a torn last line is left out.

    If `changes` is a list, the texts are compared, and it gets those that differ. Otherwise the tasklist is known to be that
    of the work directory, and so a task that is to be run and has another text was edited in its list.
    """
    catalog = farm.catalog
    is_stack = path in (farm.workdir.toprocess, farm.workdir.added)
    split = split_removed if path == farm.workdir.removed else split_line
    for number, line in enumerate(io.BytesIO(data or b""), 1):
        if not line.endswith(b"\n"):
            return
        task_id, text = split(line[:-1])
        if task_id is None:
            shown = line[:-1][:60].decode("utf-8", "replace")
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


def _make_order(farm: Farm, stored: Stored | None) -> list[tuple[int, float]]:
    """Return the tasks of a new work directory in their order, with what they last; nothing where that is as usual."""
    if stored is not None or (farm.rules.order == "given" and not farm.rules.durations):
        return []
    from taskfarmer_mpi.ordering.arrangement import make_order

    return make_order(farm.rules, farm.handler, farm.catalog.listed, farm.catalog.lines.directives)


def _keep_order(farm: Farm, order: list[tuple[int, float]]) -> None:
    if not order:
        return
    from taskfarmer_mpi.ordering.order_file import encode_order

    replace_file(farm.workdir.order, encode_order(order), farm.lock.confirm)


def _write_to_do(fd: int, farm: Farm, recorded: bytearray, order: Sequence[int]) -> None:
    """Write a new `toprocess`: every task without an outcome that is in nobody's hands, the first one at the end."""
    catalog = farm.catalog
    held = held_tasks(farm.workdir.farmers)
    missing = (i for i in reversed(order or range(catalog.listed)) if not recorded[i] and i not in held)
    while block := list(islice(missing, 10_000)):
        write_all(fd, b"".join(b"%d %s\n" % (task_id, catalog.raw(task_id)) for task_id in block))


def _drop_all_done(farm: Farm, lists: _Lists, checked: _Checked) -> None:
    """Take tasks off both stacks as `_drop_done` does, if there are any."""
    if checked.has_done_tasks:
        _drop_done(farm, farm.workdir.toprocess, lists.toprocess, checked.recorded)
        _drop_done(farm, farm.workdir.added, lists.added, checked.recorded)


def _drop_done(farm: Farm, path: Path, to_do: bytes | None, recorded: bytearray) -> None:
    """Take tasks off a stack that are recorded already, and those that it has twice, unless it changed meanwhile."""
    if to_do is None or to_do != read_file(path):
        return
    kept: dict[int, bytes] = {}
    lines = to_do.split(b"\n")[:-1]
    for line in lines:
        task_id = int(line.partition(b" ")[0])
        if not recorded[task_id]:
            kept[task_id] = line
    if len(kept) < len(lines):
        log.info("%s: %d tasks were there twice or done already", path, len(lines) - len(kept))
        ordered = sorted(kept, reverse=True) if farm.rules.order == "given" else kept
        replace_file(path, b"".join(kept[task_id] + b"\n" for task_id in ordered), farm.lock.confirm)
