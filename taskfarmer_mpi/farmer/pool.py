"""The slots of one farmer: start tasks in them, see their ends, stop them all."""

from __future__ import annotations

import heapq
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.common.programs import reap_children
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.errors import FencedError, ShortageError, farm_error
from taskfarmer_mpi.farmer.guard import Guard
from taskfarmer_mpi.farmer.process_start import ProcessStart, is_about_command, write_reason
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.lives.owner import Owner, kill_processes
from taskfarmer_mpi.machine.own_memory import own_peak_memory
from taskfarmer_mpi.runners.shell import Launch
from taskfarmer_mpi.tasklists.task import Run, Task
from taskfarmer_mpi.workdir.files import Workdir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.resources.portions import Portion
    from taskfarmer_mpi.resources.room import Room

NOT_FOUND = 127
"""Exit code of a task whose command is not there, as in a shell."""
ENDED_IN_TIME = 124
"""Exit code of a task that was ended and says 0 nevertheless, as of timeout(1)."""
CANNOT_EXECUTE = 126
"""Exit code of a task whose command is there, or may be, but could not be started, as in a shell."""


class _Running(Value, is_frequent=True):
    task: Task
    slot: int
    started: float
    patience: float
    since: float
    """When it started, on the clock that only goes forward [s]."""
    more: tuple[int, ...] = ()
    """Further slots that it takes."""


class Pool:
    """A fixed number of slots, each of which runs one task at a time in a session of its own."""

    def __init__(
        self,
        *,
        slots: int,
        farmer: str,
        task_lock: LifeLock,
        workdir: Workdir,
        environ: Mapping[str, str],
        first_node_slot: int = 0,
        lease: float = 0.0,
        portion: Portion | None = None,
        has_logs: bool = True,
    ) -> None:
        """Start the guardian; no task runs yet.

        Parameters
        ----------
        slots
            How many tasks run at the same time.
        farmer
            The farmer's name, by which its tasks' processes are found.
        task_lock
            The lock that all tasks inherit.
        workdir
            Where the logs go.
        environ
            What `task_environment` returned.
        first_node_slot
            The number of slot 0 among the slots of its node.
        lease
            After how long without an answer the file system gives the locks of a node away [s]; 0 if it never does.
        portion
            What each slot has for itself; None if nothing.
        has_logs
            Whether what tasks write is kept.
        """
        self._owner = Owner.here(farmer, str(task_lock.path), str(workdir.path))
        self._processes = ProcessStart(task_lock, workdir, environ, first_node_slot, portion, has_logs)
        self._slots, self._portion, self._environ = slots, portion, environ
        self._free = list(range(slots))
        self.room: Room | None = None
        """What is left for tasks of different sizes; None as long as there were none."""
        self.has_survivors = False
        """Whether processes of tasks lived on after they were killed."""
        self.others: dict[int, int] = {}
        """Exit status by process of children of this farmer that were no tasks and have ended."""
        self._running: dict[int, _Running] = {}
        self._causes: dict[int, Cause] = {}
        self.refresh()
        self._guard = Guard(self._owner, task_lock, lease)

    @property
    def free(self) -> int:
        """How many slots run nothing."""
        return len(self._free)

    @property
    def busy(self) -> int:
        """How many slots run a task."""
        return len(self._running)

    @property
    def next_slot(self) -> int:
        """The slot that the next task gets."""
        return self._free[0]

    def refresh(self) -> None:
        """Keep what the MPI library and the launcher left open from tasks, and note this process's own peak memory."""
        with suppress(OSError):  # no descriptor is left to look with
            for name in os.listdir("/proc/self/fd"):
                if int(name) > 2:
                    with suppress(OSError):
                        os.set_inheritable(int(name), False)
        self._own_rss = own_peak_memory()

    def make_room(self) -> Room:
        """Begin to count what tasks of different sizes take; those that run take as much as is usual."""
        if self.room is None:
            from taskfarmer_mpi.resources.room import Room

            self.room = Room(self._slots, self._portion, self._environ)
            for running in self._running.values():
                self.room.give(running.task.id)
        return self.room

    def start(self, task: Task, launch: Launch, width: int = 1) -> Run | None:
        """Start a task in the next free slot, or the next ones if it takes several.

        Returns
        -------
        The run, if it is over because the command cannot be started: its log says why.

        Raises
        ------
        ShortageError
            If there are no more processes, or the like, at the moment.
        FarmError
            If it would be the same with the next task: a full disk, logs that this user cannot write.
        """
        if not self._guard.pid:
            raise ShortageError(
                f"cannot start the guardian of this farmer's tasks: {self._guard.lack}"
            ) from self._guard.refusal
        log_fd = self._processes.open_log(task)
        if log_fd is None:
            return self._cannot_start(task, CANNOT_EXECUTE)
        slots = (self.next_slot,) if width == 1 else tuple(heapq.nsmallest(width, self._free))
        slot, started = slots[0], time.time()
        try:
            self._guard.see_start(slot, task.id)
            pid = self._processes.spawn(task, slots, launch, log_fd)
        except (OSError, ValueError) as error:
            self._guard.see_task_end(slot)
            if isinstance(error, OSError) and not is_about_command(error):
                raise farm_error("cannot start a process", error) from error
            reason = error.strerror if isinstance(error, OSError) else str(error)
            write_reason(log_fd, f"cannot start {launch.program[:200]}: {reason}")
            return self._cannot_start(task, NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_EXECUTE, started)
        finally:
            os.close(log_fd)
        for _ in slots:
            heapq.heappop(self._free)
        self._running[pid] = _Running(task, slot, started, launch.patience, time.monotonic(), slots[1:])
        return None

    def lease_end(self) -> FencedError | None:
        """Return why other nodes can have the tasks that run here, if so: then they are killed."""
        return self._guard.lease_end()

    def refuse(self, task: Task, reason: str) -> Run:
        """Return the run of a task of which no command can be made; its log gets the reason."""
        log_fd = self._processes.open_log(task)
        if log_fd is not None:
            write_reason(log_fd, reason)
            os.close(log_fd)
        return self._cannot_start(task, CANNOT_EXECUTE)

    def _cannot_start(self, task: Task, code: int, started: float | None = None) -> Run:
        now = time.time()
        return Run(task, self._free[0], started or now, now, code, known_cause=Cause.NOT_STARTED)

    def reap(self) -> list[Run]:
        """Return the runs that have ended since the last call; their slots are free."""
        runs = []
        for pid, status, usage in reap_children(filter(None, [self._guard.pid, *self._running])):
            if pid == self._guard.pid:
                self._guard.see_end(status)
            running = self._running.pop(pid, None)
            if running is None:
                self.others[pid] = status
                continue
            self._guard.see_task_end(running.slot)
            heapq.heappush(self._free, running.slot)
            for slot in running.more:
                heapq.heappush(self._free, slot)
            if self.room is not None:
                self.room.end(running.task.id)
            cause = self._causes.pop(pid, None)
            if cause is not None:
                self._kill_rest(pid, running.task)
            code = os.waitstatus_to_exitcode(status)
            cause = None if code == 0 and cause is Cause.MEMORY_SHORT else cause  # it was as good as done
            runs.append(
                Run(
                    task=running.task,
                    slot=running.slot,
                    started=running.started,
                    ended=max(time.time(), running.started),  # a clock can be set back
                    returncode=ENDED_IN_TIME if cause is not None and code == 0 else code,
                    cpu=usage.ru_utime + usage.ru_stime,
                    max_rss=usage.ru_maxrss if usage.ru_maxrss > self._own_rss else 0,
                    known_cause=cause,
                )
            )
        self._guard.renew()
        return runs

    def running(self) -> list[tuple[int, int, float]]:
        """Return the processes that run tasks, with task and start, on the clock that only goes forward [s]."""
        return [(pid, running.task.id, running.since) for pid, running in self._running.items()]

    def ask(self, pids: Iterable[int], number: signal.Signals) -> None:
        """Send a signal to the process groups of some tasks, so that they end by themselves."""
        for pid in pids:
            with suppress(OSError):  # it is gone, or it became another user's
                os.killpg(pid, number)

    def condemn(self, pid: int, cause: Cause) -> None:
        """Know why the run of a process ends, whatever its exit code will be; what it leaves behind is killed then."""
        self._causes[pid] = cause

    def kill_one(self, pid: int) -> None:
        """Kill all processes of one task."""
        if pid in self._running:
            self.ask([pid], signal.SIGKILL)
            self._kill_rest(pid, self._running[pid].task)

    def _kill_rest(self, pid: int, task: Task) -> None:
        """Kill what the process of a task left behind."""
        from taskfarmer_mpi.lives.task_processes import kill_task

        kill_task(self._owner, pid, task.id)

    def kill(self, patience: float) -> list[Run]:
        """Kill every process of every task and return the runs that this ended.

        All are killed at once, but those whose launch has patience get SIGTERM first and that time to end.

        Parameters
        ----------
        patience
            How long to wait for the last one to die [s]; what does not die then keeps the task lock, and `has_survivors`.
        """
        runs = self._terminate()
        self.ask(self._running, signal.SIGKILL)
        try:
            are_gone = kill_processes(self._owner, patience, (self._guard.pid,))
        except OSError:  # no descriptor is left to look with: the guardian does it once this farmer is gone
            are_gone = False
        deadline = time.monotonic() + patience
        runs += self._reap_until(deadline, lambda: not self._running)
        self.has_survivors = bool(self._running) or not are_gone
        self._guard.let_go()
        return runs

    def _terminate(self) -> list[Run]:
        """Let those programs end by themselves that can clean up when they are told to."""
        asked = {pid: running.patience for pid, running in self._running.items() if running.patience > 0}
        if not asked:
            return []
        self.ask(asked, signal.SIGTERM)
        return self._reap_until(time.monotonic() + max(asked.values()), lambda: asked.keys().isdisjoint(self._running))

    def _reap_until(self, deadline: float, is_done: Callable[[], bool]) -> list[Run]:
        runs = self.reap()
        while not is_done() and time.monotonic() < deadline:
            time.sleep(0.002)
            runs += self.reap()
        return runs

    def close(self) -> None:
        """Send the guardian home: no task is left that it would have to end."""
        self._processes.close()
        self._guard.send_home()
