"""A web server on this machine's loopback that hands out one trace, and perhaps the files of the Perfetto UI.

It does as Perfetto's own script open_trace_in_ui does: port 9001 is the one that https://ui.perfetto.dev may ask, and only
that page is allowed to read the answer. The name of the trace has a secret part, since other users of a login node reach the
loopback, too.
"""

from __future__ import annotations

import secrets
import shutil
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

UI = "https://ui.perfetto.dev"
UI_PORT = 9001
"""The only port of the loopback that the page at `UI` may ask."""
_NAMES = ("127.0.0.1", "localhost")
"""How a browser may call this machine; the port is another one where a tunnel leads here."""
_TYPES = {
    ".css": "text/css",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
    ".wasm": "application/wasm",
    ".woff2": "font/woff2",
}


class TraceServer(ThreadingHTTPServer):
    """Serves one trace under a path of its own, the files that it was given, and nothing else."""

    daemon_threads = True

    def __init__(self, trace: Path, port: int, files: Mapping[str, Path]) -> None:
        """Begin to listen.

        Parameters
        ----------
        trace
            The file of the trace.
        port
            On which port; 0 for any.
        files
            What else is served, by its path in the address.

        Raises
        ------
        OSError
            If the port is taken or forbidden.
        """
        self.trace_path = f"/{secrets.token_urlsafe(12)}/{trace.name}"
        self.files = {**files, self.trace_path: trace}
        self.is_fetched = threading.Event()
        """Set once somebody has got the whole trace."""
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """Leave browsers alone that go away in the middle of an answer."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    server: TraceServer
    timeout = 60
    """How long a silent connection is kept [s]."""

    def parse_request(self) -> bool:
        """Refuse what a page of another origin asks under a name that it has had point to this machine."""
        if not super().parse_request():
            return False
        if self.headers.get("Host", "").partition(":")[0] not in _NAMES:
            self.send_error(421)
            return False
        return True

    def do_GET(self) -> None:
        if self._begin():
            with self._path.open("rb") as file:
                shutil.copyfileobj(file, self.wfile)
            if self._is_trace:
                self.server.is_fetched.set()

    def do_HEAD(self) -> None:
        self._begin()

    def do_OPTIONS(self) -> None:
        self.send_response(204)
        self._allow_ui()
        self.send_header("Access-Control-Allow-Methods", "GET")
        self.send_header("Access-Control-Allow-Private-Network", "true")
        self.end_headers()

    def _begin(self) -> bool:
        """Send the head of the answer; return whether there is a file to send."""
        name = urlsplit(self.path).path
        path = self.server.files.get(name)  # names are looked up, never joined: there is no way to another file
        if path is None:
            self.send_error(404)
            return False
        self._path = path
        self._is_trace = name == self.server.trace_path
        self.send_response(200)
        self.send_header("Content-Type", _TYPES.get(path.suffix, "application/octet-stream"))
        self.send_header("Content-Length", str(path.stat().st_size))
        self.send_header("Cache-Control", "no-cache")
        if self._is_trace:
            self._allow_ui()
        self.end_headers()
        return True

    def _allow_ui(self) -> None:
        self.send_header("Access-Control-Allow-Origin", UI)
        self.send_header("Vary", "Origin")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: the name of the trace is a secret."""
