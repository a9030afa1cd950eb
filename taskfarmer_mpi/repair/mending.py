"""Mends journals and lists that were damaged: first the journals, then the lists from what these say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from taskfarmer_mpi.errors import FarmError, UserError
from taskfarmer_mpi.history.last_places import read_last_places
from taskfarmer_mpi.history.plain_signs import has_plain_signs
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.repair.damage import Damage
from taskfarmer_mpi.repair.journals import DamagedJournal, examine_journal
from taskfarmer_mpi.upkeep.lock_choice import living_farmers
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import Workdir, open_file, read_file, reading, replace_file, share, write_all
from taskfarmer_mpi.workdir.journal_reading import all_journals, open_journal
from taskfarmer_mpi.workdir.journal_records import OPEN_SUFFIX


def find_damaged_journals(farm: Farm, patience: float) -> list[DamagedJournal]:
    """Look whether all journals can be read; nothing is changed.

    Raises
    ------
    UserError
        If farmers are at work, or processes of tasks of which a damaged journal has to tell.
    LockBusyError
        If others held the lock for longer than `patience` [s].
    """
    with farm.lock.held(patience):
        return _look_at_journals(farm)


def mend_journals(farm: Farm, damaged: list[DamagedJournal], patience: float) -> list[Path]:
    """Write journals as they should be; return where the damaged ones are kept.

    Errors are those of `find_damaged_journals`, and a `FarmError` if one changed since, or cannot be written.
    """
    kept = []
    with farm.lock.held(patience):
        if _look_at_journals(farm) != damaged:
            raise FarmError(f"{farm.workdir.farmers}: the journals have changed meanwhile: try again")
        for journal in damaged:
            kept.append(_keep(journal.path, journal.before))
            replace_file(journal.path, journal.after, farm.lock.confirm)
    return kept


def _look_at_journals(farm: Farm) -> list[DamagedJournal]:
    workdir = farm.workdir
    _refuse_living(workdir)
    found = []
    for path in all_journals(workdir.farmers):
        with reading(path), open_journal(path) as file:
            journal = examine_journal(path, file.read(), farm.lock)
        if journal is not None:
            _refuse_running(workdir, journal)
            found.append(journal)
    return found


def _refuse_living(workdir: Workdir) -> None:
    farmer = next(living_farmers(workdir), None)
    if farmer is not None:
        raise UserError(f"{workdir.path}: a farmer is at work ({farmer.farmer}): stop it first: taskfarmer-ctl stop")


def _refuse_running(workdir: Workdir, journal: DamagedJournal) -> None:
    """Refuse to mend the journal of a farmer that lives, or whose tasks do: what they do is noted nowhere else."""
    if journal.path.suffix != OPEN_SUFFIX:
        return
    who = journal.identity
    for lock, what in (
        (who.alive_lock, "a farmer is at work"),
        (who.task_lock, "processes of a dead farmer's tasks still run"),
    ):
        with suppress(FileNotFoundError):
            if LifeLock.is_taken(Path(lock)):
                raise UserError(f"{workdir.path}: {what} ({who.farmer}), and its journal is damaged: end it first")


def find_damage(farm: Farm, patience: float, mended: Mapping[Path, bytes] = MappingProxyType({})) -> Damage:
    """Compare the lists with the journals; nothing is changed.

    Parameters
    ----------
    farm
        The farm.
    patience
        How long to wait for the lock [s].
    mended
        What those journals should be that are damaged.

    Raises
    ------
    UserError
        If farmers are at work, or the journals do not say what the lists should be.
    LockBusyError
        If others held the lock all that time.
    """
    with farm.lock.held(patience):
        return _look(farm, mended)


def mend(farm: Farm, damage: Damage, patience: float) -> list[Path]:
    """Write the lists as they should be, all journals being sound; return where the damaged ones are kept.

    Errors are those of `find_damage`, and a `FarmError` if a list changed since, or cannot be written.
    """
    kept = []
    with farm.lock.held(patience):
        now = _look(farm, {})
        if now.lists != damage.lists or now.faults != damage.faults:
            raise FarmError(f"{farm.workdir.path}: the lists have changed meanwhile: try again")
        for path, content in damage.lists.items():
            before = read_file(path)
            if content is not None and content != before:
                if before is not None:
                    kept.append(_keep(path, before))
                replace_file(path, content, farm.lock.confirm)
    return kept


def _look(farm: Farm, mended: Mapping[Path, bytes]) -> Damage:
    workdir = farm.workdir
    _refuse_living(workdir)
    farm.catalog.advance()
    paths = (workdir.finished, workdir.failed, workdir.removed, workdir.toprocess, workdir.added)
    lists = {path: read_file(path) for path in paths}
    damage = Damage(workdir, farm.catalog, lists, read_last_places(workdir, mended))
    if damage.undecided:
        raise UserError(
            f"{workdir.path}: task {damage.undecided[0]} is in finished and failed, and no journal says which is right"
        )
    if damage.unheard and has_plain_signs(workdir, damage.unheard):
        raise UserError(
            f"{workdir.path}: task {damage.unheard[0]} is on no list, and a PyTaskFarmer may have had it:"
            " taskfarmer-ctl reclaim puts such tasks back on the list; then try again"
        )
    return damage


def _keep(path: Path, content: bytes) -> Path:
    """Write the content of a damaged file to a new one beside it."""
    number = 1
    while True:
        kept = path.with_name(f"{path.name}.damaged.{number}")
        try:
            fd = open_file(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            number += 1
            continue
        try:
            share(fd, path.parent)
            write_all(fd, content)
            os.fsync(fd)
        finally:
            os.close(fd)
        return kept
