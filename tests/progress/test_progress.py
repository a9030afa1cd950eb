"""Progress: what is counted, when lines are due, and what appears on terminals and in files."""

from __future__ import annotations

import io
import logging
import os
import pty
import re
import sys
import termios
import threading
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest
from fakes import Clock, Hand, make_farm
from helpers import BIN, ROOT, Site, settled, wait_for

from taskfarmer_mpi.common.log import output
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.job.coordination import Coordinator
from taskfarmer_mpi.progress import counting
from taskfarmer_mpi.progress.bar import Bar
from taskfarmer_mpi.progress.counting import Counter, PatternCounts
from taskfarmer_mpi.progress.display import Display, choose_display
from taskfarmer_mpi.progress.rates import Count, LineSchedule, RateMeter, format_line, format_rate, format_span
from taskfarmer_mpi.workdir import growing_file

_QUICK = """\
import sys
from taskfarmer_mpi.progress import display
from taskfarmer_mpi.progress import rates
rates.QUIET = rates.TENTH_GAP = 0.2
display.LINES_INTERVAL = display.BAR_INTERVAL = 0.1
display.COST_FACTOR = 1.0
from taskfarmer_mpi.cli.main import main
main()
"""
"""A farmer that does not wait for a minute before it says something."""

_LINE = re.compile(
    r"\d\d:\d\d:\d\d(?: rank (\d+):)? (\d+) of 30 tasks done \(\d+ %\), (\d+) failed, (\d+) running, [\d.]+/\w+,"
    r" 0:00:\d\d elapsed, about \S+ left"
)


# -- when a line is due ---------------------------------------------------------------------------


def _lines(seconds: float, share_at: Mapping[int, float] | float) -> list[int]:
    """Return when lines appear in a run that is looked at each second [s]."""
    schedule = LineSchedule(0.0, 0.0)
    share = 0.0
    shown = []
    for moment in range(1, int(seconds) + 1):
        share = moment * share_at if isinstance(share_at, float) else share_at.get(moment, share)
        if schedule.is_due(float(moment), share):
            shown.append(moment)
    return shown


def test_a_short_run_shows_no_line() -> None:
    assert _lines(4, 1 / 4) == []


def test_a_line_after_five_seconds_shows_that_all_is_well() -> None:
    assert _lines(29, 1 / 29) == [5]


def test_a_run_in_which_little_is_done_shows_a_line_each_minute() -> None:
    assert _lines(300, 0.0001) == [5, 60, 120, 180, 240, 300]


def test_each_tenth_shows_a_line() -> None:
    assert _lines(400, 1 / 400) == [5, 40, 80, 120, 160, 200, 240, 280, 320, 360, 400]


def test_tenths_that_follow_each_other_closely_share_a_line() -> None:
    assert _lines(60, 1 / 60) == [5, 30, 45, 60]


def test_a_tenth_that_was_held_back_is_shown_later() -> None:
    assert _lines(60, {31: 0.1, 33: 0.2}) == [5, 31, 46]


def test_lines_become_rare_as_time_goes_on() -> None:
    shown = _lines(48 * 3600, 1e-9)[1:]
    gaps = [after - before for before, after in pairwise(shown)]
    assert gaps == sorted(gaps)
    assert gaps[0] == 60
    assert gaps[-1] > 3600
    assert len(shown) < 80


def test_tenths_done_before_the_start_are_not_told() -> None:
    schedule = LineSchedule(0.0, 0.55)
    assert schedule.is_due(5.0, 0.56)
    assert not schedule.is_due(40.0, 0.58)
    assert schedule.is_due(41.0, 0.6)


# -- rate and texts -------------------------------------------------------------------------------


def test_the_rate_is_that_of_the_recent_past() -> None:
    meter = RateMeter()
    for moment in range(200):
        meter.see(float(moment), 10 * moment)
    assert meter.rate == pytest.approx(10)
    for moment in range(200, 401):
        meter.see(float(moment), 2000 + 30 * (moment - 200))
    assert meter.rate == pytest.approx(30, rel=0.05)


def test_the_rate_counts_from_the_first_look_not_from_zero() -> None:
    meter = RateMeter()
    meter.see(0.0, 1_000_000)
    assert meter.rate == 0
    meter.see(10.0, 1_000_050)
    assert meter.rate == 5


def test_the_rate_begins_anew_when_tasks_are_to_do_again() -> None:
    meter = RateMeter()
    for moment, done in ((0.0, 0), (10.0, 100), (20.0, 50), (30.0, 60)):
        meter.see(moment, done)
    assert meter.rate == 1


def test_the_rate_of_a_long_run_keeps_few_samples() -> None:
    meter = RateMeter()
    for moment in range(100_000):
        meter.see(float(moment), moment)
    assert len(meter._samples) < 200
    assert meter.rate == pytest.approx(1)


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0.0, "0/s"), (1234.5, "1234/s"), (12.34, "12.3/s"), (1.0, "1.00/s"), (0.5, "30.0/min"), (0.001, "3.60/h")],
)
def test_a_rate_has_three_digits_and_a_fitting_unit(rate: float, text: str) -> None:
    assert format_rate(rate) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00:00"), (59.6, "0:01:00"), (3723, "1:02:03"), (90000, "1d 1:00:00")])
def test_a_span_is_hours_minutes_and_seconds(seconds: float, text: str) -> None:
    assert format_span(seconds) == text


def test_a_line_says_how_far_how_fast_and_how_long() -> None:
    line = format_line(Count(200, 49, 1, 8), 2.0, 61.0)
    assert line == "50 of 200 tasks done (25 %), 1 failed, 8 running, 2.00/s, 0:01:01 elapsed, about 0:01:15 left"


def test_a_line_does_not_guess_the_end_while_nothing_gets_done() -> None:
    assert format_line(Count(200, 0, 0, 8), 0.0, 61.0).endswith("about -:--:-- left")


# -- counting -------------------------------------------------------------------------------------


def test_only_whole_lines_count_and_each_once(tmp_path: Path) -> None:
    path = tmp_path / "list"
    file = PatternCounts(path, b"\n")
    file.advance()
    assert file.counts == [0]
    path.write_bytes(b"0 a\n1 b")
    file.advance()
    assert file.counts == [1]
    with path.open("ab") as appended:
        appended.write(b"b\n2 c\n")
    file.advance()
    file.advance()
    assert file.counts == [3]


def test_lines_longer_than_a_block_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing_file, "_BLOCK", 7)
    path = tmp_path / "list"
    path.write_bytes(b"0 a\n" + b"1 " + 100 * b"b" + b"\n2 c\n3")
    file = PatternCounts(path, b"\n")
    file.advance()
    assert file.counts == [3]


@pytest.mark.parametrize("new", [b"1 b\n", b"1 b\n2 c\n0 a\n", b"1 b\n2 c\n0 a\n3 d\n", b""])
def test_a_list_that_was_replaced_is_counted_anew(tmp_path: Path, new: bytes) -> None:
    path = tmp_path / "failed"
    path.write_bytes(b"0 a\n1 b\n2 c\n")
    file = PatternCounts(path, b"\n")
    file.advance()
    other = tmp_path / "new"
    other.write_bytes(new)
    other.replace(path)
    file.advance()
    assert file.counts == [new.count(b"\n")]


def test_a_list_that_was_rewritten_in_place_is_counted_anew(tmp_path: Path) -> None:
    path = tmp_path / "failed"
    path.write_bytes(b"0 a\n1 b\n2 c\n")
    file = PatternCounts(path, b"\n")
    file.advance()
    path.write_bytes(b"1 b\n22 c\n0 a\n3 d\n")
    file.advance()
    assert file.counts == [4]
    path.unlink()
    file.advance()
    assert file.counts == [0]


def test_the_whole_directory_is_counted_whoever_works_there(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["true"] * 10)
    hands = [Hand(farm, f"20261125T000000-n{number}-1-abcdef") for number in range(2)]
    for hand, task_id in zip(hands, (0, 1), strict=True):
        hand.journal.note_begin(task_id, 0)
        hand.journal.note_begin(task_id + 2, 1)
        hand.end(task_id, 0)
    farm.workdir.finished.write_text("0 true\n1 true\n9 true\n")  # 9: by a plain farmer
    farm.workdir.failed.write_text("8 true\n")
    assert Counter(farm).look() == Count(total=10, finished=3, failed=1, running=2)
    for hand in hands:
        hand.die()


def test_many_journals_are_read_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "JOURNALS_PER_LOOK", 2)
    farm = make_farm(tmp_path, ["true"] * 10)
    for number in range(5):
        journal = farm.workdir.farmers / f"{number}.journal"
        journal.write_text('{"ev":"begin","t":1.0,"id":1,"slot":0}\n')
    counter = Counter(farm)
    assert [counter.look().running for _ in range(4)] == [2, 4, 5, 5]
    (farm.workdir.farmers / "1.journal").rename(farm.workdir.farmers / "1.closed")
    assert counter.look().running == 4


# -- the display ----------------------------------------------------------------------------------


class _Lead:
    """A coordinator that leads or does not."""

    def __init__(self, *, is_leader: bool) -> None:
        self.is_leader = is_leader


def _coordinator(*, is_leader: bool) -> Coordinator:
    return cast(Coordinator, _Lead(is_leader=is_leader))


def _run_for(display: Display, clock: Clock, seconds: int, *, is_leader: bool = True) -> None:
    for _ in range(10 * seconds):
        clock.now += 0.1
        display.step(_coordinator(is_leader=is_leader))


def test_the_leader_shows_lines_and_nobody_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    farm = make_farm(tmp_path, ["true"] * 4)
    clock = Clock()
    display = Display(farm, "lines", clock)
    _run_for(display, clock, 100, is_leader=False)
    assert caplog.messages == []
    farm.workdir.finished.write_text("0 true\n")
    _run_for(display, clock, 100)
    assert 1 <= len(caplog.messages) <= 3  # the first one, then one a minute
    assert all(message.startswith("1 of 4 tasks done (25 %), 0 failed, 0 running") for message in caplog.messages)


def test_a_look_that_takes_long_is_not_repeated_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    farm = make_farm(tmp_path, ["true"] * 4)
    clock = Clock()
    looks = []

    def look(_counter: Counter, *, at_running: bool = True) -> Count:
        looks.append((clock.now, at_running))
        clock.now += 0.5
        return Count(4, 0, 0, 0)

    monkeypatch.setattr(Counter, "look", look)
    display = Display(farm, "lines", clock)
    _run_for(display, clock, 140)
    assert len([look for look in looks if not look[1]]) <= 3


def test_a_list_that_cannot_be_read_does_not_stop_the_farm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    farm = make_farm(tmp_path, ["true"] * 4)
    farm.workdir.finished.mkdir()
    clock = Clock()
    _run_for(Display(farm, "lines", clock), clock, 100)
    assert caplog.messages == []


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("mode", "stream", "term", "chosen"),
    [
        ("auto", _Terminal(), "xterm", "bar"),
        ("auto", _Terminal(), "dumb", "lines"),
        ("auto", _Terminal(), None, "lines"),
        ("auto", io.StringIO(), "xterm", "lines"),
        ("bar", io.StringIO(), None, "bar"),
        ("lines", _Terminal(), "xterm", "lines"),
        ("none", _Terminal(), "xterm", "none"),
    ],
)
def test_a_bar_is_for_terminals(mode: str, stream: io.StringIO, term: str | None, chosen: str) -> None:
    assert choose_display(mode, stream, {} if term is None else {"TERM": term}) == chosen


def test_without_rich_there_are_lines_and_a_bar_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert choose_display("auto", _Terminal(), {"TERM": "xterm"}) == "lines"
    with pytest.raises(UserError, match=r"--progress bar: the package rich is not installed: pip install"):
        choose_display("bar", _Terminal(), {"TERM": "xterm"})


# -- real runs ------------------------------------------------------------------------------------


class _Pty:
    """A terminal of 100 columns, and what was written to it."""

    def __init__(self) -> None:
        self._master, self._slave = pty.openpty()
        termios.tcsetwinsize(self._slave, (24, 100))
        self.shell = ["bash", "-c", f'exec "$@" 2>{os.ttyname(self._slave)}', "bash"]
        """The words before a command whose stderr is to be this terminal."""
        self._data = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while block := os.read(self._master, 65536):
                self._data += block
        except OSError:
            return  # the last program left it

    @property
    def text(self) -> str:
        return self._data.decode(errors="replace")

    def close(self) -> str:
        """Return all that was written, once the programs have ended."""
        os.close(self._slave)
        self._reader.join(10)
        assert not self._reader.is_alive()
        os.close(self._master)
        return self.text


def _screen(text: str) -> list[str]:
    """Return the lines that are left on a terminal: as much of one as a single redrawn line needs."""
    lines = [""]
    row = column = 0
    for match in re.finditer(r"\x1b\[([0-9;?]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)", text):
        number, command, control, plain = match.groups()
        if command == "K":
            lines[row] = "" if number == "2" else lines[row][:column]
        elif command == "A":
            row -= int(number or 1)
        elif control == "\r":
            column = 0
        elif control == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif plain:
            lines[row] = lines[row][:column].ljust(column) + plain + lines[row][column + len(plain) :]
            column += len(plain)
        else:
            assert command == "m", f"unknown control sequence: {match[0]!r}"
    return [line.rstrip() for line in lines]


def _on_terminal(
    site: Site, arguments: Sequence[str | Path], environ: Mapping[str, str], python: str | Path = sys.executable
) -> tuple[int, str]:
    """Run a farmer whose stderr is a terminal; return its exit code and what was written there."""
    terminal = _Pty()
    process = site.start(*terminal.shell, python, "-c", _QUICK, *arguments, environ=environ)
    code = process.wait(60)
    return code, terminal.close()


def test_a_terminal_shows_a_bar_and_is_clean_at_the_end(site: Site) -> None:
    tasks = [f"sleep 0.1; exit {int(number == 3)}" for number in range(20)]
    code, text = _on_terminal(site, ["-v", "-n", "2", site.tasklist(tasks)], site.environ(TERM="xterm"))
    assert code == 1
    assert re.search(r"\d+/20 done", text)
    assert "2 running" in text
    assert "1 failed" in text
    assert "left" in text
    screen = _screen(text)
    assert not any("running" in line or "━" in line for line in screen), screen
    assert screen[-1] == ""
    assert any(re.fullmatch(r"\d\d:\d\d:\d\d task 3 failed with 1; see \S+", line) for line in screen), screen
    assert "\x1b[?25l" not in text  # the cursor is never hidden: who is killed could not bring it back
    settled(site.path / "tasks_workdir", tasks)


def test_no_color_is_honoured(site: Site) -> None:
    tasks = ["sleep 0.1; false"] * 10
    arguments: list[str | Path] = ["-n", "2", site.tasklist(tasks), "-w"]
    _, text = _on_terminal(site, [*arguments, site.path / "a"], site.environ(TERM="xterm", NO_COLOR="1"))
    assert "failed" in text
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", text)
    _, text = _on_terminal(site, [*arguments, site.path / "b"], site.environ(TERM="xterm"))
    assert re.search(r"\x1b\[[0-9;]*3[0-7]", text)


def test_a_farm_that_is_stopped_takes_its_bar_away(site: Site) -> None:
    terminal = _Pty()
    tasklist = site.tasklist(["sleep 1000"] * 4)
    environ = site.environ(TERM="xterm")
    process = site.start(*terminal.shell, sys.executable, "-c", _QUICK, "-n", "2", tasklist, environ=environ)
    wait_for(lambda: "2 running" in terminal.text, deadline=60, what="a bar")
    process.kill(15)
    process.succeed(30, code=75)
    assert not any("running" in line for line in _screen(terminal.close()))


def test_a_terminal_shows_lines_where_rich_is_missing(site: Site, python_without_mpi: Path) -> None:
    tasks = ["sleep 0.1"] * 30
    library = str(ROOT)
    environ = site.environ(TERM="xterm", PYTHONPATH=library)
    code, text = _on_terminal(site, ["-n", "2", site.tasklist(tasks)], environ, python_without_mpi)
    assert code == 0
    assert _LINE.search(text), text
    assert "\x1b" not in text


def test_a_bar_is_refused_in_one_line_where_rich_is_missing(site: Site, python_without_mpi: Path) -> None:
    environ = site.environ(PYTHONPATH=str(ROOT))
    tasklist = site.tasklist(["true"])
    process = site.start(python_without_mpi, "-m", "taskfarmer_mpi", "--progress", "bar", tasklist, environ=environ)
    process.succeed(30, code=2)
    (line,) = process.stderr.splitlines()
    assert line.startswith("taskfarmer-mpi: --progress bar: the package rich is not installed")
    assert not (site.path / "tasks_workdir").exists()


def test_an_unknown_kind_of_progress_is_refused(site: Site) -> None:
    process = site.farm("--progress", "dots", site.tasklist(["true"]))
    process.succeed(30, code=2)
    assert all(mode in process.stderr.splitlines()[0] for mode in ("dots", "auto", "bar", "lines", "none"))


def test_a_file_shows_plain_lines(site: Site) -> None:
    tasks = [f"sleep 0.1; exit {int(number == 3)}" for number in range(30)]
    process = site.start(sys.executable, "-c", _QUICK, "-n", "2", site.tasklist(tasks))
    process.succeed(60, code=1)
    shown = [match for line in process.stderr.splitlines() if (match := _LINE.fullmatch(line))]
    assert 2 <= len(shown) <= 10
    done = [int(match[2]) for match in shown]
    assert done == sorted(done)
    assert shown[-1][3] == "1"
    assert {match[4] for match in shown} & {"1", "2"}
    assert "\x1b" not in process.stderr
    assert "\r" not in process.stderr
    assert "tasks done" not in process.stdout


def test_no_progress_is_shown_when_it_is_not_wanted(site: Site) -> None:
    process = site.start(sys.executable, "-c", _QUICK, "-n", "2", "--progress", "none", site.tasklist(["sleep 0.1"] * 30))
    process.succeed(60)
    assert "tasks done" not in process.stderr


def test_two_ranks_show_the_whole_directory_once(site: Site) -> None:
    tasks = ["sleep 0.1"] * 30
    process = site.start(BIN / "mpiexec", "-n", "2", sys.executable, "-c", _QUICK, "-n", "1", site.tasklist(tasks))
    process.succeed(60)
    shown = [match for line in process.stderr.splitlines() if (match := _LINE.fullmatch(line))]
    assert shown, process.said()
    assert {match[1] for match in shown} == {"0"}
    assert "2" in {match[4] for match in shown}  # one task on each rank
    settled(site.path / "tasks_workdir", tasks)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_bar_leaves_room_for_what_a_terminal_echoes_at_ctrl_c(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that fills the width would be wrapped by the `^C` behind it, and its first part would stay for good."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    stream = io.StringIO()
    bar = Bar(stream)
    bar.show(Count(1000, 10, 0, 4), 2.0)
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    widths = [len(line) for line in re.split(r"[\r\n]", drawn)]
    bar.close()
    assert 0 < max(widths) <= columns - 4


def test_help_says_what_each_kind_of_progress_draws_and_where(site: Site) -> None:
    process = site.farm("--help")
    process.succeed(30)
    text = " ".join(process.stdout.split())
    assert "auto: a bar if stderr is a terminal and rich is installed, else lines (default): so under mpiexec" in text


def test_messages_appear_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    from taskfarmer_mpi.progress.bar import Bar

    stream = io.StringIO()
    handler = logging.StreamHandler(output)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    bar = Bar(stream)
    bar.show(Count(10, 3, 1, 2), 1.5)
    message = "a message with [brackets] :smile: that is longer than the line is wide " + 60 * "x"
    logging.getLogger("a.test").warning("%s", message)
    bar.show(Count(10, 4, 1, 2), 1.5)
    before = _screen(stream.getvalue())
    assert before[0] == message
    assert "5/10 done, 1 failed, 2 running, 1.50/s, 0:00:03 left" in before[1]
    bar.close()
    assert _screen(stream.getvalue())[:2] == [message, ""]
    assert output.stream is None


class _GoneTerminal(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(5, "Input/output error")


def test_a_terminal_that_goes_away_does_not_stop_the_farm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    farm = make_farm(tmp_path, ["true"] * 4)
    clock = Clock()
    display = Display(farm, "bar", clock)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    _run_for(display, clock, 2)
    bar = display._bar
    assert bar is not None
    monkeypatch.setattr(bar._progress.console, "file", _GoneTerminal())
    _run_for(display, clock, 2)
    display.close()
    assert display._bar is None
