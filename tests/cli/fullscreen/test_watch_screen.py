"""The full-screen form of `taskfarmer-ctl watch`, driven by textual's pilot on farms that are made by hand."""

import asyncio
import re
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from bigfarm import Shape, write_farm
from fakes import Hand, make_farm
from helpers import Site, is_ci, wait_for
from terminal import on_terminal

from taskfarmer_mpi.cli.fullscreen.errands import run_errand
from taskfarmer_mpi.cli.fullscreen.rows import SHOWN
from taskfarmer_mpi.common.programs import AskError
from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.status.observer import Observer
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.lists import ids_in

try:
    from textual.pilot import Pilot
    from textual.widgets import RichLog, Static

    from taskfarmer_mpi.cli.fullscreen.application import WatchApp
    from taskfarmer_mpi.cli.fullscreen.log_view import LogView
    from taskfarmer_mpi.cli.fullscreen.table import TaskTable
except ImportError:
    if is_ci():
        raise
    pytest.skip("textual is not installed", allow_module_level=True)

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")

EVIL = "echo \x1b]0;title\x07 [red]x[/red] [@click=app.bell]y[/] \x9b31m \u202e"


def _farm(folder: Path) -> tuple[Farm, Hand]:
    """Return a farm at whose tasks 0 to 2 a farmer is at work, of which 3 and 4 failed, and 5 and 6 are to do."""
    farm = make_farm(folder, ["sleep 1", EVIL, "sleep 3", "false", EVIL, "true", "true"])
    hand = Hand(farm, "busy")
    hand.note("taken", ids=[0, 1, 2, 3, 4])
    for task in (3, 4):
        hand.note("begin", id=task, slot=0)
        hand.end(task, 2)
    hand.note("recorded")
    for task in (0, 1, 2):
        hand.note("begin", id=task, slot=task)
    farm.workdir.failed.write_text(f"3 false\n4 {EVIL}\n")
    farm.workdir.toprocess.write_text("6 true\n5 true\n")
    farm.workdir.log(3).write_text("begin\nwhat went wrong\n")
    farm.workdir.log(4).write_text("\x1b[2J\x1b]0;evil\x07[bold]last[/bold] line\n")
    farm.workdir.log(0).write_text("".join(f"line {number}\n" for number in range(30)))
    return farm, hand


def _drive(farm: Farm, act: Callable[[WatchApp, "Pilot[None]"], Awaitable[None]], size: tuple[int, int] = (80, 30)) -> None:
    """Run the view on a farm, and do something with it as soon as it has shown the farm."""

    async def run() -> None:
        app = WatchApp(farm.workdir, 3600.0, 50)
        async with app.run_test(size=size) as pilot:
            await _until(pilot, lambda: bool(_table(app, "failed").row_count), "the first look")
            await act(app, pilot)

    asyncio.run(run())


async def _until(pilot: "Pilot[None]", is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, f"no {what}"
        await pilot.pause(0.02)
    await pilot.pause()


def _table(app: WatchApp, name: str) -> TaskTable:
    return app.screen_stack[0].query_one(f"#{name}", TaskTable)


def _text(app: WatchApp) -> str:
    """Return what is on the screen."""
    width, height = app.size
    strips = [app.screen._compositor.render_strips()[row] for row in range(height)]
    lines = ["".join(segment.text for segment in strip) for strip in strips]
    assert {len(line) for line in lines} <= {width}
    return "\n".join(lines)


def test_the_farm_is_on_one_screen_of_80_columns(tmp_path: Path) -> None:
    farm, _ = _farm(tmp_path)

    async def look(app: WatchApp, pilot: "Pilot[None]") -> None:
        text = _text(app)
        assert "7 tasks, 28 % done" in text
        assert "2 failed, 3 running" in text
        assert re.search(r"alive +\S+ +0/1 +3/\d", text)
        assert "running (3)" in text
        assert "failed (2)" in text
        assert re.search(r"3 +exit code 2 .* what went wrong", text)
        for key in ("quit", "log", "retry", "cancel", "drain", "stop"):
            assert key in text.splitlines()[-1]
        await pilot.press("tab", "down")
        assert "what went wrong" in str(app.query_one("#detail", Static).render())

    _drive(farm, look)


def test_nothing_that_a_terminal_obeys_and_no_markup_comes_from_commands_and_logs(tmp_path: Path) -> None:
    farm, _ = _farm(tmp_path)

    async def look(app: WatchApp, pilot: "Pilot[None]") -> None:
        for keys in ((), ("down",), ("tab",), ("l",)):
            await pilot.press(*keys)
            await pilot.pause()
            text = _text(app)
            assert [char for char in text if not char.isprintable() and char != "\n"] == []
        assert isinstance(app.screen, LogView)
        assert "[bold]last[/bold] line" in text
        await pilot.press("escape")
        text = _text(app)
        assert "[red]x[/red] [@click=app.bell]y[/]" in text
        assert "\\x1b]0;title\\x07" in text

    _drive(farm, look, (120, 40))


def test_a_log_is_followed_and_only_its_last_part_is_read(tmp_path: Path) -> None:
    farm, _ = _farm(tmp_path)
    log = farm.workdir.log(0)
    log.write_bytes(b"x" * 200_000 + b"\nlast line\n")

    async def follow(app: WatchApp, pilot: "Pilot[None]") -> None:
        await pilot.press("l")
        assert isinstance(app.screen, LogView)
        shown = app.screen.query_one(RichLog)
        await _until(pilot, lambda: len(shown.lines) >= 2, "log")
        assert shown.lines[-1].text.rstrip() == "last line"
        assert sum(len(line.text) for line in shown.lines) < 70_000
        with log.open("ab") as file:
            file.write(b"more\n\x1b[2Jlines\n")
        await _until(pilot, lambda: shown.lines[-1].text.rstrip() == "\\x1b[2Jlines", "new lines")
        await pilot.press("q")
        assert not isinstance(app.screen, LogView)

    _drive(farm, follow)


def test_a_key_retries_the_chosen_failed_task_and_says_so(tmp_path: Path) -> None:
    farm, _ = _farm(tmp_path)

    async def retry(app: WatchApp, pilot: "Pilot[None]") -> None:
        await pilot.press("r")
        await pilot.pause()
        assert set(ids_in(farm.workdir.failed.read_bytes())) == {3, 4}
        await pilot.press("tab", "down", "r")
        await _until(pilot, lambda: set(ids_in(farm.workdir.failed.read_bytes())) == {4}, "retry")
        await _until(
            pilot, lambda: any("back on the list: 1 task: 3" in note.message for note in app._notifications), "word"
        )

    _drive(farm, retry)
    assert set(ids_in(farm.workdir.toprocess.read_bytes())) == {3, 5, 6}


@pytest.mark.parametrize("is_meant", [False, True])
def test_cancel_and_stop_ask_before_they_do_anything(is_meant: bool, tmp_path: Path) -> None:
    farm, _ = _farm(tmp_path)

    async def cancel(app: WatchApp, pilot: "Pilot[None]") -> None:
        await pilot.press("c")
        await pilot.pause()
        assert "End task 0?" in _text(app)
        assert not farm.workdir.cancels.exists()
        await pilot.press("y" if is_meant else "n")
        if is_meant:
            await _until(pilot, farm.workdir.cancels.exists, "request to cancel")
        await pilot.press("s")
        await pilot.pause()
        assert "Stop all farmers?" in _text(app)
        await pilot.press("y" if is_meant else "escape")
        if is_meant:
            await _until(pilot, farm.workdir.stop_request.exists, "request to stop")
        await app.workers.wait_for_complete()

    _drive(farm, cancel)
    assert farm.workdir.cancels.exists() == farm.workdir.stop_request.exists() == is_meant


def test_a_redraw_makes_the_lines_of_the_screen_only_and_the_cursor_stays_with_its_row(tmp_path: Path) -> None:
    farm, _ = _farm(tmp_path)
    status = Observer(farm.workdir).look(50)
    run = status.running[0]
    runs = [replace(run, task=task, begin=status.time - 60) for task in range(5000)]

    async def redraw(app: WatchApp, pilot: "Pilot[None]") -> None:
        table = _table(app, "running")
        app.show(replace(status, running=runs))
        await pilot.press(*["down"] * 7)
        await pilot.pause()
        assert table.row_count == SHOWN
        assert "running (5,000, 200 shown)" in _text(app)
        assert table.chosen is not None
        assert table.chosen.task == 7
        before = table.made
        for step in range(20):
            app.show(replace(status, running=runs[step % 7 :]))
            await pilot.pause()
        assert 20 <= table.made - before <= 3 * 20 * app.size.height
        assert table.chosen.task == 7
        await pilot.press("end")
        assert table.chosen.task == SHOWN + 4
        await pilot.pause()
        assert f"{SHOWN + 4} " in _text(app)

    _drive(farm, redraw)


def test_a_big_farm_is_shown(tmp_path: Path) -> None:
    farm, _ = _farm(tmp_path)
    big = Observer(Workdir(write_farm(tmp_path, Shape(tasks=20_000, done=0.5, failing=0.01)))).look(50)

    async def show(app: WatchApp, pilot: "Pilot[None]") -> None:
        app.show(big)
        await pilot.pause()
        text = _text(app)
        assert "20,000 tasks, 50 % done" in text
        assert _table(app, "failed").row_count == 50
        assert _table(app, "farmers").row_count == 5

    _drive(farm, show)


@pytest.mark.parametrize("size", [(20, 5), (200, 60)])
def test_any_size_of_the_screen_will_do(size: tuple[int, int], tmp_path: Path) -> None:
    farm, _ = _farm(tmp_path)

    async def look(app: WatchApp, pilot: "Pilot[None]") -> None:
        await pilot.press("tab", "down", "tab")
        assert len(_text(app).splitlines()) == size[1]

    _drive(farm, look, size)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("back on the list: 1 task: 3\n", (True, "back on the list: 1 task: 3")),
        ("", (True, "retry")),
        (AskError("/usr/bin/python: exit code 75"), (True, "retry: farmers were told, and do it as soon as they can")),
        (AskError("/usr/bin/python: taskfarmer-ctl: x: closed"), (False, "taskfarmer-ctl: x: closed")),
    ],
)
def test_an_errand_says_what_its_command_says(answer: str | AskError, outcome: tuple[bool, str]) -> None:
    asked = []

    def run(*words: str, limit: float) -> str:
        asked.append((words[1:], limit))
        if isinstance(answer, AskError):
            raise answer
        return answer

    assert run_errand("/w", "retry", "3", run=run) == outcome
    assert asked == [(("-m", "taskfarmer_mpi.ctl", "retry", "/w", "3"), 60.0)]


def _watch_on_terminal(site: Site, workdir: Path, *options: str, keys: bytes = b"") -> bytes:
    """Run `watch` on a terminal of 80 columns, press keys once it shows something; return all that it writes."""
    environ = site.environ(TERM="xterm", COLUMNS="80", LINES="24") | {"TEXTUAL_ANIMATIONS": "none"}
    with on_terminal(site, [*CTL, "watch", *options, str(workdir)], environ) as terminal:
        wait_for(lambda: b"tasks" in terminal.read(), deadline=60, what="a picture")
        terminal.press(keys)
        wait_for(lambda: (terminal.read(), not terminal.process.is_running())[1], deadline=60, what="the end")
        terminal.process.succeed(10)
        return terminal.read()


def test_on_a_terminal_the_screen_is_filled_and_given_back_and_plain_is_an_option(site: Site) -> None:
    farm = make_farm(site.path, ["true", "true"])
    farm.workdir.finished.write_text("0 true\n1 true\n")
    farm.workdir.toprocess.write_text("")
    shown = _watch_on_terminal(site, farm.workdir.path, keys=b"q")
    assert b"\x1b[?1049h" in shown
    assert b"\x1b[?1049l" in shown
    shown = _watch_on_terminal(site, farm.workdir.path, "--plain")
    assert b"\x1b[?1049h" not in shown
    assert b"2 tasks, 100 % done" in shown
