"""Signals: a handler records, the loop decides, the old handlers come back."""

from __future__ import annotations

import math
import os
import select
import signal
from types import FrameType, TracebackType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

STOP_SIGNALS = (signal.SIGUSR1, signal.SIGINT, signal.SIGTERM)
DRAIN_SIGNAL = signal.SIGUSR2


class SignalReceiver:
    """Records signals while it is entered, and lets a loop sleep until one comes."""

    def __init__(self) -> None:
        self.stops: list[signal.Signals] = []
        """The stop signals that came, in their order."""
        self.is_draining = False
        """Whether the signal came that says to start nothing more."""
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)
        self._poll = select.poll()  # select() takes no descriptor above 1023, and a parent can leave that many open
        self._poll.register(self._read_end, select.POLLIN)
        self._old_wakeup = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            self._old[number] = signal.signal(number, self._record)
        self._old[DRAIN_SIGNAL] = signal.signal(DRAIN_SIGNAL, self._drain)
        self._old[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, _ignore)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._old_wakeup)
        for number, handler in self._old.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        os.close(self._read_end)
        os.close(self._write_end)

    def wait(self, timeout: float) -> None:
        """Sleep until a signal comes, also that a child ended, or the time [s] is over."""
        if self._poll.poll(math.ceil(max(timeout, 0.0) * 1000)):
            os.read(self._read_end, 4096)

    def _record(self, number: int, _frame: FrameType | None) -> None:
        self.stops.append(signal.Signals(number))

    def _drain(self, _number: int, _frame: FrameType | None) -> None:
        self.is_draining = True


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the signal's use is to end a sleep."""
