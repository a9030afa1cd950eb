"""A farmer's side of its monitors: each has a process of its own, fed through a pipe that the farmer never waits for.

A monitor that fails, hangs, prints without end or cannot keep up is switched off, with one warning. If the farmer dies, the
pipes are closed, and the processes end.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.values import as_dict
from taskfarmer_mpi.farmer.environment import without_launcher
from taskfarmer_mpi.farmer.farmer import Farmer
from taskfarmer_mpi.monitors import builtin
from taskfarmer_mpi.monitors.pipe import MonitorPipe
from taskfarmer_mpi.runners.registry import MONITOR, Definition, build, check_options, find, load_class
from taskfarmer_mpi.tasklists.lines import Lines
from taskfarmer_mpi.tasklists.task import Run
from taskfarmer_mpi.upkeep.recovery import Recovery
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.journal import Journal
from taskfarmer_mpi.workdir.journal_records import Identity

log = Log(__name__)

SEND_INTERVAL = 0.1
"""How often events are sent [s]."""
LONGEST_TEXT = 30_000
"""How much of a task's text an event has [characters]: the kernel does not let a command's variables be much longer."""


def find_monitor(name: str) -> Definition:
    """Return the definition of a monitor, after a check of all that can be known before it starts.

    Raises
    ------
    UserError
        If there is none of this name, or its class or options are in error.
    """
    definition = find(MONITOR, name)
    cls = load_class(MONITOR, definition)
    if cls.__module__ == builtin.__name__:
        build(cls, definition)  # ours only look at their options at first; a user's own class may do anything
    else:
        check_options(cls, definition)
    return definition


class HasRecovery(Protocol):
    """What knows of recoveries."""

    @property
    def recovery(self) -> Recovery:
        """What the last look at the other farmers brought."""
        ...


class Dispatcher:
    """The monitors of one farmer; `step` is called again and again."""

    def __init__(
        self,
        definitions: Sequence[Definition],
        identity: Identity,
        workdir: Workdir,
        environ: Mapping[str, str],
        ended: dict[int, int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the monitors.

        Parameters
        ----------
        definitions
            Which ones.
        identity
            The farmer.
        workdir
            Where it works.
        environ
            The farmer's environment.
        ended
            Exit status by process of children that ended, which another one awaits.
        clock
            A clock that only goes forward [s].
        """
        self._clock = clock
        self._ended = ended
        self._events: list[bytes] = []
        self._next_send = 0.0
        self._recovery: Recovery | None = None
        self._pipes: dict[str, MonitorPipe] = {}
        names = ("farmer", "host", "pid", "rank", "ranks", "job", "slots")
        who: dict[str, Any] = {name: getattr(identity, name) for name in names} | {"workdir": str(workdir.path)}
        for definition in definitions:
            opening = {"definition": as_dict(definition), "path": [str(entry) for entry in sys.path], "who": who}
            try:
                pipe = MonitorPipe(definition.name, json.dumps(opening).encode() + b"\n", without_launcher(environ), clock())
            except OSError as error:
                log.warning("monitor %s cannot be started: %s", definition.name, error.strerror)
            else:
                self._pipes[definition.name] = pipe

    def tell(self, kind: str, **about: Any) -> None:
        """Have an event sent to all monitors with the next step."""
        self.tell_encoded(json.dumps((kind, round(time.time(), 6), about)).encode())

    def tell_encoded(self, event: bytes) -> None:
        """Have an event sent that is JSON already: a list of its kind, its time and what has a meaning for it."""
        if self._pipes:
            self._events.append(event)

    def see_recovery(self, recovery: Recovery) -> None:
        """Tell of a recovery, once, if it brought something."""
        if recovery is not self._recovery and recovery.farmers:
            lost = ",".join(recovery.nodes) or None
            self.tell("recovery", farmers=recovery.farmers, tasks=recovery.tasks, lost_nodes=lost)
        self._recovery = recovery

    def see_end(self, farmer: Farmer, code: int) -> None:
        """Tell of the farmer's end."""
        reason = str(farmer.trouble) if farmer.trouble is not None else farmer.stop_reason or farmer.drain_reason
        tally = farmer.tally
        self.tell("farmer_end", returncode=code, finished=tally.finished, failed=tally.failed, reason=reason)

    def step(self, coordinator: HasRecovery) -> None:
        """Send what happened and hear the monitors, if it is time to."""
        now = self._clock()
        if now >= self._next_send:
            self.see_recovery(coordinator.recovery)
            self._exchange(now)
            self._next_send = self._clock() + SEND_INTERVAL

    def _exchange(self, now: float) -> None:
        data = b"[%s]\n" % b",".join(self._events) if self._events else b""
        self._events.clear()
        for name, pipe in list(self._pipes.items()):
            pipe.status = self._ended.pop(pipe.pid, None)
            pipe.send(data)
            pipe.listen(now)
            reason = pipe.trouble()
            if reason is not None:
                self._switch_off(name, reason)

    def _switch_off(self, name: str, reason: str) -> None:
        log.warning("monitor %s is switched off: %s", name, reason)
        self._let_go(name)

    def _let_go(self, name: str) -> None:
        pipe = self._pipes.pop(name)
        pipe.kill()
        pipe.close()

    def close(self) -> None:
        """Let the monitors handle what they got, for a moment, and end them; the farmer's own children are gone."""
        end = self._clock()
        while self._pipes:
            now = self._clock()
            self._reap()
            self._exchange_last(now)
            for name, pipe in list(self._pipes.items()):
                reason = pipe.lateness(now, end)
                if reason is not None:
                    self._switch_off(name, reason)
            if self._pipes:
                time.sleep(0.005)

    def _reap(self) -> None:
        for pipe in self._pipes.values():
            with suppress(ChildProcessError):  # who awaits all children was quicker
                pid, status = os.waitpid(pipe.pid, os.WNOHANG)
                if pid:
                    self._ended[pid] = status

    def _exchange_last(self, now: float) -> None:
        for name, pipe in list(self._pipes.items()):
            if self._ended.get(pipe.pid) == 0 and pipe.is_told:
                pipe.status = 0
                pipe.listen(now)
                self._let_go(name)
        self._exchange(now)
        for pipe in self._pipes.values():
            pipe.hang_up()


class WatchedJournal(Journal):
    """A journal of whose records the monitors hear, too."""

    def __init__(self, folder: Path, identity: Identity, dispatcher: Dispatcher, texts: Lines) -> None:
        """Begin the journal.

        Parameters
        ----------
        folder, identity
            Where it is, and who writes it.
        dispatcher
            The monitors.
        texts
            The texts of all tasks.
        """
        self._hooks = dispatcher
        self._texts = texts
        super().__init__(folder, identity)

    def note(self, kind: str, **fields: Any) -> None:
        """Add a record."""
        super().note(kind, **fields)
        if kind == "stop":
            self._hooks.tell("shutdown", reason=fields["reason"])

    def note_begin(self, task_id: int, slot: int) -> None:
        """Add the start of a run; it is encoded by hand, as is its end, since they come with every task."""
        super().note_begin(task_id, slot)
        command = json.dumps(self._texts[task_id][:LONGEST_TEXT]).encode()
        self._hooks.tell_encoded(
            b'["task_start",%.6f,{"task":%d,"slot":%d,"command":%s}]' % (time.time(), task_id, slot, command)
        )

    def note_run(self, kind: str, run: Run, attempt: int = 0) -> None:
        """Add the end of a run; the monitors know its command from its start."""
        super().note_run(kind, run, attempt)
        outcome = b"killed" if kind == "killed" and not attempt else b"finished" if run.is_finished else b"failed"
        seconds = run.ended - run.started
        why = b"" if run.cause is None else b',"cause":"%s"' % run.cause.encode()
        why += b',"attempt":%d' % attempt if attempt else b""
        self._hooks.tell_encoded(
            b'["task_end",%.6f,{"task":%d,"slot":%d,"outcome":"%s","returncode":%d,"seconds":%.6f,"cpu":%.6f,"max_rss":%d%s}]'
            % (time.time(), run.task.id, run.slot, outcome, run.returncode, seconds, run.cpu, run.max_rss, why)
        )
