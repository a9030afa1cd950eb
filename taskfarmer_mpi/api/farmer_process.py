"""A farmer that this Python started: a process of its own, which stops in order when this one dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress

from taskfarmer_mpi.common.causes import signal_name
from taskfarmer_mpi.common.search_path import own_command
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.status.snapshot import Counts

EXIT_LEFT = 75
"""The exit code of a farmer that was stopped, or could not do all."""
_PROG = "taskfarmer-mpi: "
_ENDINGS = (0, 1, EXIT_LEFT)
"""Exit codes of a farmer that ended in order: all finished; some failed; tasks are left."""


class FarmerError(Exception):
    """A farmer could not begin, died, or broke; its message is what it said last. The tasks are in the work directory."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code
        """Its exit code, or minus the number of the signal that ended it."""


class Ended(Value):
    """What came of a run of a farmer."""

    code: int
    """Its exit code. 0: all tasks finished; 1: some failed; 75: some are left."""
    tasks: Counts
    """Where all tasks of the work directory are."""
    summary: str
    """What it said at its end."""
    messages: str
    """What it said meanwhile: warnings."""


class FarmerProcess:
    """One farmer, or a launcher that starts several."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        """Start it.

        Parameters
        ----------
        command
            Its words.
        environ
            Its environment.

        Raises
        ------
        FarmerError
            If it cannot be started.
        """
        self._output, self._messages = (os.memfd_create(name) for name in ("output", "messages"))
        there, self._here = os.pipe()
        self._mutex = threading.Lock()
        self._said: tuple[str, str] | None = None
        """What it said on stdout and stderr; None before its end."""
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._messages,
                env=environ,
                pass_fds=[there],
                start_new_session=True,  # Ctrl-C is for this process, which then stops the farmer
            )
            _signal_at_death(there, self._process.pid)
        except OSError as error:
            self._collect()
            raise FarmerError(f"{command[0]}: cannot start: {error.strerror}", 2) from error
        finally:
            os.close(there)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return not self.wait(0)

    def stop(self) -> None:
        """Tell it to stop: its running tasks are killed, and go back to the list."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGUSR1)

    def wait(self, patience: float | None = None) -> bool:
        """Wait for its end, at most for some time [s]; return whether it has ended."""
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            return False
        self._collect()
        return True

    def settle(self) -> tuple[int, str, str]:
        """Wait for its end; return exit code, summary and messages.

        Raises
        ------
        FarmerError
            If it did not end in order.
        """
        code = self._process.wait()
        summary, messages = self._collect()
        if code not in _ENDINGS:
            raise FarmerError(_describe(code, messages), code)
        return code, summary, messages

    def _collect(self) -> tuple[str, str]:
        """Read what it said, once it has ended; then nothing is open any more."""
        with self._mutex:
            if self._said is None:
                self._said = _read(self._output), _read(self._messages)
                for fd in (self._here, self._output, self._messages):
                    os.close(fd)
            return self._said


def farmer_command(*options: str) -> list[str]:
    """Return the command of a farmer under this Python."""
    return [*own_command(), *options]


def _signal_at_death(there: int, pid: int) -> None:
    """Have the kernel send a farmer SIGUSR1 when the other end of a pipe is closed, as it is at this process's death.

    The settings belong to the open pipe, of which the farmer has a descriptor. See fcntl(2), F_SETOWN and F_SETSIG.
    """
    fcntl.fcntl(there, fcntl.F_SETOWN, pid)
    fcntl.fcntl(there, fcntl.F_SETSIG, signal.SIGUSR1)
    fcntl.fcntl(there, fcntl.F_SETFL, fcntl.fcntl(there, fcntl.F_GETFL) | os.O_ASYNC)


def _read(fd: int) -> str:
    with open(os.dup(fd), "rb") as file:
        file.seek(0)
        return file.read().decode("utf-8", "replace").strip()


def _describe(code: int, messages: str) -> str:
    if code < 0:
        return f"the farmer was killed by {signal_name(-code)}; run it again: it goes on where it was"
    lines = messages.splitlines()
    complaints = [line.removeprefix(_PROG) for line in lines if line.startswith(_PROG)] or lines
    return complaints[-1] if complaints else f"the farmer ended with exit code {code}"
