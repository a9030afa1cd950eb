"""A tasklist that was edited since the work directory was made: what is different, and how it is taken over.

Tasks keep their IDs and their texts for ever, so after an edit the lines of the tasklist are no more tasks by their places.
Then all tasks are in `tasks.added`, as those that came later always were: `kept` says that a task is a line of the
tasklist, `gone` that its line is there no more, and the work directory has no tasks that plain farmers may know (`listed` is
0). The file is replaced at once; all that follows can be done again:

1. `tasks.added` has all tasks, also those of new lines.
2. Tasks whose lines are gone leave the list, unless a farmer has them.
3. All tasks of `toprocess` go to `toprocess.added`, where no plain farmer looks.
4. `farm.ini` says so, and which lines the tasklist has now. Until then a start is refused that does not accept changes.
5. A task that is on no list and in no journal is put on the list, as at any start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import combinations, islice

from taskfarmer_mpi.changes.line_edit import Edit, compare_lines
from taskfarmer_mpi.changes.removal import choose, remove_tasks
from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.values import Value, replace
from taskfarmer_mpi.common.wording import list_ids
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.tasklists.lines import Handler, Lines
from taskfarmer_mpi.workdir.catalog import Added, Catalog, Origin, encode_one, parse_added
from taskfarmer_mpi.workdir.configuration import Stored, encode_config, read_config
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import Workdir, read_file, replace_file
from taskfarmer_mpi.workdir.journal import Journal
from taskfarmer_mpi.workdir.journal_reading import held_tasks
from taskfarmer_mpi.workdir.lists import give_back_tasks, is_plain_farmer_about, parse_task, split_line, split_removed

log = Log(__name__)

GUESSES = 100
"""How many ways are tried to find the lines of tasks that farmers have."""
Hands = Callable[[], AbstractContextManager[Journal]]
"""Has a journal for a moment, as a farmer does."""


class Known(Value):
    """All tasks of a work directory, as its files have them."""

    tasks: list[Added]
    """By ID: origin and text."""
    is_whole: bool
    """Whether they are all in `tasks.added` already."""

    @property
    def lines(self) -> list[tuple[int, bytes]]:
        """Those that are lines of the tasklist, as far as is known, with their IDs."""
        return [(i, text) for i, (origin, text) in enumerate(self.tasks) if origin in (Origin.LINE, Origin.KEPT)]


def compare_list(workdir: Workdir, stored: Stored, handler: Handler) -> Edit:
    """Return how a tasklist was edited.

    Parameters
    ----------
    workdir, stored
        The work directory, and its configuration.
    handler
        That of the tasklist as it is now.

    Raises
    ------
    UserError
        If that cannot be told, or the handler makes something else of the lines than tasks.
    """
    lines = _lines_of(workdir, handler)
    return compare_lines(_read_known(workdir, stored, lines).lines, _raw(lines))


def _lines_of(workdir: Workdir, handler: Handler) -> Lines:
    lines = handler.tasks.lines if isinstance(handler.tasks, Catalog) else handler.tasks
    if not handler.takes_lines or lines.is_computed:
        raise UserError(
            f"{workdir.path}: its tasklist handler makes the tasks itself, so changes of the tasklist cannot be taken over:"
            " put it back as it was, or begin anew with another --workdir"
        )
    return lines


def is_as_accepted(catalog: Catalog, stored: Stored) -> bool:
    """Whether a tasklist is the one for which a work directory was made, or whose changes were accepted last."""
    lines, begun = catalog.lines, stored.begun
    now, appended = lines.raws(begun, begun + len(catalog.appended)), list(map(catalog.raw, catalog.appended))
    return lines.begins_with(begun, stored.digest) and now == appended and not is_cut_short(catalog, stored)


def is_cut_short(catalog: Catalog, stored: Stored) -> bool:
    """Whether changes were accepted, but not to the end; the catalog has been advanced."""
    return bool(stored.listed) and not catalog.listed


def accept_changes(farm: Farm, hands: Hands, patience: float) -> None:
    """Take over what was edited in a tasklist; nothing is done if nothing was, or the work directory is new.

    Parameters
    ----------
    farm
        The farm, with its tasklist as it is now; its lock is not held.
    hands
        Has a journal for a moment.
    patience
        How long to wait for the lock, each time [s].

    Raises
    ------
    UserError
        If that cannot be done; nothing was changed.
    """
    workdir, lock, handler = farm.workdir, farm.lock, farm.handler
    with lock.held(patience):
        stored = read_config(workdir)
        if stored is None:
            return
        farm = Farm.of(workdir, lock, handler, stored.listed, farm.rules, stored.accepted)
        farm.catalog.advance()
        if is_as_accepted(farm.catalog, stored):
            return
        lines = _lines_of(workdir, handler)
        known = _read_known(workdir, stored, lines)
        edit = compare_lines(known.lines, _raw(lines))
        _refuse_plain(farm, known)
        if not (known.is_whole and edit.is_empty):
            replace_file(workdir.tasks_added, _encode(known, edit, _raw(lines)), lock.confirm)
        farm.catalog.advance()
    log.warning("%s: %s", handler.path, edit.describe())
    with hands() as journal:
        gone = {i for i, (origin, _) in enumerate(_read_added(workdir)) if origin is Origin.GONE}
        removed = remove_tasks(workdir, lock, journal, choose(gone, ""), Cause.REMOVED, patience) if gone else []
        with lock.held(patience):
            _hide_from_plain(farm, journal)
            changed = replace(stored, listed=0, accepted=len(lines), digest=lines.digest(len(lines)))
            replace_file(workdir.config, encode_config(changed), lock.confirm)
    if removed:
        log.warning("removed from the list: %s", list_ids(removed))


def _raw(lines: Lines) -> list[bytes]:
    return lines.raws(0, len(lines))


def _encode(known: Known, edit: Edit, now: Sequence[bytes]) -> bytes:
    """Encode `tasks.added` as it is after an edit."""
    here = set(edit.ids)
    old = [
        (origin if origin in (Origin.USER, Origin.GONE, Origin.THEN) else Origin.KEPT if i in here else Origin.GONE, text)
        for i, (origin, text) in enumerate(known.tasks)
    ]
    new = [(Origin.KEPT, text) for task, text in zip(edit.ids, now, strict=True) if task is None]
    return b"".join(encode_one(task, origin, text) for task, (origin, text) in enumerate([*old, *new]))


def _read_added(workdir: Workdir) -> list[Added]:
    lines = (read_file(workdir.tasks_added) or b"").split(b"\n")[:-1]
    return [parsed[1:] for parsed in map(parse_added, lines) if parsed is not None]


def _read_known(workdir: Workdir, stored: Stored, lines: Lines) -> Known:
    added = _read_added(workdir)
    if not stored.listed or (read_file(workdir.tasks_added, 0, 2) or b"") == b"0 ":
        return Known(added, is_whole=True)
    first = _recover_texts(workdir, stored, lines)
    return Known([*((Origin.LINE, text) for text in first), *added], is_whole=False)


def _recover_texts(workdir: Workdir, stored: Stored, lines: Lines) -> list[bytes]:
    """Return the lines that a tasklist had at first: from the lists, and for tasks in hand from the tasklist as it is now.

    All of them are those by whose digest the work directory knows them, or it is refused.
    """
    texts: dict[int, bytes] = {}
    for path in (workdir.toprocess, workdir.finished, workdir.failed, workdir.removed):
        split = split_removed if path == workdir.removed else split_line
        for line in (read_file(path) or b"").split(b"\n")[:-1]:
            task, text = split(line)
            if task is not None and task < stored.listed:
                texts[task] = text
    missing = [task for task in range(stored.listed) if task not in texts]
    _refuse_nobodys(workdir, missing)
    for guess in islice(_guess_texts(texts, missing, _raw(lines)), GUESSES):
        found = [guess.get(task, b"") for task in range(stored.listed)]
        if _Texts(found, lines.header).digest(stored.listed) == stored.digest:
            return found
    reason = "its header is another one, or a list was damaged: begin anew with another --workdir"
    if missing:
        reason = f"the lines of tasks that farmers have ({list_ids(missing)}) were changed, too: wait until those have ended"
    raise UserError(f"{workdir.path}: what its tasklist was cannot be told: {reason}")


def _refuse_nobodys(workdir: Workdir, tasks: Sequence[int]) -> None:
    nobodys = set(tasks) - held_tasks(workdir.farmers) if tasks else set()
    if nobodys:
        raise UserError(
            f"{workdir.path}: tasks are in nobody's hands ({list_ids(sorted(nobodys))}), perhaps a PyTaskFarmer's, which"
            " would run other commands after a change of the tasklist: wait for it, or taskfarmer-ctl reclaim"
        )


def _refuse_plain(farm: Farm, known: Known) -> None:
    if not known.is_whole and is_plain_farmer_about(farm):
        raise UserError(
            f"{farm.workdir.path}: a PyTaskFarmer works here, or did so last: it would run other commands after a change of"
            " the tasklist: put that back as it was, or begin anew with another --workdir"
        )


def _guess_texts(texts: dict[int, bytes], missing: Sequence[int], now: Sequence[bytes]) -> Iterator[dict[int, bytes]]:
    """Yield texts with those of tasks that are on no list: lines beside those of their neighbours, then any that are new."""
    before = compare_lines(sorted(texts.items()), now)
    index_of = {task: index for index, task in enumerate(before.ids) if task is not None}
    new = [index for index, task in enumerate(before.ids) if task is None]
    free, guess = set(new), dict(texts)
    for tasks, step in ((missing, 1), (missing[::-1], -1)):
        for task in tasks:
            index = index_of[task - step] + step if task - step in index_of else 0 if task == 0 else -1
            if task not in guess and index in free:
                guess[task] = now[index]
                index_of[task] = index
                free.discard(index)
    yield guess
    for chosen in combinations(new, len(missing)) if missing else ():
        yield texts | {task: now[index] for task, index in zip(missing, chosen, strict=True)}


class _Texts(Lines):
    """Texts with a header."""

    def __init__(self, texts: Sequence[bytes], header: str) -> None:
        self._texts, self.header = texts, header

    def __len__(self) -> int:
        return len(self._texts)

    def text(self, index: int) -> str:
        return self._texts[index].decode("utf-8", "surrogateescape")


def _hide_from_plain(farm: Farm, journal: Journal) -> None:
    """Put all tasks where no plain farmer looks; the lock is held."""
    farm.catalog.advance()
    path = farm.workdir.toprocess
    tasks = [task for task in map(parse_task, (read_file(path) or b"").split(b"\n")[:-1]) if task is not None]
    if not tasks:
        return
    ids = sorted(task.id for task in tasks)
    journal.note("taken", ids=ids)
    journal.sync()
    replace_file(path, b"", farm.lock.confirm)
    journal.note("giving", ids=ids)
    journal.sync()
    give_back_tasks(farm, tasks)
    journal.note("given", ids=ids)
    journal.sync()
