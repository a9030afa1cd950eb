"""`concurrent.futures` over a farm: a command is submitted, and its future tells how it ended.

One thread does it all: it adds what was submitted, follows the outcomes, and has a farmer at work as long as some are
waited for.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future

from taskfarmer_mpi.api.farm import Farm
from taskfarmer_mpi.api.farmer_process import EXIT_LEFT, FarmerError, FarmerProcess
from taskfarmer_mpi.api.outcome_reader import OutcomeReader
from taskfarmer_mpi.api.outcomes import TaskOutcome
from taskfarmer_mpi.errors import FarmError, UserError
from taskfarmer_mpi.workdir.files import Workdir

_PAUSES = (0.01, 0.5)
"""Shortest and longest pause between two looks for outcomes [s]."""
_RESTARTS = (0.25, 10.0)
"""Shortest and longest time between the starts of two farmers [s]: it grows while others have what is waited for."""

OutcomeFuture = Future[TaskOutcome]
_Submitted = tuple[str, str | None, OutcomeFuture]


class FarmExecutor(Executor):
    """Runs commands as tasks of a farm; the result of a future is a `TaskOutcome`, also where the command failed.

    Whatever is killed, the tasks stay in the work directory. Who submits them again under the same keys gets futures of the
    same tasks: those that have ended are not run again.
    """

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        proc: int | str | None = None,
        *,
        options: Sequence[str] = (),
        launcher: Sequence[str] = (),
        is_shared: bool = False,
    ) -> None:
        """Begin; nothing is touched before the first `submit`. Parameters are those of `Farm` and `Farm.start`."""
        self.farm = Farm(workdir, is_shared=is_shared)
        self._proc, self._options, self._launcher = proc, options, launcher
        self._submitted: queue.SimpleQueue[_Submitted | None] = queue.SimpleQueue()
        """What is to be added; None to look whether all is over."""
        self._mutex = threading.Lock()
        self._is_shut = False
        self._thread: threading.Thread | None = None

    def submit(self, command: str, /, *, key: str | None = None) -> OutcomeFuture:  # type: ignore[override]
        """Have a command run.

        Parameters
        ----------
        command
            One line of text, as a tasklist has it.
        key
            What it is known by: submitted again, also by another process later on, it is the same task.

        Raises
        ------
        RuntimeError
            After `shutdown`.
        """
        if not isinstance(command, str):
            raise UserError(f"{command!r}: not a command: a farm runs commands, each a line of text")
        future: OutcomeFuture = Future()
        with self._mutex:
            if self._is_shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._submitted.put((command, key, future))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="taskfarmer", daemon=True)
                self._thread.start()
        return future

    def map(  # type: ignore[override]
        self, commands: Iterable[str], /, *, timeout: float | None = None
    ) -> Iterator[TaskOutcome]:
        """Have commands run; yield their outcomes in the order of the commands.

        Parameters
        ----------
        commands
            What to submit, at once.
        timeout
            How long to wait for each outcome [s]; None: for ever.
        """
        futures = [self.submit(command) for command in commands]
        return (future.result(timeout) for future in futures)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more commands; when those that were submitted have ended, the farmer is stopped.

        Parameters
        ----------
        wait
            Whether to wait for that.
        cancel_futures
            Whether to cancel what was not added to the farm yet.
        """
        with self._mutex:
            self._is_shut = True
            kept: list[_Submitted] = []
            while cancel_futures and not self._submitted.empty():
                item = self._submitted.get()
                if item is not None and not item[2].cancel():
                    kept.append(item)
            for one in (*kept, None):
                self._submitted.put(one)
            thread = self._thread
        if wait and thread is not None:
            thread.join()

    # -- the thread -------------------------------------------------------------------------------

    def _work(self) -> None:
        manager = _Manager(self.farm)
        pause = _PAUSES[0]
        while True:
            batch = self._take(pause if manager.is_busy else None)
            try:
                manager.add(batch)
                pause = _PAUSES[0] if manager.look() or batch else min(2 * pause, _PAUSES[1])
                manager.see_to_farmer(self._start)
            except Exception as error:
                manager.fail(error)
            if self._is_shut and not manager.is_busy and self._submitted.empty():
                self.farm.end()  # what it may still have was not submitted here
                return

    def _start(self) -> FarmerProcess:
        return self.farm.start(self._proc, options=self._options, launcher=self._launcher)

    def _take(self, patience: float | None) -> list[_Submitted]:
        """Return what was submitted; wait for some time [s], or for ever, until something is."""
        batch: list[_Submitted] = []
        try:
            item = self._submitted.get(timeout=patience)
            while True:
                if item is not None and item[2].set_running_or_notify_cancel():
                    batch.append(item)
                item = self._submitted.get_nowait()
        except queue.Empty:
            return batch


class _Manager:
    """The tasks that are waited for, and the farmer that runs them."""

    def __init__(self, farm: Farm, clock: Callable[[], float] = time.monotonic) -> None:
        self._farm = farm
        self._clock = clock
        self._reader: OutcomeReader | None = None
        self._waiting: dict[int, list[OutcomeFuture]] = {}
        self._farmer: FarmerProcess | None = None
        self._has_moved = True
        """Whether a task has ended since the farmer began."""
        self._next_start = 0.0
        self._pause = _RESTARTS[0]

    @property
    def is_busy(self) -> bool:
        """Whether tasks are waited for."""
        return bool(self._waiting)

    def add(self, batch: list[_Submitted]) -> None:
        """Add what was submitted to the farm; one by one if together they are refused, to know which of them it is."""
        if not batch:
            return
        try:
            ids = self._farm.add([command for command, _, _ in batch], keys=[key for _, key, _ in batch])
        except (UserError, FarmError, OSError) as error:
            if len(batch) == 1 or not isinstance(error, UserError):
                for _, _, future in batch:
                    future.set_exception(error)
                return
            for item in batch:
                self.add([item])
            return
        ended = self._read_again({task for task in ids if self._reader is not None and self._reader.has_told(task)})
        for task, (_, _, future) in zip(ids, batch, strict=True):
            if task in ended:
                future.set_result(ended[task])
            else:
                self._waiting.setdefault(task, []).append(future)

    def _read_again(self, tasks: set[int]) -> dict[int, TaskOutcome]:
        """Return the outcomes of tasks that had ended when they were submitted again under their keys."""
        if not tasks:
            return {}
        reader = OutcomeReader(Workdir(self._farm.workdir))
        outcomes = reader.look()
        while reader.is_waiting:
            time.sleep(_PAUSES[0])
            outcomes += reader.look()
        return {outcome.id: outcome for outcome in outcomes if outcome.id in tasks}

    def look(self) -> bool:
        """Settle the futures of what has ended; return whether anything has."""
        if not self._waiting:
            return False
        if self._reader is None:
            self._reader = OutcomeReader(Workdir(self._farm.workdir))
        outcomes = self._reader.look()
        for outcome in outcomes:
            for future in self._waiting.pop(outcome.id, ()):
                future.set_result(outcome)
        self._has_moved = self._has_moved or bool(outcomes)
        return bool(outcomes)

    def see_to_farmer(self, start: Callable[[], FarmerProcess]) -> None:
        """Have a farmer at work as long as tasks are waited for: it ends when all tasks are done or in the hands of others.

        Raises
        ------
        FarmerError
            If it could not begin, broke, was stopped, or died before any task ended.
        """
        if not self._waiting or (self._farmer is not None and self._farmer.is_running()) or self._clock() < self._next_start:
            return
        if self._farmer is not None:
            self._check_end(self._farmer)
        self._pause = _RESTARTS[0] if self._has_moved else min(2 * self._pause, _RESTARTS[1])
        self._next_start = self._clock() + self._pause
        self._has_moved = False
        self._farmer = start()

    def _check_end(self, farmer: FarmerProcess) -> None:
        self._farmer = None
        try:
            code, _, _ = farmer.settle()
        except FarmerError as error:
            if error.code >= 0 or not self._has_moved:
                raise
            return  # it was killed: another one goes on
        if code == EXIT_LEFT:
            raise FarmerError("the farmer was stopped; the tasks that are left are in the work directory", code)

    def fail(self, error: Exception) -> None:
        """Give up what is waited for."""
        waiting, self._waiting = self._waiting, {}
        for futures in waiting.values():
            for future in futures:
                future.set_exception(error)
