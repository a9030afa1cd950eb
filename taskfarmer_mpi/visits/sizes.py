"""Tasks of different sizes: which of them one farmer may take now, and for which one it keeps room.

A task that does not fit now, but could, is **reserved** by the first farmer that comes to it, in its journal: then this
farmer takes only what would still leave enough room if all of it ran for ever. So the oldest large task starts as soon as
what ran before has ended, whatever small ones come, and no more than the room for it is idle. Other farmers take a reserved
task if it fits, and keep no room for it: but if it has waited for `PATIENCE`, one more does, and so on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from taskfarmer_mpi.policies.settings import sizes_in
from taskfarmer_mpi.resources.room import Need, Room
from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.workdir.journal import Journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.directives.book import SettingsBook

PATIENCE = 60.0
"""After what time one more farmer may keep room for a task [s]."""

MOST_REFUSED = 2000
"""How many tasks in a row one visit refuses, before it looks no further: the lock is held meanwhile."""
MOST_KNOWN = 20000
"""The same, where it is known of each that it is like one that was refused: that takes a tenth of the time."""


class Sizes:
    """What one farmer may take; every call is made with the work directory's lock held."""

    def __init__(
        self, settings: SettingsBook, room: Room, journal: Journal, reserved: Callable[[], dict[int, float]]
    ) -> None:
        """Keep room for nothing yet; `reserved` says which tasks others have reserved, and when last [s since the epoch]."""
        self._settings, self._room, self._journal, self._ask = settings, room, journal, reserved
        self._held: int | None = None
        """The task that room is kept for."""
        self._noted: int | None = None
        self._after: set[int] = set()
        """Tasks that were taken since, and still have something here."""
        self.begin(())

    def begin(self, queue: Iterable[Task]) -> None:
        """Begin a visit, with some tasks that wait for their start."""
        waiting = {task.id: self._need(task.id) for task in queue}
        self._spare = self._room.spare(())
        self._others: dict[int, float] | None = None
        self._has_seen = False
        self._begin_look()
        self.waiting = self.unfit = ""
        """Why tasks could not be taken; and which could never be, by this farmer."""
        self.ahead = 0
        """How many tasks may be taken that have to wait for a slot here."""
        self._beside = self._room.whole.copy()
        """What is free beside tasks that were taken since room is kept: that for the held task is in it."""
        for task, need in waiting.items():
            devices = self._spare.take(need)
            if task in self._after:
                self._beside.occupy(need, devices)
        for task in self._after - waiting.keys():
            if not self._room.occupy(self._beside, task):
                self._after.discard(task)

    def _begin_look(self) -> None:
        self._refused: set[str] = set()
        """What tasks have of which none may be taken now."""
        self._misfits: set[str] = set()
        """Those of them that can never be taken here: these are passed however many they are."""
        self._passed = 0.0

    @property
    def has_seen_enough(self) -> bool:
        """Whether so many tasks were refused that it is time to look no further."""
        return self._passed >= MOST_REFUSED

    @property
    def is_full(self) -> bool:
        """Whether no more tasks may be taken, whatever their sizes."""
        return self._spare.slots <= 0 and self.ahead <= 0

    def see(self, task: int) -> None:
        """Know that a task is on the list still, whether or not it may be taken."""
        self._has_seen = self._has_seen or task == self._held

    def may_take(self, task: int, *, may_wait: bool) -> bool:
        """Return whether a task may be taken now; `may_wait` says whether it may wait for a slot in this farmer's hands."""
        text = self._settings.text_of(task)
        if text in self._misfits:
            return False
        if text in self._refused and task != self._held:
            self._passed += MOST_REFUSED / MOST_KNOWN
            return False
        need = self._need(task)
        if not self._room.whole.fits(need):
            self._misfits.add(text)
            self.unfit = self.unfit or self._say_unfit(task)
            return False
        if self._spare.fits(need) and (self._held in (None, task) or self._leaves_room(need, self._need(self._held))):
            self._take(task, need)
            return True
        if may_wait and self._held is None and self.ahead > 0 and self._lacks_slot_alone(need):
            self.ahead -= 1
            return True
        if self._held is None and self._may_reserve(task):
            self._held, self._has_seen = task, True
            self._after.clear()
            self._beside = self._room.whole.copy()
        if self._held is not None:  # until it is taken, nothing that follows changes this
            self._refused.add(text)
        self._passed += 1
        self.waiting = self.waiting or self._say_waiting(self._held if self._held is not None else task)
        return False

    def _lacks_slot_alone(self, need: Need) -> bool:
        """Whether a usual task has to wait for a slot, and not for a GPU: others would wait behind it."""
        return need == self._room.usual and self._spare.slots <= 0 and self._spare.choose(need.gpus) is not None

    def _leaves_room(self, need: Need, held: Need) -> bool:
        """Whether the held task would have room if only this one, where it would run, and those taken since went on."""
        beside = self._beside.copy()
        beside.occupy(need, self._spare.choose(need.gpus) or ())
        return beside.fits(held)

    def _take(self, task: int, need: Need) -> None:
        devices = self._spare.take(need)
        if task == self._held:
            self._held = None
            self._after.clear()
            self._begin_look()
        elif self._held is not None:
            self._beside.occupy(need, devices)
            self._after.add(task)

    def forget_gone(self) -> bool:
        """Keep no more room for a task that was not seen, neither on the whole list nor before enough was seen.

        Where it is there still, so many others are before it now. Return whether there was one.
        """
        if self._held is None or self._has_seen:
            return False
        self._held, self.waiting = None, ""
        self._after.clear()
        self._begin_look()
        return True

    def end(self) -> None:
        """End a visit: others learn for which task room is kept."""
        if self._held != self._noted:
            self._noted = self._held
            self._journal.note("reserve", id=-1 if self._held is None else self._held)
            self._journal.flush()

    def _may_reserve(self, task: int) -> bool:
        if self._others is None:
            self._others = self._ask()
        return task not in self._others or time.time() - self._others[task] > PATIENCE

    def _need(self, task: int) -> Need:
        return self._room.need_of(self._settings.of(task))

    def _say_waiting(self, task: int) -> str:
        return f"task {task} waits for {sizes_in(self._settings.text_of(task)) or 'a slot'}"

    def _say_unfit(self, task: int) -> str:
        wanted = sizes_in(self._settings.text_of(task)) or "what each task gets"
        return f"task {task} wants {wanted}, and this farmer has {self._room.whole} for its tasks"
