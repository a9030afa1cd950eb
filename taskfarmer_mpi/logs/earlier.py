"""Logs of earlier attempts at a task: they are kept when it is run again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import count
from pathlib import Path

from taskfarmer_mpi.logs.packs import encode_earlier
from taskfarmer_mpi.logs.reading import Logs
from taskfarmer_mpi.workdir.files import Workdir, make_folder
from taskfarmer_mpi.workdir.lists import append_lines


def keep_log(workdir: Workdir, task_id: int) -> Path | None:
    """Rename a task's log to ``log_<ID>.<N>``, with the first number that is free; return its path, None if it has none."""
    path = workdir.log(task_id)
    if not (path.is_symlink() or path.is_file()):
        return None
    make_folder(workdir.log_folder(task_id))
    kept = next(_free_names(workdir, task_id))
    path.rename(kept)
    return kept


def _free_names(workdir: Workdir, task_id: int) -> Iterator[Path]:
    packed = Logs(workdir, [task_id]).packed(task_id)
    for number in count(1):
        kept = workdir.log_folder(task_id) / f"log_{task_id}.{number}"
        if not kept.exists() and number not in packed:
            yield kept


def keep_packed(workdir: Workdir, tasks: Collection[int], confirm: Callable[[], None]) -> None:
    """Know what packs have of some tasks as logs of earlier attempts, since they are run again; with the lock held."""
    logs = Logs(workdir, tasks)
    last = [(task, packed.number) for task in tasks if (packed := logs.last_packed(task)) is not None]
    if last:
        append_lines(workdir.packs_earlier, encode_earlier(last), confirm)
