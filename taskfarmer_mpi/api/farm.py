"""A farm, its tasks and its outcomes; and a farmer that works on it as long as this Python wants."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from taskfarmer_mpi.api.farmer_process import Ended, FarmerProcess, farmer_command
from taskfarmer_mpi.api.keys import TaskKeys
from taskfarmer_mpi.api.live import Live, live_display
from taskfarmer_mpi.api.opening import open_farm
from taskfarmer_mpi.api.outcome_reader import follow_outcomes
from taskfarmer_mpi.api.outcomes import TaskOutcome
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.farmer.environment import without_launcher
from taskfarmer_mpi.history.failure_filter import FailureFilter
from taskfarmer_mpi.history.runs import FarmerHistory
from taskfarmer_mpi.status.observer import Observer
from taskfarmer_mpi.status.snapshot import Status
from taskfarmer_mpi.upkeep.added_tasks import BATCH, check_texts
from taskfarmer_mpi.upkeep.reopening import LOCK_PATIENCE, hands, open_lock, read_stored
from taskfarmer_mpi.upkeep.retry import retry_tasks
from taskfarmer_mpi.upkeep.stopping import farmers_at_work, request_stop, wait_for_end, withdraw_stop
from taskfarmer_mpi.workdir import farm as workdir_farm
from taskfarmer_mpi.workdir.files import Workdir, read_file
from taskfarmer_mpi.workdir.lists import ids_in

_PAUSES = (0.02, 1.0)
"""Shortest and longest pause between two pictures [s]; at least ten times what a look takes."""
_RESTING = 10
_STOP_PATIENCE = 60.0


class Farm:
    """The farm of a work directory.

    As a context manager it waits for its farmer at the end of the block, and stops it if an exception ends the block. All
    methods may be called from several threads, and any number of `Farm` objects and other farmers may share the directory.
    """

    def __init__(self, workdir: str | os.PathLike[str], *, is_shared: bool = False) -> None:
        """Mean a work directory; nothing is touched yet.

        Parameters
        ----------
        workdir
            The work directory, made by the first `add` if there is none; or a tasklist, which stands for its own.
        is_shared
            Whether the work directory may be another user's, or one where everybody can write: they can have commands run as
            you.
        """
        self._tasklist = Path(os.path.abspath(workdir)) if os.path.isfile(workdir) else None
        self._workdir = Workdir.meant(workdir)
        self._is_shared = is_shared
        self._mutex = threading.RLock()
        self._opened: tuple[workdir_farm.Farm, TaskKeys] | None = None
        self._observer: Observer | None = None
        self._farmer: FarmerProcess | None = None

    def __repr__(self) -> str:
        return f"Farm({str(self.workdir)!r})"

    @property
    def workdir(self) -> Path:
        """The work directory."""
        return self._workdir.path

    # -- its tasks --------------------------------------------------------------------------------

    def add(self, commands: Iterable[str], *, keys: Iterable[str | None] | None = None) -> list[int]:
        """Add tasks; farmers that are at work take them at once.

        Parameters
        ----------
        commands
            One line of text each, as a tasklist has them.
        keys
            A key for each, or None: a task that was added under a key before is not added again, whoever did it and whatever
            died since.

        Returns
        -------
        The ID of each.

        Raises
        ------
        UserError
            If one of them is no task, or the work directory cannot be used; nothing was added.
        KeyConflictError
            If a key is that of another command; what came before the batch of 20,000 tasks that it is in was added.
        """
        if isinstance(commands, str):
            raise UserError(f"{commands!r}: one command; add takes several: add([{commands!r}])")
        texts = [command.strip().encode("utf-8", "surrogateescape") for command in commands]
        named = [None] * len(texts) if keys is None else list(keys)
        if len(named) != len(texts):
            raise UserError(f"{len(named)} keys for {len(texts)} commands: give one for each, or None")
        with self._mutex:
            farm, known = self._open()
            check_texts(farm, texts)
            ids: list[int] = []
            for start in range(0, len(texts), BATCH):
                with farm.lock.held(LOCK_PATIENCE):
                    ids += known.add(texts[start : start + BATCH], named[start : start + BATCH])
        return ids

    def _open(self) -> tuple[workdir_farm.Farm, TaskKeys]:
        if self._opened is None or not self._workdir.config.exists():
            farm = open_farm(self._workdir, self._tasklist, is_shared=self._is_shared)
            self._opened = farm, TaskKeys(farm)
        return self._opened

    def retry(
        self,
        ids: Collection[int] | None = None,
        *,
        hosts: Collection[str] = (),
        exit_codes: Collection[int] = (),
        match: str = "",
    ) -> list[int]:
        """Put tasks that have ended back on the list, and return them; their logs are kept as ``log_ID.1`` and so on.

        Parameters
        ----------
        ids
            Which; None for all that failed.
        hosts, exit_codes, match
            Only those that failed on one of these nodes, with one of these exit codes (or minus the number of a signal), or
            with this text in the last lines of their logs.

        Raises
        ------
        UserError
            If there is no such work directory.
        """
        workdir = Workdir.existing(self._workdir.path)
        lock = open_lock(workdir, os.environ)
        chosen = FailureFilter(frozenset(hosts), frozenset(exit_codes), text=match)
        with self._mutex:
            if not chosen.is_open:
                failed = set(ids_in(read_file(workdir.failed) or b""))
                ids = chosen.select(workdir, failed if ids is None else failed & set(ids))
            with hands(workdir, lock) as journal:
                return retry_tasks(workdir, lock, journal, read_stored(workdir).listed, ids, LOCK_PATIENCE).tasks

    def status(self, failures: int = 5) -> Status:
        """Return what the farm looks like now, as ``taskfarmer-ctl status --json`` has it.

        Parameters
        ----------
        failures
            How many of the last failures to tell of.
        """
        with self._mutex:
            if self._observer is None:
                self._observer = Observer(Workdir.existing(self._workdir.path))
            return self._observer.look(failures)

    def __iter__(self) -> Iterator[TaskOutcome]:
        return self.outcomes()

    def outcomes(self) -> Iterator[TaskOutcome]:
        """Return an iterator over how each task ended: first those that have, then the others as they do, whoever runs them.

        It ends when every task has ended, or when nobody works on the list any more.
        """
        workdir = Workdir.existing(self._workdir.path)
        return follow_outcomes(workdir, lambda: self.is_running() or bool(farmers_at_work(workdir)))

    # -- its farmer -------------------------------------------------------------------------------

    def start(
        self, proc: int | str | None = None, *, options: Sequence[str] = (), launcher: Sequence[str] = ()
    ) -> FarmerProcess:
        """Start a farmer in the background; it stops when this Python ends, however that happens.

        Parameters
        ----------
        proc
            Its slots, or ``"auto"``; None for those of the work directory, 8 for a new one.
        options
            Other options of ``taskfarmer-mpi``.
        launcher
            What starts one farmer on each of several nodes, as ``["srun", "-N5", "--cpus-per-task=32"]`` in an allocation.

        Raises
        ------
        UserError
            If there is no such work directory, or a farmer of this object is at work already.
        FarmerError
            If it cannot be started.
        """
        with self._mutex:
            if self.is_running():
                raise UserError(f"{self.workdir}: this Farm has a farmer at work already")
            workdir = ["--workdir", str(self.workdir)]
            if self._tasklist is None:
                Workdir.existing(self.workdir)
            else:
                workdir.append(str(self._tasklist))
            words = ["--progress", "none", "--mpi", "auto" if launcher else "off"]
            words += [*(["--shared"] if self._is_shared else []), *([] if proc is None else ["--proc", str(proc)])]
            environ = without_launcher(os.environ) if launcher else os.environ  # srun in a step needs to know nothing of it
            self._farmer = FarmerProcess([*launcher, *farmer_command(*words, *options, *workdir)], environ)
            return self._farmer

    def is_running(self) -> bool:
        """Whether the farmer that this object started is at work."""
        return self._farmer is not None and self._farmer.is_running()

    def wait(self, *, live: bool | None = None) -> Ended:
        """Wait for the end of the farmer that this object started; Ctrl-C stops it.

        Parameters
        ----------
        live
            Whether to show a bar; None: on terminals and in notebooks, if rich is installed.

        Raises
        ------
        UserError
            If there is none, or a bar is asked for without rich.
        FarmerError
            If it could not begin, died, or broke.
        """
        farmer = self._farmer
        if farmer is None:
            raise UserError(f"{self.workdir}: no farmer was started here: start or run does")
        try:
            with live_display(live) as display:
                self._show_until_end(farmer, display)
        except BaseException:
            farmer.stop()
            farmer.wait()
            raise
        code, summary, messages = farmer.settle()
        return Ended(code, self.status(0).tasks, summary, messages)

    def _show_until_end(self, farmer: FarmerProcess, display: Live | None) -> None:
        pause = None if display is None else _PAUSES[0]
        while not farmer.wait(pause):
            if display is not None and self._workdir.config.exists():
                began = time.monotonic()
                display.show(self.status(0))
                pause = max(_PAUSES[1], _RESTING * (time.monotonic() - began))

    def run(
        self,
        proc: int | str | None = None,
        *,
        options: Sequence[str] = (),
        launcher: Sequence[str] = (),
        live: bool | None = None,
    ) -> Ended:
        """Have a farmer run all tasks, and wait for its end; parameters and errors are those of `start` and `wait`."""
        self.start(proc, options=options, launcher=launcher)
        return self.wait(live=live)

    def stop(self, *, drain: bool = False, patience: float = _STOP_PATIENCE) -> list[FarmerHistory]:
        """Stop all farmers of the work directory, wherever they run; return those that are at work still.

        Parameters
        ----------
        drain
            Whether running tasks may come to their end; else they go back to the list.
        patience
            How long to wait [s].
        """
        workdir = Workdir.existing(self._workdir.path)
        farmers = farmers_at_work(workdir)
        if farmers:
            request = request_stop(workdir, os.environ, farmers, is_drain=drain)
            farmers = wait_for_end(farmers, patience)
            if not farmers:
                withdraw_stop(workdir, request)
        return farmers

    def __enter__(self) -> Farm:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self.end()
        elif self.is_running():
            self.wait(live=False)

    def end(self) -> None:
        """Stop the farmer that this object started, and wait until it has; its running tasks go back to the list."""
        if self._farmer is not None:
            self._farmer.stop()
            self._farmer.wait()
