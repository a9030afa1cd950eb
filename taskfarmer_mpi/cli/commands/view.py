"""Show the trace of a work directory in Perfetto, which runs in your browser; nothing is uploaded.

The trace is made anew, and offered on this machine's loopback until the browser has fetched it. On a login node, a tunnel
brings it to your own computer: the command to type there is printed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from taskfarmer_mpi.cli.arguments import add_workdir
from taskfarmer_mpi.cli.output_files import new_output
from taskfarmer_mpi.common.wording import make_printable
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.trace.inputs import READING_PATIENCE, open_reading_lock, read_texts
from taskfarmer_mpi.trace.perfetto_ui import find_ui, opening_state
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.journal_reading import all_journals

if TYPE_CHECKING:
    from taskfarmer_mpi.trace.server import TraceServer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_workdir(parser)
    parser.add_argument("--port", type=_port, default=9001, help="port on the loopback; 0: any (default: 9001)")
    parser.add_argument("--keep", action="store_true", help="go on when the browser has fetched the trace, until Ctrl-C")
    parser.add_argument(
        "--offline",
        action="store_true",
        help="serve the Perfetto UI, too, until Ctrl-C: for a browser without the Internet; needs the extra `view`",
    )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: a number from 0 to 65535")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Make the trace, serve it, and say where."""
    from tempfile import TemporaryDirectory

    workdir = Workdir.existing(arguments.workdir)
    files = find_ui() if arguments.offline else {}
    with TemporaryDirectory(prefix="taskfarmer-view.") as folder:
        trace = Path(folder) / "timeline.json.gz"
        server = _listen(trace, arguments.port, files)
        with server:
            _make(workdir, trace)
            opening = opening_state(len(all_journals(workdir.farmers)))
            print(*_advice(server, opening, is_offline=arguments.offline), sep="\n", flush=True)
            _serve(server, is_endless=arguments.keep or arguments.offline)
    return 0


def _listen(trace: Path, port: int, files: dict[str, Path]) -> TraceServer:
    from taskfarmer_mpi.trace.server import TraceServer  # the other commands need no web server

    try:
        return TraceServer(trace, port, files)
    except OSError as error:
        raise UserError(f"127.0.0.1:{port}: cannot listen: {error.strerror}: give another --port, or 0 for any") from error


def _make(workdir: Workdir, trace: Path) -> None:
    from taskfarmer_mpi.trace.timeline import write_trace

    texts, troubles = read_texts(workdir)
    with new_output(trace, is_forced=False) as temporary:
        troubles += write_trace(workdir, open_reading_lock(workdir), texts, READING_PATIENCE, temporary, is_gzip=True)
    for trouble in troubles:
        print(make_printable(f"taskfarmer-ctl: {trouble}"), file=sys.stderr)


def _advice(server: TraceServer, opening: str, *, is_offline: bool) -> list[str]:
    """Return what a user must know to see the trace."""
    import getpass
    import socket

    from taskfarmer_mpi.trace.server import UI, UI_PORT

    port = server.port if is_offline else UI_PORT
    here = f"http://127.0.0.1:{port}"
    lines = [
        "Open this address in a browser; nothing is uploaded:",
        f"  {here if is_offline else UI}/#!/?url={here}{server.trace_path}&{opening}",
    ]
    where = (
        "If the browser is on another computer" if server.port == port else f"As the UI asks port {port}, wherever you are"
    )
    tunnel = f"{port}:127.0.0.1:{server.port} {getpass.getuser()}@{socket.gethostname()}"
    return [*lines, f"{where}, run this there first, and leave it running:", f"  ssh -N -L {tunnel}"]


def _serve(server: TraceServer, *, is_endless: bool) -> None:
    import threading

    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    print("Ctrl-C ends." if is_endless else "Waiting until the browser has fetched the trace; Ctrl-C ends.", flush=True)
    try:
        server.is_fetched.wait()
        print("The trace was fetched.", flush=True)
        if is_endless:
            thread.join()
    except KeyboardInterrupt:
        print()
    finally:
        server.shutdown()
