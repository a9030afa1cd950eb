"""Tasks of different sizes at the start of a farm: what farmers have for them, and whether that is ever enough."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.directives.book import SettingsBook
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.policies.resources import Resources
from taskfarmer_mpi.policies.settings import read_settings, sizes_in
from taskfarmer_mpi.resources.portions import Portion
from taskfarmer_mpi.resources.room import Room
from taskfarmer_mpi.tasklists.directives import Directive, cut_directives
from taskfarmer_mpi.upkeep.lock_choice import living_farmers
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import Workdir, read_file
from taskfarmer_mpi.workdir.lists import ids_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.tasklists.lines import Handler

log = Log(__name__)

Wanted = Iterable[tuple[int, str]]
"""Tasks, with what their `#TF` lines say."""


def words_of_sizes(handler: Handler | None, workdir: Workdir) -> set[str]:
    """Return which words about sizes the tasks of a tasklist and of a work directory have."""
    book = SettingsBook(workdir.settings)
    book.advance()
    listed = cut_directives(handler.tasks.directives, 0, len(handler.tasks)) if handler is not None else []
    texts = {text for _, _, text in (*listed, *book.parts)}
    return {word.partition("=")[0] for text in texts for word in sizes_in(text).split()}


def with_pools(wanted: Resources | None, words: Collection[str]) -> Resources | None:
    """Return what slots are to have, with what is given to tasks by their sizes instead."""
    if not words:
        return wanted
    wanted = wanted or Resources()
    pools_devices = "gpus" in words and wanted.devices is not None
    return replace(wanted, pools_memory="mem" in words, pools_devices=pools_devices)


def in_list(directives: Sequence[Directive], count: int, *, has_gpus: bool) -> Iterator[tuple[int, str]]:
    """Yield a task of each part of a list of so many that has something; GPUs count where it is known that there are any."""
    for first, _, text in cut_directives(directives, 0, count):
        yield first, text if has_gpus else " ".join(word for word in text.split() if not word.startswith("gpus="))


def in_workdir(farm: Farm) -> Iterator[tuple[int, str]]:
    """Yield the tasks on the lists of a work directory, with what they have."""
    book = SettingsBook(farm.workdir.settings)
    book.advance()
    for path in (farm.workdir.toprocess, farm.workdir.added):
        for task in ids_in(read_file(path) or b""):
            yield task, book.text_of(task)


def find_misfit(wanted: Wanted, rooms: Collection[Room]) -> str | None:
    """Return which task is too large for all farmers that have some room, in a sentence; None if there is none."""
    known: set[str] = set()
    for task, text in wanted:
        size = sizes_in(text)
        if size and size not in known:
            known.add(size)
            settings = read_settings(size)
            if not any(room.whole.fits(room.need_of(settings)) for room in rooms):
                largest = max(rooms, key=lambda room: room.whole.slots).whole
                return f"task {task} wants {size}, and a farmer here has {largest} for its tasks"
    return None


def rooms_of(portions: Mapping[int, Portion]) -> list[Room]:
    """Return what farmers have for their tasks."""
    return [Room(len(portion.seats), portion, {}) for portion in portions.values()]


def refuse_misfits(farm: Farm, portions: Mapping[int, Portion]) -> None:
    """Refuse to begin if a task on the list is too large for all farmers of this job, unless others are at work.

    Raises
    ------
    UserError
        If one is.
    """
    misfit = find_misfit(in_workdir(farm), rooms_of(portions))
    if misfit is None:
        return
    other = next(living_farmers(farm.workdir), None)
    if other is None:
        raise UserError(f"{farm.handler.path}: {misfit}")
    log.warning("%s; others are at work that may have more (%s)", misfit, other.farmer)
