"""The start of a farmer: check the work directory against the tasklist, and make what is missing.

All checks come before the first change. Files are read under the lock and examined without it.
"""

from __future__ import annotations

import configparser
import io
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.farm import Farm
from taskfarmer_mpi.journal import JournalReader, open_journals
from taskfarmer_mpi.lists import append_tasks, split_line
from taskfarmer_mpi.task import Task
from taskfarmer_mpi.workdir import Workdir, read_file, replace_file, temporary_file, write_all

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """The configuration of a run, as `farm.ini` in its work directory holds it."""

    tasklist: str
    """Absolute path of the tasklist."""
    handler: str
    runner: str
    tasks: int = 0
    """How many tasks have been put on the lists so far."""
    listed: int = 0
    """How many tasks plain farmers know of."""
    digest: str = ""
    """SHA-256 of the lines of those `tasks`."""


def encode_config(stored: Stored) -> bytes:
    """Encode the content of `farm.ini`."""
    config = configparser.ConfigParser(interpolation=None)
    config["tasklist"] = {
        "path": stored.tasklist,
        "handler": stored.handler,
        "tasks": str(stored.tasks),
        "listed": str(stored.listed),
        "sha256": stored.digest,
    }
    config["runner"] = {"name": stored.runner}
    text = io.StringIO()
    config.write(text)
    return text.getvalue().encode("utf-8", "surrogateescape")


def parse_config(data: bytes, path: Path) -> Stored:
    """Decode the content of `farm.ini`.

    Raises
    ------
    UserError
        If it is damaged.
    """
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read_string(data.decode("utf-8", "surrogateescape"))
        tasklist = config["tasklist"]
        return Stored(
            tasklist=tasklist["path"],
            handler=tasklist["handler"],
            runner=config["runner"]["name"],
            tasks=int(tasklist["tasks"]),
            listed=int(tasklist["listed"]),
            digest=tasklist["sha256"],
        )
    except (configparser.Error, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not the configuration of a work directory: {reason}") from error


def read_config(workdir: Workdir) -> Stored | None:
    """Return the stored configuration of a work directory, or None if it has none.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    try:
        data = read_file(workdir.config)
    except NotADirectoryError as error:
        raise UserError(f"{workdir.path}: not a directory") from error
    except OSError as error:
        raise UserError(f"{workdir.config}: cannot read: {error.strerror}") from error
    return None if data is None else parse_config(data, workdir.config)


def prepare(farm: Farm, wanted: Stored, patience: float) -> Farm:
    """Check the work directory and bring it to where a farmer can take tasks.

    Parameters
    ----------
    farm
        The farm, its `listed` not known yet.
    wanted
        The configuration of this run.
    patience
        How long to wait for the lock [s].

    Returns
    -------
    The farm, with what plain farmers know of.

    Raises
    ------
    UserError
        If the tasklist does not match the work directory, or a list is damaged; nothing was changed.
    """
    while True:
        with farm.lock.held(patience):
            lists = _Lists.read(farm.workdir)
        stored = None if lists.config is None else parse_config(lists.config, farm.workdir.config)
        checked = _check(farm, stored, lists)
        count = len(farm.tasklist)
        listed = count if stored is None else stored.listed
        config = replace(stored or wanted, tasks=count, listed=listed, digest=farm.tasklist.tasks.digest(count))
        farm = replace(farm, listed=listed)
        with temporary_file(farm.workdir.toprocess) as (fd, temporary):
            if lists.toprocess is None:
                _write_to_do(fd, farm, checked.recorded)
                os.fsync(fd)
            with farm.lock.held(patience):
                if read_file(farm.workdir.config) != lists.config:
                    continue  # another farmer was quicker: look at what it made
                if lists.toprocess is None and not farm.workdir.toprocess.exists():
                    temporary.replace(farm.workdir.toprocess)
                elif checked.has_done_tasks and lists.toprocess == read_file(farm.workdir.toprocess):
                    _drop_done(farm.workdir, lists.toprocess or b"", checked.recorded)
                if stored is not None and stored.tasks < count:
                    _add_new(farm, stored.tasks, checked.seen)
                if encode_config(config) != lists.config:
                    replace_file(farm.workdir.config, encode_config(config))
                return farm


@dataclass(frozen=True, slots=True)
class _Lists:
    """The files of a work directory at one moment."""

    config: bytes | None
    toprocess: bytes | None
    added: bytes | None
    finished: bytes | None
    failed: bytes | None

    @classmethod
    def read(cls, workdir: Workdir) -> _Lists:
        paths = (workdir.config, workdir.toprocess, workdir.added, workdir.finished, workdir.failed)
        return cls(*map(read_file, paths))


@dataclass(frozen=True, slots=True)
class _Checked:
    recorded: bytearray
    """A flag for each task whose outcome is recorded."""
    seen: bytearray
    """A flag for each task that is on any list."""
    has_done_tasks: bool
    """Whether `toprocess` has tasks that are recorded already, or twice: PyTaskFarmer puts some back when it stops."""


def _check(farm: Farm, stored: Stored | None, lists: _Lists) -> _Checked:
    """Check all lists against the tasklist."""
    lines = farm.tasklist.tasks
    count = len(lines)
    workdir = farm.workdir
    is_same = stored is not None and stored.tasks <= count and stored.digest == lines.digest(stored.tasks)
    recorded = bytearray(count)
    for path, data in ((workdir.finished, lists.finished), (workdir.failed, lists.failed)):
        for task_id in _examine(farm, path, data, is_same=is_same):
            recorded[task_id] = 1
    seen = bytearray(recorded)
    has_done_tasks = False
    for path, data in ((workdir.toprocess, lists.toprocess), (workdir.added, lists.added)):
        for task_id in _examine(farm, path, data, is_same=is_same):
            has_done_tasks |= bool(seen[task_id])
            seen[task_id] = 1
    if stored is not None and not is_same:
        if stored.tasks > count:
            raise UserError(
                f"{farm.tasklist.path}: task {count} is gone: the list has {count} tasks, but {stored.tasks} when"
                f" {workdir.path} was made; only lines appended at the end are allowed"
            )
        raise UserError(
            f"{farm.tasklist.path}: the first {stored.tasks} tasks are not those for which {workdir.path} was made;"
            " only lines appended at the end are allowed"
        )
    return _Checked(recorded, seen, has_done_tasks)


def _examine(farm: Farm, path: Path, data: bytes | None, *, is_same: bool) -> Iterator[int]:
    """Yield the IDs in one list after checking each line; a torn last line is left out."""
    lines = farm.tasklist.tasks
    for number, line in enumerate(io.BytesIO(data or b""), 1):
        if not line.endswith(b"\n"):
            return
        task_id, text = split_line(line[:-1])
        if task_id is None:
            shown = line[:-1][:60].decode("utf-8", "replace")
            raise UserError(f"{path}:{number}: {shown!r} is not a task; a line is `ID task`, with a number for the ID")
        if task_id >= len(lines):
            raise UserError(
                f"{path}:{number}: task {task_id} is not in {farm.tasklist.path}, which has {len(lines)} tasks, from 0 on"
            )
        if not is_same and text != lines.raw(task_id):
            raise UserError(
                f"{farm.tasklist.path}: task {task_id} is {_shorten(lines.raw(task_id))}, but {path}:{number} has"
                f" {_shorten(text)}: the tasklist no longer matches the work directory"
            )
        yield task_id


def _shorten(line: bytes) -> str:
    shown = line.decode("utf-8", "replace")
    return repr(shown if len(shown) <= 60 else shown[:59] + "…")


def _write_to_do(fd: int, farm: Farm, recorded: bytearray) -> None:
    """Write a new `toprocess`: every task without an outcome that is in nobody's hands."""
    lines = farm.tasklist.tasks
    held = _held(farm.workdir)
    missing = (task_id for task_id in range(farm.listed - 1, -1, -1) if not recorded[task_id] and task_id not in held)
    while block := list(islice(missing, 10_000)):
        write_all(fd, b"".join(b"%d %s\n" % (task_id, lines.raw(task_id)) for task_id in block))


def _add_new(farm: Farm, known: int, seen: bytearray) -> None:
    """Put the tasks that were appended to the tasklist on their stack, unless a start that was killed did so already."""
    lines = farm.tasklist.tasks
    new = [Task(task_id, lines[task_id]) for task_id in range(len(lines) - 1, known - 1, -1) if not seen[task_id]]
    append_tasks(farm.workdir.added, new)
    log.info("%d tasks were appended to %s", len(new), farm.tasklist.path)


def _drop_done(workdir: Workdir, to_do: bytes, recorded: bytearray) -> None:
    """Take tasks off `toprocess` that are recorded already, and those that it has twice."""
    kept: dict[int, bytes] = {}
    lines = to_do.split(b"\n")[:-1]
    for line in lines:
        task_id = int(line.partition(b" ")[0])
        if not recorded[task_id]:
            kept[task_id] = line
    log.info("%s: %d tasks were there twice or done already", workdir.toprocess, len(lines) - len(kept))
    replace_file(workdir.toprocess, b"".join(kept[task_id] + b"\n" for task_id in sorted(kept, reverse=True)))


def _held(workdir: Workdir) -> set[int]:
    """Return the tasks in the hands of farmers, by their journals."""
    held: set[int] = set()
    for path in open_journals(workdir.farmers):
        reader = JournalReader(path)
        reader.advance()
        if reader.state is not None:
            held |= reader.state.held | reader.state.ended.keys()
    return held
