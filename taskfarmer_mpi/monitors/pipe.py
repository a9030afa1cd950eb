"""The way to one monitor's process and back; the farmer never waits for it."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.search_path import own_program
from taskfarmer_mpi.monitors import process

log = Log(__name__)

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

_ALL_SIGNALS = [number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)]


class MonitorPipe:
    """The way to one monitor and back."""

    def __init__(self, name: str, opening: bytes, environ: Mapping[str, str], born: float) -> None:
        """Start the monitor's process.

        Parameters
        ----------
        name
            The monitor's name, for messages.
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
        self._name = name
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
                [*own_program("taskfarmer_mpi.monitors.process"), str(number)],
                environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, null, 0),
                    (os.POSIX_SPAWN_DUP2, target, 1),
                    (os.POSIX_SPAWN_DUP2, target, 2),
                    (os.POSIX_SPAWN_DUP2, source, number),  # at last: the others may have this number
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
        if line == process.READY:
            self._is_ready = True
        elif line.startswith(process.REASON):
            self._last_words = line.removeprefix(process.REASON)
        elif line.startswith("Timeout ("):  # by faulthandler
            self._last_words = f"it took more than {process.EVENT_LIMIT:g} s over an event"
        else:
            log.info("monitor %s: %s", self._name, line)

    def trouble(self) -> str | None:
        """Return why this monitor is to be switched off, if so."""
        if self.status is not None:
            code = os.waitstatus_to_exitcode(self.status)
            how = f"killed by signal {-code}" if code < 0 else f"it ended with exit code {code}"
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
