"""A farmer's side of its monitors: each has a process of its own, fed through a pipe that the farmer never waits for.

A monitor that fails, hangs, prints without end or cannot keep up is switched off, with one warning. If the farmer dies, the
pipes are closed, and the processes end.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from taskfarmer_mpi import monitors, watcher
from taskfarmer_mpi.farmer import Farmer
from taskfarmer_mpi.journal import Identity, Journal
from taskfarmer_mpi.pool import without_launcher
from taskfarmer_mpi.recovery import Recovery
from taskfarmer_mpi.registry import MONITOR, Definition, build, check_options, find, load_class
from taskfarmer_mpi.task import Run
from taskfarmer_mpi.tasklist import Lines
from taskfarmer_mpi.workdir import Workdir

log = logging.getLogger(__name__)

SEND_INTERVAL = 0.1
"""How often events are sent [s]."""
PIPE_SIZE = 1024 * 1024
"""What a pipe should hold [bytes]."""
BACKLOG = 4 * 1024 * 1024
"""How much may wait for a monitor beside its pipe [bytes]; then it cannot keep up."""
FLOOD = 256 * 1024
"""How much a monitor may print in a second [bytes]."""
START_PATIENCE = 10.0
"""How long a monitor may take to start, if the farmer ends before that [s]: its node may be busy with tasks."""
END_PATIENCE = 2.0
"""How long a farmer that has ended waits for its monitors otherwise [s]."""
LONGEST_TEXT = 30_000
"""How much of a task's text an event has [characters]: the kernel does not let a command's variables be much longer."""

_ALL_SIGNALS = [number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)]


def find_monitor(name: str) -> Definition:
    """Return the definition of a monitor, after a check of all that can be known before it starts.

    Raises
    ------
    UserError
        If there is none of this name, or its class or options are in error.
    """
    definition = find(MONITOR, name)
    cls = load_class(MONITOR, definition)
    if cls.__module__ == monitors.__name__:
        build(cls, definition)  # ours only look at their options at first; a user's own class may do anything
    else:
        check_options(cls, definition)
    return definition


class _Line:
    """The way to one monitor and back."""

    def __init__(self, definition: Definition, opening: bytes, environ: Mapping[str, str], born: float) -> None:
        """Start the monitor's process.

        Parameters
        ----------
        definition
            What to start.
        opening
            The first line that it gets.
        environ
            Its environment.
        born
            What a clock says that only goes forward [s].

        Raises
        ------
        OSError
            If it cannot be started.
        """
        self._name = definition.name
        self._pending = bytearray(opening)
        self._said = b""
        self._said_since = 0.0
        self._volume = 0
        self._last_words = ""
        self._is_ready = False
        self._born = born
        self.is_told = False
        """Whether it got all there is, and knows that no more will come."""
        self.status: int | None = None
        """Exit status of the process, once it has ended."""
        source, self._in = os.pipe()
        self._out, target = os.pipe()
        try:
            self.pid = self._spawn(source, target, environ)
        except OSError:
            self.close()
            raise
        finally:
            os.close(source)
            os.close(target)
        for fd in (self._in, self._out):
            os.set_blocking(fd, False)
        with suppress(OSError):
            fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, PIPE_SIZE)

    def _spawn(self, source: int, target: int, environ: Mapping[str, str]) -> int:
        number = 4 if source == 3 else 3  # another number: older C libraries do not pass on the same one
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.posix_spawn(
                sys.executable,
                [sys.executable, "-P", os.path.abspath(watcher.__file__), str(number)],
                environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, source, number),
                    (os.POSIX_SPAWN_DUP2, null, 0),
                    (os.POSIX_SPAWN_DUP2, target, 1),
                    (os.POSIX_SPAWN_DUP2, target, 2),
                ],
                setsid=True,
                setsigmask=[],
                setsigdef=_ALL_SIGNALS,
            )
        finally:
            os.close(null)

    def send(self, data: bytes) -> None:
        """Send what the pipe takes; the rest waits here."""
        self._pending += data
        with suppress(BlockingIOError, BrokenPipeError):  # it is busy, or gone: then its exit status will tell
            while self._pending:
                del self._pending[: os.write(self._in, self._pending)]

    def listen(self, now: float) -> None:
        """Read what the monitor printed, for messages; `now` is on a clock that only goes forward [s]."""
        try:
            data = os.read(self._out, 65536)
        except BlockingIOError:
            return
        if now - self._said_since >= 1.0:
            self._said_since, self._volume = now, 0
        self._volume += len(data)
        *lines, rest = (self._said + data).split(b"\n")
        for line in filter(None, lines):
            self._hear(line[:1000].decode("utf-8", "replace"))
        self._said = rest[-1000:]

    def _hear(self, line: str) -> None:
        if line == watcher.READY:
            self._is_ready = True
        elif line.startswith(watcher.REASON):
            self._last_words = line.removeprefix(watcher.REASON)
        elif line.startswith("Timeout ("):  # by faulthandler
            self._last_words = f"it took more than {watcher.EVENT_LIMIT:g} s over an event"
        else:
            log.info("monitor %s: %s", self._name, line)

    def trouble(self) -> str | None:
        """Return why this monitor is to be switched off, if so."""
        if self.status is not None:
            code = os.waitstatus_to_exitcode(self.status)
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"it ended with exit code {code}"
            return self._last_words or how
        if self._volume > FLOOD:
            return f"it prints more than {FLOOD // 1024} KiB a second"
        if len(self._pending) > BACKLOG:
            return "it does not keep up with the events"
        return None

    def lateness(self, now: float, farmer_end: float) -> str | None:
        """Return why there is no more waiting for this monitor's end, if so; times are those of one clock [s]."""
        if now <= farmer_end + END_PATIENCE:
            return None
        if self._is_ready:
            return f"it has not ended {END_PATIENCE:g} s after the farmer"
        return f"it has not started within {START_PATIENCE:g} s" if now > self._born + START_PATIENCE else None

    def kill(self) -> None:
        """End the process and what it started, unless it is gone: its number may be another one's then."""
        if self.status is None:
            with suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)

    def hang_up(self) -> None:
        """Let the monitor know that no more will come, once it got all there is."""
        if not self._pending and not self.is_told:
            os.close(self._in)
            self.is_told = True

    def close(self) -> None:
        """Let go of the pipes."""
        if not self.is_told:
            os.close(self._in)
        os.close(self._out)


class HasRecovery(Protocol):
    """What knows of recoveries."""

    recovery: Recovery


class Hooks:
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
        self._lines: dict[str, _Line] = {}
        names = ("farmer", "host", "pid", "rank", "ranks", "job", "slots")
        who = {name: getattr(identity, name) for name in names} | {"workdir": str(workdir.path)}
        for definition in definitions:
            opening = {"definition": asdict(definition), "path": sys.path, "who": who}
            try:
                line = _Line(definition, json.dumps(opening).encode() + b"\n", without_launcher(environ), clock())
            except OSError as error:
                log.warning("monitor %s cannot be started: %s", definition.name, error.strerror)
            else:
                self._lines[definition.name] = line

    def tell(self, kind: str, **about: Any) -> None:
        """Have an event sent to all monitors with the next step."""
        self.tell_encoded(json.dumps((kind, round(time.time(), 6), about)).encode())

    def tell_encoded(self, event: bytes) -> None:
        """Have an event sent that is JSON already: a list of its kind, its time and what has a meaning for it."""
        if self._lines:
            self._events.append(event)

    def see_recovery(self, recovery: Recovery) -> None:
        """Tell of a recovery, once, if it brought something."""
        if recovery is not self._recovery and recovery.farmers:
            self.tell("recovery", farmers=recovery.farmers, tasks=recovery.tasks)
        self._recovery = recovery

    def see_end(self, farmer: Farmer, code: int) -> None:
        """Tell of the farmer's end."""
        reason = str(farmer.trouble) if farmer.trouble is not None else farmer.stop_reason or farmer.drain_reason
        tally = farmer.tally
        self.tell("farmer_end", returncode=code, finished=tally.finished, failed=tally.failed, reason=reason)

    def step(self, crew: HasRecovery) -> None:
        """Send what happened and hear the monitors, if it is time to."""
        now = self._clock()
        if now >= self._next_send:
            self.see_recovery(crew.recovery)
            self._exchange(now)
            self._next_send = self._clock() + SEND_INTERVAL

    def _exchange(self, now: float) -> None:
        data = b"[%s]\n" % b",".join(self._events) if self._events else b""
        self._events.clear()
        for name, line in list(self._lines.items()):
            line.status = self._ended.pop(line.pid, None)
            line.send(data)
            line.listen(now)
            reason = line.trouble()
            if reason is not None:
                self._switch_off(name, reason)

    def _switch_off(self, name: str, reason: str) -> None:
        log.warning("monitor %s is switched off: %s", name, reason)
        self._let_go(name)

    def _let_go(self, name: str) -> None:
        line = self._lines.pop(name)
        line.kill()
        line.close()

    def close(self) -> None:
        """Let the monitors handle what they got, for a moment, and end them; the farmer's own children are gone."""
        end = self._clock()
        while self._lines:
            now = self._clock()
            self._reap()
            self._exchange_last(now)
            for name, line in list(self._lines.items()):
                reason = line.lateness(now, end)
                if reason is not None:
                    self._switch_off(name, reason)
            if self._lines:
                time.sleep(0.005)

    def _reap(self) -> None:
        for line in self._lines.values():
            with suppress(ChildProcessError):  # who awaits all children was quicker
                pid, status = os.waitpid(line.pid, os.WNOHANG)
                if pid:
                    self._ended[pid] = status

    def _exchange_last(self, now: float) -> None:
        for name, line in list(self._lines.items()):
            if self._ended.get(line.pid) == 0 and line.is_told:
                line.status = 0
                self._let_go(name)
        self._exchange(now)
        for line in self._lines.values():
            line.hang_up()


class WatchedJournal(Journal):
    """A journal of whose records the monitors hear, too."""

    def __init__(self, folder: Path, identity: Identity, hooks: Hooks, texts: Lines) -> None:
        """Begin the journal.

        Parameters
        ----------
        folder, identity
            Where it is, and who writes it.
        hooks
            The monitors.
        texts
            The texts of all tasks.
        """
        self._hooks = hooks
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

    def note_run(self, kind: str, run: Run) -> None:
        """Add the end of a run; the monitors know its command from its start."""
        super().note_run(kind, run)
        outcome = b"killed" if kind == "killed" else b"finished" if run.is_finished else b"failed"
        seconds = run.ended - run.started
        self._hooks.tell_encoded(
            b'["task_end",%.6f,{"task":%d,"slot":%d,"outcome":"%s","returncode":%d,"seconds":%.6f,"cpu":%.6f,"max_rss":%d}]'
            % (time.time(), run.task.id, run.slot, outcome, run.returncode, seconds, run.cpu, run.max_rss)
        )
