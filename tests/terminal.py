"""A program on a terminal of its own: what it shows, and keys for it."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from helpers import Process, Site


class Terminal:
    """A terminal with a program on it."""

    def __init__(self, master: int, process: Process) -> None:
        self.process = process
        self._master, self._shown = master, b""

    def read(self) -> bytes:
        """Return all that was shown so far."""
        try:
            while True:
                self._shown += os.read(self._master, 1 << 20)
        except BlockingIOError:
            return self._shown

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._master, keys)


@contextmanager
def on_terminal(site: Site, command: Sequence[str], environ: dict[str, str]) -> Iterator[Terminal]:
    """Start a program on a terminal, which is closed at the end."""
    master, slave = pty.openpty()
    name = os.ttyname(slave)
    process = site.start("sh", "-c", f'exec "$@" <{name} >{name} 2>&1', "sh", *command, environ=environ)
    os.set_blocking(master, False)
    try:
        yield Terminal(master, process)
    finally:
        os.close(slave)
        os.close(master)
