"""Mends lists that another program damaged, from what the journals say."""

from __future__ import annotations

import os
from pathlib import Path

from taskfarmer_mpi.errors import FarmError, UserError
from taskfarmer_mpi.history.last_places import read_last_places
from taskfarmer_mpi.history.plain_signs import has_plain_signs
from taskfarmer_mpi.repair.damage import Damage
from taskfarmer_mpi.upkeep.lock_choice import living_farmers
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import open_file, read_file, replace_file, share, write_all


def find_damage(farm: Farm, patience: float) -> Damage:
    """Compare the lists with the journals; nothing is changed.

    Raises
    ------
    UserError
        If farmers are at work, or the journals do not say what the lists should be.
    LockBusyError
        If others held the lock for longer than `patience` [s].
    """
    with farm.lock.held(patience):
        return _look(farm)


def mend(farm: Farm, damage: Damage, patience: float) -> list[Path]:
    """Write the lists as they should be; return where the damaged ones are kept.

    Errors are those of `find_damage`, and a `FarmError` if a list changed since, or cannot be written.
    """
    kept = []
    with farm.lock.held(patience):
        now = _look(farm)
        if now.lists != damage.lists or now.faults != damage.faults:
            raise FarmError(f"{farm.workdir.path}: the lists have changed meanwhile: try again")
        for path, content in damage.lists.items():
            before = read_file(path)
            if content is not None and content != before:
                if before is not None:
                    kept.append(_keep(path, before))
                replace_file(path, content, farm.lock.confirm)
    return kept


def _look(farm: Farm) -> Damage:
    workdir = farm.workdir
    farmer = next(living_farmers(workdir), None)
    if farmer is not None:
        raise UserError(f"{workdir.path}: a farmer is at work ({farmer.farmer}): stop it first: taskfarmer-ctl stop")
    farm.catalog.advance()
    paths = (workdir.finished, workdir.failed, workdir.removed, workdir.toprocess, workdir.added)
    lists = {path: read_file(path) for path in paths}
    said = read_last_places(workdir)
    damage = Damage(workdir, farm.catalog, lists, said)
    if said.trouble is not None and damage.faults:
        raise UserError(f"{said.trouble}: what the lists should be cannot be known")
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
    """Write the content of a damaged list to a new file beside it."""
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
