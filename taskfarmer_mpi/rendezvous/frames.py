"""Python objects, one after the other, through a socket between two processes of one farmer; nothing here waits."""

from __future__ import annotations

import math
import pickle
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

_HEAD = struct.Struct("=Q")
"""Length of the frame that follows [bytes]."""
_BLOCK = 1 << 18


class Frames:
    """One end of the socket."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        end.setblocking(False)
        self._in = bytearray()
        self._out = bytearray()
        self.is_closed = False
        """Whether the other end is gone."""

    @property
    def is_flushed(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._out

    def put(self, frame: object) -> None:
        """Send an object, as far as the socket takes it now; `flush` sends the rest."""
        data = pickle.dumps(frame)
        self._out += _HEAD.pack(len(data)) + data
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it now."""
        try:
            while self._out:
                del self._out[: self._socket.send(self._out[:_BLOCK])]
        except BlockingIOError:
            return
        except OSError:  # the other end is gone
            self._out.clear()
            self.is_closed = True

    def take(self) -> Iterator[Any]:
        """Yield the objects that have come."""
        self.flush()
        with suppress(BlockingIOError):
            self._read()
        while len(self._in) >= _HEAD.size and len(self._in) >= (end := _HEAD.size + _HEAD.unpack_from(self._in)[0]):
            frame = bytes(self._in[_HEAD.size : end])
            del self._in[:end]
            yield pickle.loads(frame)  # noqa: S301  of this program's own child, through a socket without a name

    def _read(self) -> None:
        while not self.is_closed:
            try:
                data = self._socket.recv(_BLOCK)
            except ConnectionError:
                data = b""
            self._in += data
            self.is_closed = not data

    def wait(self, timeout: float) -> None:
        """Sleep until something comes, or the time [s] is over."""
        poll = select.poll()  # select() takes no descriptor above 1023
        poll.register(self._socket, select.POLLIN)
        poll.poll(math.ceil(timeout * 1000))

    def close(self) -> None:
        """Close this end."""
        self._socket.close()
