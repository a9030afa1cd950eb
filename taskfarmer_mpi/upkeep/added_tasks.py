"""How tasks come to a work directory after it was made: lines appended to its tasklist, and those that a user adds.

Such tasks are never in the hands of plain farmers. So one that is on no list and in no journal was forgotten by an addition
that was cut short, and can be put on its stack without asking anybody.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.errors import LockBusyError, UserError
from taskfarmer_mpi.tasklists.lines import Lines
from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.workdir.catalog import Origin, encode_added
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import open_file, read_file
from taskfarmer_mpi.workdir.journal_reading import OpenJournals
from taskfarmer_mpi.workdir.lists import Recorded, append_lines, give_back_tasks, ids_in, sync_file

log = Log(__name__)

SETTLE_TIME = 1.0
"""How long a tasklist must stay as it is before its new lines are read [s]: somebody may be writing it."""
BATCH = 20_000
"""How many tasks are added while the lock is held once: PyTaskFarmer waits for it for 10 s only."""
LOCK_PATIENCE = 1.0
"""How long to wait for the lock before trying again later [s]."""


def add_tasks(
    farm: Farm, texts: Sequence[bytes], origin: Origin, directives: Sequence[tuple[int, str]] = (), start: int = 0
) -> range:
    """Add tasks to the work directory, whose lock is held; return their IDs.

    Parameters
    ----------
    farm
        The farm.
    texts
        Their texts.
    origin
        Where they are from.
    directives, start
        What tasks of the list have that they are from, and the index of the first text in it.
    """
    farm.catalog.advance()
    first = len(farm.catalog)
    if texts:
        if directives or farm.workdir.settings.exists():
            from taskfarmer_mpi.directives.update import append_settings

            append_settings(farm, first, directives, start, start + len(texts))
        append_lines(farm.workdir.tasks_added, encode_added(first, texts, origin), farm.lock.confirm)
        farm.catalog.advance()
        put_on_list(farm, range(first, len(farm.catalog)), has_place=origin is not Origin.THEN)
    return range(first, len(farm.catalog))


def put_on_list(farm: Farm, added: range, *, has_place: bool = True) -> None:
    """Put tasks on the list that the catalog has by now, in their place where tasks have an order of their own."""
    tasks = [Task(task_id, farm.catalog[task_id]) for task_id in added]
    if farm.rules.order == "given" or not has_place:
        give_back_tasks(farm, tasks)
        return
    from taskfarmer_mpi.ordering.insertion import insert_tasks, sort_added

    insert_tasks(farm, added)
    give_back_tasks(farm, tasks)
    sort_added(farm)


def add_appended(farm: Farm, lines: Lines) -> range:
    """Add the tasks that a tasklist has now and had not before, `BATCH` at most; the lock is held. Return their IDs."""
    farm.catalog.advance()
    known = farm.catalog.begun + len(farm.catalog.appended)
    texts = lines.raws(known, known + BATCH)
    added = add_tasks(farm, texts, Origin.LINE, lines.directives, known)
    if added:
        log.info("%d tasks were appended to %s", len(added), farm.handler.path)
    return added


def add_all_appended(farm: Farm, lines: Lines, patience: float) -> int:
    """Add the tasks that a tasklist has now and had not before, the lock not held; return how many.

    Parameters
    ----------
    farm
        The farm.
    lines
        The tasklist, which begins with the tasks of the farm that are from it.
    patience
        How long to wait for the lock, each time [s].

    Raises
    ------
    LockBusyError
        If others hold it all that time; some tasks may have been added.
    """
    count = 0
    while len(lines) > farm.catalog.begun + len(farm.catalog.appended):
        with farm.lock.held(patience):
            added = add_appended(farm, lines)
        count += len(added)
        if len(added) < BATCH:
            break
    return count


class ForgottenTasks:
    """Tasks that an addition which was cut short may have left on no list."""

    def __init__(self, farm: Farm, seen: bytearray) -> None:
        """Look for them, without the lock.

        Parameters
        ----------
        farm
            The farm.
        seen
            A flag for each task that was on a list a moment ago.
        """
        self._farm = farm
        self._ids = [task_id for task_id in range(farm.catalog.listed, len(seen)) if not seen[task_id]]
        self._journals = OpenJournals(farm.workdir.farmers)
        self._recorded = Recorded(farm)
        self._advance()

    def __bool__(self) -> bool:
        """Whether there may be any."""
        return bool(self._ids)

    def _advance(self) -> None:
        if self._ids:
            self._journals.advance()
            self._recorded.advance()

    def give_back(self) -> None:
        """Put those on their stack that are nowhere; the lock is held."""
        self._advance()  # what came meanwhile
        known = self._journals.held().union(ids_in(read_file(self._farm.workdir.added) or b"") if self._ids else ())
        forgotten = [i for i in self._ids if i not in known and not self._recorded.flags[i]]
        if forgotten:
            log.info("%d tasks had been added, but were on no list", len(forgotten))
            sync_file(self._farm.workdir.tasks_added)
            give_back_tasks(self._farm, [Task(task_id, self._farm.catalog[task_id]) for task_id in forgotten])


class TasklistWatch:
    """Notices lines that are appended to the tasklist while farmers are at work."""

    def __init__(
        self,
        farm: Farm,
        digest: str,
        reread: Callable[[], Lines],
        *,
        state: tuple[int, ...],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to watch.

        Parameters
        ----------
        farm
            Whose tasklist.
        digest
            The digest of the tasks that it had at first.
        reread
            Reads the tasklist anew.
        state
            The `file_state` that it had before it was read.
        clock
            A clock that only goes forward [s].
        """
        self._farm = farm
        self._path = Path(farm.handler.path)
        self._digest = digest
        self._reread = reread
        self._read = self._pending = state
        self._pending_since = 0.0
        self._clock = clock

    @property
    def is_quiet(self) -> bool:
        """Whether the tasklist is as it was when it was read."""
        return file_state(self._path) == self._read

    def look(self) -> bool:
        """Add the tasks of new lines if there are any and they are whole; return whether there were.

        Raises
        ------
        FarmError
            If they cannot be added.
        """
        state = file_state(self._path)
        if not state:
            self._read = state  # it is gone: nothing can come any more
        if state == self._read:
            return False
        if state != self._pending:
            self._pending, self._pending_since = state, self._clock()
        if self._clock() - self._pending_since < SETTLE_TIME:
            return False
        try:
            is_added = self._add()
        except LockBusyError:
            return False
        except (UserError, OSError) as error:
            reason = f"{self._path}: cannot read: {error.strerror}" if isinstance(error, OSError) else error
            log.warning("%s; the farm goes on with the tasks that it has", reason)
            is_added = False
        self._read = state
        return is_added

    def _add(self) -> bool:
        if not _ends_with_newline(self._path):
            log.warning("%s: its last line has no end yet; the farm goes on with the tasks that it has", self._path)
            return False
        lines = self._reread()
        catalog = self._farm.catalog
        first = catalog.begun
        is_same = lines.begins_with(first, self._digest)
        with self._farm.lock.held(LOCK_PATIENCE):
            catalog.advance()
        appended = catalog.appended[: len(lines) - first] if is_same else ()
        if not is_same or any(lines.raw(number) != catalog.raw(task) for number, task in enumerate(appended, first)):
            raise UserError(f"{self._path}: changed otherwise than by lines appended at its end")
        return add_all_appended(self._farm, lines, LOCK_PATIENCE) > 0


def file_state(path: Path) -> tuple[int, ...]:
    """Return what changes whenever a file does; nothing for one that is not there, or cannot be looked at now."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # on NFS a file that is opened is looked at anew
    except OSError:
        return ()
    try:
        status = os.fstat(fd)
    except OSError:
        return ()
    finally:
        os.close(fd)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _ends_with_newline(path: Path) -> bool:
    fd = open_file(path.resolve(), os.O_RDONLY)
    with open(fd, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read(1) in (b"\n", b"")


def check_texts(farm: Farm, texts: Sequence[bytes]) -> None:
    """Check that texts can be tasks of this farm; nothing is changed.

    Raises
    ------
    UserError
        If one of them cannot.
    """
    if not farm.handler.takes_lines:
        raise UserError(f"{farm.workdir.path}: its tasklist handler makes the tasks itself, and takes no others")
    for text in texts:
        if not text or b"\n" in text or b"\0" in text:
            raise UserError(f"{text[:60].decode('utf-8', 'replace')!r} is no task; a task is one line of text")
    known = len(farm.catalog)
    farm.handler.tasks = _Longer(farm.catalog, texts)
    try:
        for number, text in enumerate(texts):
            _ = farm.handler[known + number], text
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{text.decode('utf-8', 'replace')!r} is no task: {type(error).__name__}: {error}") from error
    finally:
        farm.handler.tasks = farm.catalog


class _Longer(Lines):
    """The tasks of a farm and some more."""

    def __init__(self, lines: Lines, more: Sequence[bytes]) -> None:
        self._lines = lines
        self._more = more

    def __len__(self) -> int:
        return len(self._lines) + len(self._more)

    def text(self, index: int) -> str:
        known = len(self._lines)
        return self._lines.text(index) if index < known else self._more[index - known].decode("utf-8", "surrogateescape")
