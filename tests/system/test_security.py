"""A hostile neighbour: links and files planted in shared places, foreign directories, texts that a terminal would obey."""

from __future__ import annotations

import ast
import http.client
import os
import pty
import re
import select
import shlex
import shutil
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import skip_or_fail
from fakes import Hand, make_farm
from helpers import Site, settled

import taskfarmer_mpi
from taskfarmer_mpi.trace.server import TraceServer
from taskfarmer_mpi.upkeep.recovery import recover
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.lock_files import lock_paths

NEIGHBOUR = 54321
"""A user that this machine has not."""
CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")
FARM = (sys.executable, "-m", "taskfarmer_mpi")
HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202etxt.exe\u2066</script><script>alert(1)</script><img src=x onerror=a>'\"&"


@pytest.fixture
def root() -> None:
    """Skip where no other user can be played."""
    if os.geteuid() != 0:
        skip_or_fail("only root can give files to other users")


def _given_away(path: Path) -> Path:
    os.chown(path, NEIGHBOUR, NEIGHBOUR, follow_symlinks=False)
    return path


def _shared_place(site: Site) -> Path:
    """Return a directory like /tmp, and let the farm's locks be there."""
    folder = site.path / "scratch"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


# -- lock files in shared directories ---------------------------------------------------------------


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("kind", ["link", "foreign file", "directory", "pipe"])
def test_what_a_neighbour_planted_in_the_place_of_the_lock_is_refused_and_untouched(site: Site, kind: str) -> None:
    scratch = _shared_place(site)
    victim = site.path / "victim"
    victim.write_text("precious")
    tasklist = site.tasklist(["true"])
    lock = lock_paths(Workdir(f"{tasklist}_workdir"), {"SCRATCH": str(scratch)})[0]
    match kind:
        case "link":
            lock.symlink_to(victim)
        case "foreign file":
            lock.touch()
            lock.chmod(0o666)
        case "directory":
            lock.mkdir()
        case "pipe":
            os.mkfifo(lock)
    _given_away(lock)
    process = site.farm(tasklist, environ=site.environ(SCRATCH=str(scratch)))
    process.succeed(30, code=2)
    assert re.search(rf"{lock}: (a link|no file|the lock file belongs to user 54321)", process.stderr), process.stderr
    assert len(process.stderr.splitlines()) == 1
    assert victim.read_text() == "precious"


def test_lock_files_in_a_shared_directory_are_this_users_alone(site: Site) -> None:
    scratch = _shared_place(site)
    site.farm(
        site.tasklist(["sleep 0.01", f"stat -c %a {scratch}/* > modes"]), environ=site.environ(SCRATCH=str(scratch))
    ).succeed(30)
    modes = (site.path / "modes").read_text().split()
    assert len(modes) >= 3, "the lock and two life locks"
    assert set(modes) == {"600"}


# -- work directories of others ---------------------------------------------------------------------


def _foreign(site: Site, mode: int = 0o755) -> Path:
    tasklist = site.tasklist(["true", "false"])
    site.farm(tasklist, "-n", "1").succeed(30, code=1)
    workdir = Path(f"{tasklist}_workdir")
    for path in (workdir, *workdir.rglob("*")):
        _given_away(path)
    workdir.chmod(mode)
    return workdir


@pytest.mark.usefixtures("root")
def test_a_work_directory_of_another_user_is_refused_unless_it_is_meant(site: Site) -> None:
    workdir = _foreign(site)
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    commands = [("retry",), ("add", "true"), ("stop",), ("reclaim",)]
    refused = [site.farm("--workdir", workdir)]
    refused += [site.start(*CTL, name, workdir, *more) for name, *more in commands]
    refused.append(site.start(*CTL, "check", "--workdir", workdir))
    for process in refused:
        process.succeed(30, code=2)
        assert "belongs to user 54321: they can have commands run as you; --shared works there" in process.stderr
        assert len(process.stderr.splitlines()) == 1
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*")} == before
    site.start(*CTL, "status", workdir).succeed(30)
    site.start(*CTL, "retry", "--shared", workdir).succeed(30)
    site.farm("--workdir", workdir, "--shared").succeed(30, code=1)
    assert list(settled(workdir, ["true", "false"]).failed) == [1]


def test_a_work_directory_that_everybody_can_write_to_is_refused(site: Site) -> None:
    tasklist = site.tasklist(["true"])
    workdir = Path(f"{tasklist}_workdir")
    workdir.mkdir()
    workdir.chmod(0o777)
    process = site.farm(tasklist)
    process.succeed(30, code=2)
    assert f"{workdir}: everybody can write there: chmod o-w {workdir}" in process.stderr
    assert list(workdir.iterdir()) == []
    site.farm(tasklist, "--shared").succeed(30)


@pytest.mark.usefixtures("root")
def test_an_ini_file_of_another_user_is_not_loaded(site: Site) -> None:
    (site.path / "their.ini").write_text("[fast]\nRunner = evil.Runner\n")
    _given_away(site.path / "their.ini")
    (site.path / "evil.py").write_text(f"open('{site.path}/ran', 'w')\nclass Runner: ...\n")
    tasklist = site.tasklist(["true"])
    process = site.farm(tasklist, "-r", "fast", environ=site.environ(PYTHONPATH=str(site.path)))
    process.succeed(30, code=2)
    assert "their.ini: belongs to another user" in process.stderr
    site.farm(tasklist, environ=site.environ(PYTHONPATH=str(site.path))).succeed(30)
    assert not (site.path / "ran").exists()


# -- nothing leaves the work directory --------------------------------------------------------------

_FILES = ["toprocess", "finished", "failed", "farm.ini", "tasks.added", "stop", "agreement"]


@pytest.mark.parametrize("name", [*_FILES, "timeline.json", "logs/log_0", "farmers/x.journal", "farmers/x.closed", "lock"])
def test_a_link_in_the_work_directory_leads_nowhere(site: Site, name: str) -> None:
    victim = site.path / "bashrc"
    victim.write_text("0 precious\n")
    victim.chmod(0o640)
    tasklist = site.tasklist(["echo hello", "false"])
    workdir = Workdir(f"{tasklist}_workdir")
    workdir.create()
    (workdir.path / name).symlink_to(victim)
    farm = site.farm(tasklist, "-n", "2", "--lock-timeout", "2")
    farm.wait(60)
    for command in ("status", "trace", "report", "retry", "stop"):
        site.start(*CTL, command, workdir.path).wait(60)
    said = "".join(process.stderr for process in site.processes)
    assert "Traceback" not in said
    assert (victim.read_text(), stat.S_IMODE(victim.stat().st_mode)) == ("0 precious\n", 0o640)
    assert "precious" not in said


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("name", ["logs", "farmers", "jobs"])
def test_a_neighbours_link_in_the_place_of_a_folder_is_refused(site: Site, name: str) -> None:
    home = site.path / "home"
    (home / "thesis").mkdir(parents=True)
    (home / "thesis" / "chapter").write_text("precious")
    tasklist = site.tasklist(["echo hello"])
    workdir = Workdir(f"{tasklist}_workdir")
    workdir.create()
    folder = workdir.path / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.symlink_to(home)
    _given_away(folder)
    process = site.farm(tasklist)
    process.succeed(30, code=2)
    assert f"{folder}: a link that user 54321 has made, not a folder: remove it" in process.stderr
    assert [path.name for path in home.rglob("*")] == ["thesis", "chapter"]


@pytest.mark.parametrize("name", [*_FILES, "timeline.json", "logs/log_0", "farmers/x.journal", "lock"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(site: Site, name: str) -> None:
    tasklist = site.tasklist(["true"])
    workdir = Workdir(f"{tasklist}_workdir")
    workdir.create()
    os.mkfifo(workdir.path / name)
    processes = [site.farm(tasklist, "--lock-timeout", "2")]
    processes += [site.start(*CTL, command, workdir.path) for command in ("status", "trace", "report")]
    for process in processes:
        process.wait(60)
        assert "Traceback" not in process.stderr


def test_a_journal_that_names_a_foreign_lock_file_has_nobody_remove_it(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["true"])
    hand = Hand(farm, "dead")
    victim = tmp_path / "victim"
    victim.write_text("precious")
    text = (
        hand.journal.path.read_text()
        .replace(str(hand.life.path), str(victim))
        .replace(str(hand.task_lock.path), str(victim))
    )
    hand.journal.path.write_text(text)
    hand.die()
    assert "names lock files that are not its own" in recover(farm, (), 1.0).waiting[0]
    assert victim.read_text() == "precious"


_FOLLOWED = (
    *(
        "cli",
        "machine",
        "rendezvous",
        "runners",
        "tasklists",
        "common/filesystems.py",
        "common/search_path.py",
        "trace/timeline.py",
        "trace/server.py",
    ),
    *(
        "ordering/durations.py",
        "status/tables.py",
        "farmer/guard.py",
        "monitors/pipe.py",
        "upkeep/added_tasks.py",
        "job/ranks.py",
    ),
)
"""Where files are opened that are a user's, the kernel's, or have a name that nobody else can guess; and folders."""


def test_no_file_in_a_shared_directory_is_opened_through_a_link() -> None:
    root = Path(taskfarmer_mpi.__file__).parent
    found = [
        f"{path.relative_to(root)}: {ast.unparse(call)}"
        for path in sorted(root.rglob("*.py"))
        if not str(path.relative_to(root)).startswith(_FOLLOWED)
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and _follows(ast.unparse(call.func), ast.unparse(call))
    ]
    assert found == []


def _follows(function: str, call: str) -> bool:
    """Whether a call opens a file by its name, and would go where a link leads."""
    if function == "os.open":
        return not re.search(r"O_NOFOLLOW|_SAFE|O_DIRECTORY|os\.devnull|O_PATH", call)
    if function == "open":
        return not re.match(r"open\((fd|open_file\(|os\.open\(|os\.dup\(|f?'/proc)", call)
    return function.rpartition(".")[2] in ("read_text", "read_bytes", "write_text", "write_bytes") and "/proc" not in call


# -- the terminal, the page, the web server ---------------------------------------------------------

_OWN = re.compile(r"\x1b\[(?:[0-9;]*m|K|H|J|2K|\?25[lh]|\?7[lh]|\d*[ABCDG]|\?2026[hl])")
"""What our own output has a terminal do: colours, and moving about in a drawing."""


def _unsafe(text: str) -> str:
    """Return what of an output a terminal would obey, or would show in another order, but for what is ours."""
    return "".join(char for char in _OWN.sub("", text) if not (char.isprintable() or char in "\n\r")) + "".join(
        re.findall("\r(?!\n)[^\x1b\n]*txt.exe", text)
    )


def _hostile_farm(site: Site) -> Workdir:
    """Return a work directory with hostile texts wherever another user could put them."""
    text = HOSTILE.replace("\r", "")
    tasks = [f"printf '%s\\n' {shlex.quote(text)} >&2; false # {text}", "true", f"sleep 0 # {text}"]
    tasklist = site.tasklist(tasks, f"tasks{HOSTILE}".replace("/", "_"))
    process = site.farm("-v", "2", "-n", "1", tasklist, environ=site.environ(SLURMD_NODENAME=HOSTILE))
    process.succeed(60, code=1)
    workdir = Workdir(f"{tasklist}_workdir")
    journal = next(workdir.farmers.glob("*.closed"))
    text = journal.read_text()
    for name in ("job", "host"):
        text = text.replace(f'"{name}":"', f'"{name}":"\\u001b[31m\\u202e\\u0085')
    (workdir.farmers / "\x1b[31m\u202e.journal").write_text(text)
    (workdir.farmers / "\x1b[32m\u202e.journal").write_text("{}\n")
    workdir.log(0).write_text(f"last {HOSTILE}\n")
    return workdir


@pytest.fixture
def hostile(site: Site) -> Workdir:
    return _hostile_farm(site)


def test_no_output_has_a_terminal_obey_what_others_wrote(site: Site, hostile: Workdir) -> None:
    commands: list[list[str | Path]] = [
        ["status"], ["trace"], ["report", "-o", site.path / "r.html"], ["doctor"], ["doctor", "--json"], ["show", "0"],
        ["retry"], ["stop", "--wait", "0"], ["add", "x"], ["export", "--joblog", site.path / "log"],
    ]  # fmt: skip
    for name, *more in commands:
        site.start(*CTL, str(name), hostile.path, *more).wait(60)
    site.start(
        *CTL, "check", "--workdir", hostile.path, "--show", "9", "--environment", environ=site.environ(EVIL=HOSTILE)
    ).wait(60)
    site.farm("--workdir", hostile.path, "--progress", "lines", "--reclaim", "--lock-timeout", "1").wait(60)
    site.start(*CTL, "repair", hostile.path).wait(60)
    hostile.finished.write_bytes(HOSTILE.encode() + b"\n")
    for option in ((), ("--apply",)):
        site.start(*CTL, "repair", hostile.path, *option).wait(60)
    hostile.finished.write_bytes(HOSTILE.encode() + b"\n")
    site.farm("--workdir", hostile.path, "--lock-timeout", "1").wait(60)
    site.farm(site.path / HOSTILE.replace("/", "_")).wait(60)
    for process in site.processes:
        assert "Traceback" not in process.stderr
        assert _unsafe(process.stdout) + _unsafe(process.stderr) == "", process.said()


def test_no_drawing_on_a_terminal_obeys_what_others_wrote(site: Site, hostile: Workdir) -> None:
    farm = [*FARM, "--lock-timeout", "1", "--workdir", hostile.path]
    for arguments in ([*CTL, "status", hostile.path], [*CTL, "watch", "--plain", hostile.path], farm):
        shown = _on_terminal([*map(str, arguments)], site)
        assert shown
        assert _unsafe(shown) == "", repr(shown)


def _on_terminal(arguments: list[str], site: Site) -> str:
    """Run a program on a terminal, one that goes on until its first picture; return what it had it show."""
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(site.path)
        os.environ["TERM"] = "xterm-256color"
        os.execv(arguments[0], arguments)
    shown, end = b"", time.monotonic() + 60
    with suppress(OSError):
        while select.select([fd], [], [], max(0.0, end - time.monotonic()))[0] and (data := os.read(fd, 65536)):
            shown += data
            if "watch" in arguments and b"\x1b[J" in shown:
                os.kill(pid, signal.SIGINT)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)  # if it did not end in time
    os.close(fd)
    os.waitpid(pid, 0)
    return shown.decode(errors="replace").replace("\r\n", "\n")


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_report_escapes_what_others_wrote(site: Site, hostile: Workdir) -> None:
    page = site.path / "page.html"
    site.start(*CTL, "report", hostile.path, "-o", page).succeed(60)
    text = page.read_text()
    parser = _Elements()
    parser.feed(text)
    assert "alert(1)" in text, "the hostile texts are shown"
    assert "img" not in {tag for tag, _ in parser.found}
    assert [name for _, attributes in parser.found for name in attributes if name.startswith("on")] == []
    assert "<script>alert(1)" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TraceServer]:
    (tmp_path / "timeline.json").write_text("[]")
    server = TraceServer(tmp_path / "timeline.json", 0, {})
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with server:
        yield server
        server.shutdown()
        thread.join(60)


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("127.0.0.1:9001", 200),
        ("localhost", 200),
        ("evil.example:9001", 421),
        ("127.0.0.1.evil.example", 421),
        ("[::1", 421),
        ("", 421),
        ("localhost.evil.example", 421),
    ],
)
def test_a_page_that_has_its_name_point_to_this_machine_gets_nothing(server: TraceServer, host: str, code: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.putrequest("GET", server.trace_path, skip_host=True)
    connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, answer.read() == b"[]") == (code, code == 200)
    connection.close()
