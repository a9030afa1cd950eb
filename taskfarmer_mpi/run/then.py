"""The command of `--then`: the last task of a work directory, behind a barrier after which nothing else comes."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from taskfarmer_mpi.policies.settings import THEN
from taskfarmer_mpi.upkeep.added_tasks import add_tasks
from taskfarmer_mpi.upkeep.census import Census
from taskfarmer_mpi.workdir.catalog import Origin
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import read_file
from taskfarmer_mpi.workdir.lists import ids_in


def add_then(farm: Farm, patience: float) -> None:
    """Add it, unless it is there.

    Parameters
    ----------
    farm
        The farm.
    patience
        How long to wait for the lock [s].

    Raises
    ------
    LockBusyError
        If others hold it all that time.
    """
    with farm.lock.held(patience):
        farm.catalog.advance()
        if farm.catalog.then is None:
            add_tasks(farm, [farm.rules.then.encode("utf-8", "surrogateescape")], Origin.THEN, ((0, THEN),))


def say_then(farm: Farm, census: Census) -> Iterator[str]:
    """Say what came of it, if there is one."""
    task = farm.catalog.then
    if task is None:
        return
    if task in census.failed:
        how = f"failed; to run it again: taskfarmer-ctl retry {quote(str(farm.workdir.path))} {task}, then this command"
    elif task in ids_in(read_file(farm.workdir.finished) or b""):
        how = "finished"
    else:
        how = "not done, as it waits for the end of the list" if census.to_do else "not done"
    yield f"--then, task {task}: {how}"
