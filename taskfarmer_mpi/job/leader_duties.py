"""What the leader of a job alone does to the work directory: it settles what dead farmers left, and adds new lines."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.shortage import OWN_PATIENCE
from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.errors import FarmError, LockBusyError, ShortageError, UserError, is_own_limit
from taskfarmer_mpi.farmer.farmer import Farmer
from taskfarmer_mpi.upkeep.added_tasks import TasklistWatch
from taskfarmer_mpi.upkeep.holders import Holders, is_anyone_fitting
from taskfarmer_mpi.upkeep.recovery import Recovery, note_recovery, recover
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.locks import STOP_PATIENCE

log = Log(__name__)

WATCH_INTERVAL = 2.0
"""How often a leader looks for lines that were appended to the tasklist [s]; oftener if there may be some."""
REST = 30.0
"""How often the leader of a job that waits for more tasks looks for dead farmers [s]."""
UNFIT_LOOK = 2.0
"""How often the leader of a job that has too little for all tasks that are left looks whether others run them [s]."""
LOCK_PATIENCE = 1.0
"""How long recovery waits for the lock before it tries again later [s]."""
WAIT_REPORT = 1.0
"""How long a leader waits for a dead farmer's tasks before it says so [s]; said again after twice the time, and so on."""


class LeaderDuties:
    """The duties, and what is known of them."""

    def __init__(
        self,
        farm: Farm,
        farmer: Farmer,
        patience: float,
        watch: TasklistWatch | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        is_staying: bool = False,
    ) -> None:
        """Do nothing yet.

        Parameters
        ----------
        farm
            The farm that all ranks work on.
        farmer
            This rank's own.
        patience
            How long to wait for the lock, and for dead farmers' tasks that still run [s].
        watch
            What notices lines that are appended to the tasklist.
        clock
            A clock that only goes forward [s].
        is_staying
            Whether the job waits for more tasks where none is left.
        """
        self._is_staying = is_staying
        self._rest_end = self._unfit_end = -math.inf
        self._told_of = ""
        self._farm = farm
        self._farmer = farmer
        self._patience = patience
        self._watch = watch
        self._clock = clock
        self._holders = Holders(farm, clock)
        self._next_watch = clock() + WATCH_INTERVAL
        self._waiting_since: float | None = None
        self._next_report = math.inf
        self._busy_since: float | None = None
        self._has_looked_at: int | None = None
        self.recovery = Recovery()
        """What the last look at the other farmers brought."""

    def recover(self) -> bool:
        """Settle the tasks of dead farmers; return whether that could be done."""
        own = () if self._farmer.trouble is not None else (self._farmer.journal.path,)
        try:
            recovery = recover(self._farm, own, LOCK_PATIENCE)
            self.recovery = replace(recovery, waiting=[*recovery.waiting, *self._holders.unseen(self._farmer.journal.path)])
        except (LockBusyError, ShortageError) as error:
            self._wait_out(error)
            return False
        except (FarmError, UserError, OSError) as error:
            self._farmer.give_up(FarmError(f"cannot recover the tasks of dead farmers: {error}"))
            return False
        self._busy_since = None
        if self._farmer.trouble is None:
            note_recovery(self._farmer.journal, self.recovery)
        if not self.recovery.waiting:
            self._waiting_since = None
        return True

    def _wait_out(self, error: LockBusyError | ShortageError) -> None:
        """Bear with what may be better a moment later; give up if it is not."""
        if self._busy_since is None:
            self._busy_since = self._clock()
            if isinstance(error, ShortageError):  # of a lock that others hold, the visits to the lists say who
                log.warning("%s; dead farmers are not looked for; trying again from time to time", error)
        patience = min(self._patience, OWN_PATIENCE) if is_own_limit(error.__cause__) else self._patience
        if self._clock() - self._busy_since > patience:
            self._farmer.give_up(FarmError(str(error)))

    def has_waited_enough(self) -> bool:
        """Whether tasks of farmers that are or may be dead were waited for as long as for a lock; say so now and then.

        A leader that gave up waits for a moment only: no rank is left that could run them, and the next run recovers.
        """
        now = self._clock()
        patience = self._patience if self._farmer.trouble is None else min(self._patience, STOP_PATIENCE)
        if self._waiting_since is None:
            self._waiting_since, self._next_report = now, now + WAIT_REPORT
        is_over = now - self._waiting_since > patience
        if is_over or now >= self._next_report:
            self._next_report = now + 2 * (now - self._waiting_since)
            for line in self.recovery.waiting:
                log.warning("%s", line)
        return is_over

    @property
    def may_have_new_lines(self) -> bool:
        """Whether the tasklist may be about to become longer."""
        return self._watch is not None and self._farmer.takes_tasks and not self._watch.is_quiet

    def add_new_lines(self, *, at_once: bool = False) -> bool:
        """Add lines that were appended to the tasklist, if it is time to look; return whether there were any."""
        if self._watch is None or not (at_once or self._clock() >= self._next_watch):
            return False
        self._next_watch = self._clock() + WATCH_INTERVAL
        if not self._farmer.takes_tasks:
            return False
        try:
            is_longer = self._watch.look()
        except (FarmError, OSError) as error:
            self._farmer.give_up(FarmError(f"cannot add the new lines of the tasklist: {error}"))
            return False
        if not is_longer and not self._watch.is_quiet:
            self._next_watch = self._clock() + WATCH_INTERVAL / 10
        return is_longer

    def end_or_rest(self, wake: Callable[[], None], own: Collection[Path]) -> int | None:
        """Return the end of a job where nothing is left; None if it waits for more tasks, or for others who can run some.

        Parameters
        ----------
        wake
            Has all ranks of this job look at the list.
        own
            Their life locks.
        """
        if self._farmer.unfit and self._farmer.trouble is None:
            if self._farmer.unfit != self._told_of and len(own) > 1:
                self._told_of = self._farmer.unfit
                wake()  # another rank may have more room
                return None
            if self._is_staying or is_anyone_fitting(self._farm, own):
                self._unfit_end = self._clock() + UNFIT_LOOK
                self.forget_look()
                return None
        if not self._is_staying:
            return 0
        self._rest_end = self._clock() + REST
        return None

    def rests(self, wake: Callable[[], None]) -> bool:
        """Whether there is nothing to do but to wait for more tasks; calls `wake` if some have come."""
        if self._clock() < self._unfit_end and self._farmer.takes_tasks:
            return True
        if self._clock() >= self._rest_end or not self._farmer.takes_tasks:
            return False
        if self._sees_tasks():
            self._rest_end = -math.inf
            wake()
        return True

    def _sees_tasks(self) -> bool:
        """Whether tasks are on the list, as far as can be seen without the lock."""
        with suppress(OSError):  # a directory in trouble is a matter of the next visit
            self._farm.workdir.refresh()
            stacks = (self._farm.workdir.toprocess, self._farm.workdir.added)
            return any(path.stat().st_size > 0 for path in stacks if path.exists())
        return False

    def has_looked_again(self) -> bool:
        """Whether this farmer looked at the list since the last task of this job was settled; if not, have it look."""
        ended = self._farmer.tally.ended
        if self._farmer.trouble is not None or self._has_looked_at == ended:
            return True
        self._has_looked_at = ended
        self._farmer.look_again()
        return False

    def forget_look(self) -> None:
        """Have this farmer look once more before the end: others were woken."""
        self._has_looked_at = None


def clear_boards(farm: Farm) -> None:
    """Remove the boards of jobs that are dead, if there were jobs of several ranks."""
    if farm.workdir.jobs.exists():
        from taskfarmer_mpi.job.board import remove_dead_boards

        remove_dead_boards(farm.workdir, farm.lock)


def make_own_board(farm: Farm, farmers: dict[int, str]) -> None:
    """Make the board of the job of some farmers, by rank, if they are several."""
    if len(farmers) > 1:
        from taskfarmer_mpi.job.board import make_board

        make_board(farm.workdir, farmers)


def remove_own_board(farm: Farm, farmers: dict[int, str]) -> None:
    """Remove the board of the job of some farmers, by rank, if they are several."""
    if len(farmers) > 1:
        from taskfarmer_mpi.job.board import board_path, remove_board

        remove_board(board_path(farm.workdir, farmers))
