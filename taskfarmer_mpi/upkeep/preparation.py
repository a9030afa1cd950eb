"""The start of a farmer: check the work directory against the tasklist, and make what is missing.

All checks come before the first change. Files are read under the lock and examined without it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.packed import PackedBlocks
from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.tasklists.lines import PART
from taskfarmer_mpi.upkeep.added_tasks import ForgottenTasks, add_all_appended
from taskfarmer_mpi.upkeep.list_checks import Checked, Lists, check_lists
from taskfarmer_mpi.upkeep.lock_choice import living_farmers
from taskfarmer_mpi.workdir.configuration import Stored, encode_config, parse_config, read_config
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import Workdir, replace_file, temporary_file, write_all
from taskfarmer_mpi.workdir.growing_file import read_list
from taskfarmer_mpi.workdir.journal_reading import held_tasks
from taskfarmer_mpi.workdir.locks import WorkLock

log = Log(__name__)


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
        farm, stored, lists, checked = _look(farm, patience)
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
                if Lists.read_run(farm.workdir) != (lists.config, lists.tasks_added):
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


def _look(farm: Farm, patience: float) -> tuple[Farm, Stored | None, Lists, Checked]:
    """Read the work directory as it is at one moment, and check it."""
    with ExitStack() as opened:
        with farm.lock.held(patience):
            lists = Lists.read(farm.workdir, opened)
        stored = None if lists.config is None else parse_config(lists.config, farm.workdir.config)
        listed, accepted = (None, None) if stored is None else (stored.listed, stored.accepted)
        farm = Farm.of(farm.workdir, farm.lock, farm.handler, listed, farm.rules, accepted)
        return farm, stored, lists, check_lists(farm, stored, lists)


def _look_at_settings(farm: Farm) -> Callable[[], object]:
    """Return what brings the settings of tasks up to date under the lock, if any has some."""
    if not (farm.catalog.lines.directives or farm.workdir.settings.exists()):
        return bool
    from taskfarmer_mpi.directives.update import SettingsUpdate

    return SettingsUpdate(farm, lambda: next((who.farmer for who in living_farmers(farm.workdir)), None)).write


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
    held = held_tasks(farm.workdir.farmers)
    for tasks in _tasks_backwards(farm, order):
        lines = [b"%d %s\n" % (i, text) for i, text in tasks if not recorded[i] and i not in held]
        write_all(fd, b"".join(lines))


def _tasks_backwards(farm: Farm, order: Sequence[int]) -> Iterator[Iterable[tuple[int, bytes]]]:
    """Yield all tasks, the last one first, in parts."""
    catalog = farm.catalog
    if order:
        texts = catalog.raws(0, catalog.listed)
        yield ((task_id, texts[task_id]) for task_id in reversed(order))
        return
    for stop in range(catalog.listed, 0, -PART):
        first = max(0, stop - PART)
        yield zip(reversed(range(first, stop)), reversed(catalog.raws(first, stop)), strict=True)


def _drop_all_done(farm: Farm, lists: Lists, checked: Checked) -> None:
    """Take tasks off both stacks as `_drop_done` does, if there are any."""
    if checked.has_done_tasks:
        _drop_done(farm, farm.workdir.toprocess, lists.toprocess, checked.recorded)
        _drop_done(farm, farm.workdir.added, lists.added, checked.recorded)


def _drop_done(farm: Farm, path: Path, to_do: PackedBlocks | None, recorded: bytearray) -> None:
    """Take tasks off a stack that are recorded already, and those that it has twice, unless it changed meanwhile."""
    if to_do is None or to_do != read_list(path):
        return
    kept: dict[int, bytes] = {}
    count = 0
    for line in (line for block in to_do for line in block.split(b"\n")[:-1]):
        count += 1
        task_id = int(line.partition(b" ")[0])
        if not recorded[task_id]:
            kept[task_id] = line
    if len(kept) < count:
        log.info("%s: %d tasks were there twice or done already", path, count - len(kept))
        ordered = sorted(kept, reverse=True) if farm.rules.order == "given" else kept
        replace_file(path, b"".join(kept[task_id] + b"\n" for task_id in ordered), farm.lock.confirm)
