"""`taskfarmer-ctl status` and `watch`: what a farm looks like now."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fakes import Hand, make_farm
from helpers import ROOT, Site, contents, wait_for

from taskfarmer_mpi.common.wording import say_duration, say_rate
from taskfarmer_mpi.history.failures import Failure
from taskfarmer_mpi.run.summary import TraceState, Work, summarize
from taskfarmer_mpi.status.observer import Observer, recent_rate
from taskfarmer_mpi.status.screen import WIDTH, draw_status, paint
from taskfarmer_mpi.status.snapshot import Counts, FarmerStatus, RunningTask, Status
from taskfarmer_mpi.upkeep.census import Census, take_census
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.journal import close_journal

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")
DOCS = ROOT / "docs" / "monitoring.md"


def look(workdir: Workdir, failures: int = 5) -> Status:
    return Observer(workdir).look(failures)


def summary_lines(census: Census, workdir: Workdir) -> list[str]:
    work = Work([], 1.0, 1.0)
    return summarize(census=census, groups=[], work=work, workdir=workdir, stop_reason=None, trace=TraceState.WRITTEN)


def status_of(site: Site, workdir: Path) -> dict[str, Any]:
    process = site.start(*CTL, "status", "--json", workdir)
    process.succeed(60)
    found: dict[str, Any] = json.loads(process.stdout)
    return found


def test_a_status_says_where_tasks_are_who_works_and_what_failed_why(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, [f"echo {i}" for i in range(8)])
    farm.workdir.toprocess.write_text("7 echo 7\n6 echo 6\n")
    farm.workdir.finished.write_text("0 echo 0\n")
    farm.workdir.failed.write_text("1 echo 1\n2 echo 2\n")
    farm.workdir.log(1).write_text("one\ntwo\n")
    hand = Hand(farm, "20261125T000000Z-here-1-abcdef")
    hand.note("taken", ids=[0, 1, 3, 4])
    for task, code in ((0, 0), (1, 139)):
        hand.note("begin", id=task, slot=0)
        hand.end(task, code)
    hand.note("recorded")
    hand.note("begin", id=3, slot=1)
    status = look(farm.workdir)
    assert status.tasks == Counts(total=8, finished=1, failed=2, running=1, taken=1, to_do=2, nobody=1)
    assert status.nobody == [5]
    (farmer,) = status.farmers
    assert (farmer.state, farmer.busy, farmer.slots, farmer.held, farmer.finished, farmer.failed) == ("alive", 1, 2, 2, 1, 1)
    assert farmer.rate == status.rate
    (running,) = status.running
    assert (running.task, running.slot, running.command) == (3, 1, "echo 3")
    known, unknown = status.failures
    assert (known.task, known.cause, known.host) == (1, "exit code 139: SIGSEGV in a shell", "here")
    assert known.log_tail == ["one", "two"]
    assert (unknown.task, unknown.cause, unknown.command, unknown.log_tail) == (2, "not known", "echo 2", [])
    assert look(farm.workdir, 1).failures == [unknown]
    assert look(farm.workdir, 0).failures == []


@pytest.mark.parametrize(
    ("is_recovered", "has_left", "state"), [(False, False, "dead"), (True, False, "died"), (True, True, "ended")]
)
def test_a_farmer_that_is_gone_runs_nothing(tmp_path: Path, is_recovered: bool, has_left: bool, state: str) -> None:
    farm = make_farm(tmp_path, ["true"])
    hand = Hand(farm, "1-a")
    hand.note("taken", ids=[0])
    hand.note("begin", id=0, slot=0)
    if has_left:
        hand.note("leave")
    hand.die()
    if is_recovered:
        close_journal(hand.journal.path)
    status = look(farm.workdir)
    assert [farmer.state for farmer in status.farmers] == [state]
    assert (status.running, status.rate, status.farmers[0].rate) == ([], None, None)
    assert any("when a farmer is started" in line for line in draw_status(status)) == (state == "dead")


def test_a_status_says_what_goes_on_with_a_list_that_nobody_works_on(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["true", "true"])
    said = "  no farmer is at work: the same command goes on"
    assert said in draw_status(look(farm.workdir))
    hand = Hand(farm, "1-a")
    assert said not in draw_status(look(farm.workdir))
    hand.note("leave")
    hand.die()
    close_journal(hand.journal.path)
    assert said in draw_status(look(farm.workdir))


@pytest.mark.parametrize(
    ("ends", "are_all", "rate"),
    [
        ([], True, None),
        ([950.0, 970.0, 990.0], True, 3 / 1000),  # too few for a shorter time than its whole life
        ([900.0 + i for i in range(100)], False, 60 / 60),
        ([500.0 + 10 * i for i in range(40)], True, 19 / 300),  # the last twenty
        ([999.0 + i / 1000 for i in range(1000)], False, 999 / 1.0),
        ([1005.0], True, 1 / 1005),  # the clock of another node goes before
    ],
)
def test_the_rate_is_that_of_the_last_minute_or_of_a_few_runs(ends: list[float], are_all: bool, rate: float | None) -> None:
    found = recent_rate(ends, are_all, born=0.0, now=1000.0)
    assert found == (None if rate is None else pytest.approx(rate, rel=0.02))


def test_a_directory_of_pytaskfarmer_alone_has_a_status(tmp_path: Path) -> None:
    (tmp_path / "toprocess").write_text("2 c\n4 e\n")
    (tmp_path / "finished").write_text("0 a\n")
    (tmp_path / "failed").write_text("1 b\n")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "log_1").write_text("no such thing\n")
    status = look(Workdir(tmp_path))
    assert status.tasks == Counts(total=5, finished=1, failed=1, running=0, taken=0, to_do=2, nobody=1)
    assert (status.farmers, status.left, status.nobody) == ([], None, [3])
    assert [(failure.task, failure.log_tail) for failure in status.failures] == [(1, ["no such thing"])]
    assert "no farm.ini" in status.warnings[0]


def test_the_real_files_of_pytaskfarmer_have_a_status(site: Site, pytaskfarmer: Path) -> None:
    tasklist = site.tasklist(["true", "false", "true"])
    site.plain_0_1_0(pytaskfarmer, "--proc", "1", "--workdir", site.path / "work", tasklist).succeed(60)
    status = status_of(site, site.path / "work")
    assert status["tasks"] | {"failed": 1} == {
        "total": 3,
        "finished": 2,
        "failed": 1,
        "running": 0,
        "taken": 0,
        "to_do": 0,
        "nobody": 0,
        "removed": 0,
    }


def test_what_cannot_be_read_is_a_warning_and_hides_nothing_else(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["true", "true"])
    hand = Hand(farm, "2-b")
    hand.note("taken", ids=[0])
    (farm.workdir.farmers / "1-a.closed").write_text('{"ev":"farmer","t":1,"format":99}\n')
    (farm.workdir.farmers / "3-c.closed").write_text('{"ev":"far')
    farm.workdir.config.write_text("garbage")
    farm.workdir.toprocess.write_text("1 true\n")
    with hand.journal.path.open("a") as journal:
        journal.write('{"ev":"taken","t":1,"ids":[1')
    status = look(farm.workdir)
    assert [farmer.farmer for farmer in status.farmers] == ["2-b"]
    assert status.tasks.taken == 1
    named = ("farm.ini", "1-a.closed", "3-c.closed")
    assert all(any(name in warning for warning in status.warnings) for name in named)
    assert sum(line.startswith("warning: ") for line in draw_status(status)) == len(status.warnings) == 3


def test_a_damaged_line_of_a_closed_journal_is_a_warning_with_the_remedy(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["true"])
    hand = Hand(farm, "1-a")
    with hand.journal.path.open("a") as journal:
        journal.write("rubbish\n")
    closed = hand.journal.path.rename(farm.workdir.farmers / "1-a.closed")
    (warning,) = look(farm.workdir).warnings
    assert warning == f"{closed}: a record is not as farmers write them; it does not count: see taskfarmer-ctl repair"


def test_the_text_is_narrow_and_cannot_command_the_terminal(tmp_path: Path) -> None:
    evil = "echo \x1b[2J\x1b]0;owned\x07 " + "x" * 500
    farm = make_farm(tmp_path, [evil, evil, "true"])
    farm.workdir.failed.write_text(f"0 {evil}\n")
    farm.workdir.log(0).write_text("\x1b[31mred\x9b31m " + "y" * 500 + "\n")
    hand = Hand(farm, "1-a")
    hand.note("taken", ids=[0, 1])
    hand.end(0, 1)
    hand.note("begin", id=1, slot=0)
    lines = draw_status(look(farm.workdir))
    assert all(line.isprintable() for line in lines)
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= WIDTH
    coloured = draw_status(look(farm.workdir), paint)
    plain = [re.sub(r"\x1b\[\d+m", "", line) for line in coloured]
    assert "\x1b[" in "".join(coloured)
    assert all(line.isprintable() for line in plain)


def _farm_with_rates(tmp_path: Path) -> Workdir:
    """Return a work directory with a quick farmer and a slow one."""
    farm = make_farm(tmp_path, ["true"] * 200)
    for name, gap in (("20261125T000000Z-a-node-with-a-long-name-1-abcdef", 0.1), ("1-b", 15.0)):
        hand = Hand(farm, name)
        now = time.time()
        for number in range(4):
            end = now - gap * number
            hand.note("end", id=number, slot=0, begin=end - 0.01, end=end, rc=0, cpu=0.1, rss=1)
    return farm.workdir


def test_all_rates_of_a_picture_have_one_unit(tmp_path: Path) -> None:
    status = look(_farm_with_rates(tmp_path))
    assert len([farmer for farmer in status.farmers if farmer.rate]) == 2
    units = {word.rpartition("/")[2] for line in draw_status(status) for word in re.findall(r"[\d.,]+/(?:s|min|h)\b", line)}
    assert len(units) == 1


@pytest.mark.parametrize("width", [60, 70, 80, 100])
def test_no_rate_and_no_time_is_cut_off_on_a_narrow_screen(width: int, tmp_path: Path) -> None:
    status = look(_farm_with_rates(tmp_path))
    lines = [line for line in draw_status(status, width=width) if str(tmp_path) not in line]
    assert max(map(len, lines)) <= width
    text = "\n".join(line[:width] for line in lines)
    assert f"{say_rate(status.rate or 0.0)}, {say_duration(status.left or 0.0)} left" in text
    assert "200 to do" in text
    (head,) = (line for line in lines if line.startswith("  state"))
    assert "rate" in head
    assert ("job" in head) == (width >= 80)


def test_a_watch_on_a_narrow_terminal_shows_rate_and_time(site: Site) -> None:
    farm = make_farm(site.path, ["true"])
    shown = shown_on_terminal(site, {"TERM": "xterm", "COLUMNS": "60"}, "status", str(farm.workdir.path))
    assert max(len(line) for line in re.sub(rb"\x1b\[\d*m", b"", shown).split(b"\r\n") if b"/" not in line) <= 60


@pytest.mark.parametrize("case", ["never run", "killed before", "its first task", "worked before"])
def test_a_pytaskfarmer_is_named_only_where_one_may_have_been(case: str, tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "b"])
    farm.workdir.toprocess.write_text("1 b\n")  # task 0 was cut out
    hand = Hand(farm, "1-a")
    if case == "killed before":
        hand.note("begin", id=0, slot=0)
        farm.workdir.log(0).write_text("some output\n")
        hand.note("killed", id=0, slot=0, begin=time.time(), end=time.time(), rc=-9)
    elif case == "its first task":
        hand.note("killed", id=0, slot=0, begin=time.time() - 9, end=time.time() - 8, rc=-9)
        farm.workdir.log(0).write_text("")
        os.utime(farm.workdir.log(0), (time.time() + 3600, time.time() + 3600))
    elif case == "worked before":
        event = {"cat": "task", "name": "b", "pid": 3, "tid": 4, "ts": 1e15, "dur": 1e6, "ph": "X", "args": {}}
        farm.workdir.timeline.write_text(json.dumps([event]))
    is_named = case in ("its first task", "worked before")
    hand.die()
    status = look(farm.workdir)
    assert (status.nobody, status.may_be_plain) == ([0], is_named)
    assert ("PyTaskFarmer" in "".join(draw_status(status))) == is_named
    assert any("cut out of the list by hand" in line for line in draw_status(status)) != is_named
    census = take_census(farm, 1.0)
    (line,) = (line for line in summary_lines(census, farm.workdir) if "in nobody's hands" in line)
    assert ("PyTaskFarmer" in line) == is_named
    assert "--reclaim puts them back" in line


def test_many_farmers_and_runs_are_cut_short_in_text_only(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, [f"true {i}" for i in range(50)])
    for number in range(25):
        hand = Hand(farm, f"{number:02d}-a")
        hand.note("taken", ids=[2 * number, 2 * number + 1])
        for slot in range(2):
            hand.note("begin", id=2 * number + slot, slot=slot)
    status = look(farm.workdir)
    assert (len(status.farmers), len(status.running)) == (25, 50)
    lines = draw_status(status)
    assert "  and 5 more (--json has all)" in lines
    assert "  and 30 more (--json has all)" in lines


def test_the_documentation_has_every_field_of_the_json_form() -> None:
    text = DOCS.read_text()
    for form in (Status, Counts, FarmerStatus, RunningTask, Failure):
        missing = [name for name in form.__annotations__ if f"`{name}`" not in text]
        assert missing == [], f"{form.__name__}: not in {DOCS.name}: {missing}"


# -- real processes -------------------------------------------------------------------------------


def test_a_status_of_farmers_at_work_after_their_death_and_at_the_end(site: Site) -> None:
    gate = site.path / "gate"
    tasks = [f"until [ -e {gate} ]; do sleep 0.05; done", f"until [ -e {gate} ]; do sleep 0.05; done", "exit 3", "true"]
    work = site.path / "tasks_workdir"
    farmer = site.farm("--proc", "2", site.tasklist(tasks), "--timeout", "120")
    wait_for(lambda: work.is_dir() and (work / "toprocess").exists(), deadline=60, what="the work directory")
    wait_for(lambda: status_of(site, work)["tasks"]["running"] == 2, deadline=60, what="two tasks that run")
    status = status_of(site, work)
    assert status["format"] == 1
    assert [(run["task"], run["command"]) for run in status["running"]] == [(0, tasks[0]), (1, tasks[1])]
    assert [(known["state"], known["busy"], known["pid"]) for known in status["farmers"]] == [("alive", 2, farmer.pid)]
    farmer.kill()
    farmer.wait(30)
    status = wait_for(lambda: _dead(status_of(site, work)), deadline=30, what="a status that knows of the death")
    assert (status["tasks"]["running"], status["tasks"]["taken"] + status["tasks"]["to_do"]) == (0, 4)
    gate.touch()
    site.farm("--proc", "2", site.path / "tasks").succeed(60, code=1)
    status = status_of(site, work)
    assert (status["tasks"]["finished"], status["tasks"]["failed"], status["left"]) == (3, 1, 0.0)
    assert sorted(known["state"] for known in status["farmers"]) == ["died", "ended"]
    assert [(failure["task"], failure["cause"]) for failure in status["failures"]] == [(2, "exit code 3")]
    watch = site.start(*CTL, "watch", work)
    watch.succeed(60)
    assert "4 tasks, 100 % done" in watch.stdout
    assert "\x1b" not in watch.stdout


def _dead(status: dict[str, Any]) -> dict[str, Any]:
    return status if [known["state"] for known in status["farmers"]] == ["dead"] else {}


def test_watch_goes_on_until_the_list_is_done_or_ctrl_c(site: Site) -> None:
    farm = make_farm(site.path, ["true", "true"])
    watching = site.start(*CTL, "watch", "--interval", "0.1", farm.workdir.path)
    stopped = site.start(*CTL, "watch", "--interval", "0.1", farm.workdir.path)
    wait_for(lambda: watching.stdout.count("2 to do") >= 2, deadline=60, what="two pictures")
    wait_for(lambda: "2 to do" in stopped.stdout, deadline=60, what="a picture")
    stopped.kill(signal.SIGINT)
    stopped.succeed(30)
    assert stopped.stderr == ""
    farm.workdir.finished.write_text("0 true\n1 true\n")
    farm.workdir.toprocess.write_text("")
    watching.succeed(30)


def test_a_status_changes_nothing(site: Site) -> None:
    farm = make_farm(site.path, ["true", "false"])
    hand = Hand(farm, "1-a")
    hand.note("taken", ids=[0])
    before = contents(farm.workdir.path)
    for command in ("status", "watch"):
        process = site.start(*CTL, command, farm.workdir.path)
        if command == "watch":
            wait_for(lambda shown=process: "2 tasks" in shown.stdout, deadline=60, what="a picture")  # type: ignore[misc]
            process.kill(signal.SIGINT)
        process.succeed(60)
    assert contents(farm.workdir.path) == before


def shown_on_terminal(site: Site, environ: dict[str, str], *command: str) -> bytes:
    """Run a command of `taskfarmer-ctl` on a terminal; return what it shows."""
    master, slave = pty.openpty()
    wanted = {name: value for name, value in site.environ().items() if name != "NO_COLOR"} | environ
    words = ["sh", "-c", f'exec "$@" >{os.ttyname(slave)}', "sh", *CTL, *command]
    site.start(*words, environ=wanted).succeed(60)
    os.close(slave)
    shown = os.read(master, 65536)
    os.close(master)
    return shown


def test_watch_draws_in_place_on_a_terminal(site: Site) -> None:
    farm = make_farm(site.path, ["true"])
    farm.workdir.finished.write_text("0 true\n")
    farm.workdir.toprocess.write_text("")
    shown = shown_on_terminal(site, {"TERM": "xterm", "NO_COLOR": "1"}, "watch", str(farm.workdir.path))
    assert shown.startswith(b"\x1b[?7l\x1b[H")
    assert b"1 task, 100 % done" in shown
    assert shown.endswith(b"\x1b[J\x1b[?7h")


@pytest.mark.parametrize(
    ("environ", "is_coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_colours_are_for_terminals_that_want_them(site: Site, environ: dict[str, str], is_coloured: bool) -> None:
    farm = make_farm(site.path, ["true"])
    shown = shown_on_terminal(site, environ, "status", str(farm.workdir.path))
    assert b"1 task, 0 % done" in shown
    assert (b"\x1b[1m" in shown) == is_coloured


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("status", "{empty}"), "not a work directory: no farm.ini and no toprocess here"),
        (("status", "{empty}/none"), "not a work directory: no such directory"),
        (("watch", "{empty}"), "not a work directory"),
        (("report", "{empty}"), "not a work directory"),
        (("export", "{empty}", "--csv", "out"), "not a work directory"),
        (("status", "--failures", "-1", "{empty}"), "--failures"),
        (("watch", "--interval", "0", "{empty}"), "'0' is not a time in seconds from 0.1 to 86400"),
        (("watch", "--interval", "nan", "{empty}"), "'nan' is not a time in seconds"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(site: Site, arguments: tuple[str, ...], reason: str) -> None:
    (site.path / "empty").mkdir()
    process = site.start(*CTL, *(word.format(empty=site.path / "empty") for word in arguments))
    process.succeed(60, code=2)
    error, *hint = process.stderr.splitlines()
    assert reason in error
    assert len(hint) <= 1
    assert "Traceback" not in process.stderr
    assert process.stdout == ""
    assert list((site.path / "empty").iterdir()) == []


def test_a_list_that_cannot_be_read_is_one_line_and_exit_code_75(site: Site) -> None:
    farm = make_farm(site.path, ["true"])
    farm.workdir.toprocess.unlink()
    farm.workdir.toprocess.mkdir()
    process = site.start(*CTL, "status", farm.workdir.path)
    process.succeed(60, code=75)
    assert len(process.stderr.splitlines()) == 1
    assert "toprocess: cannot read: Is a directory" in process.stderr


def test_status_and_tables_need_no_mpi(site: Site, python_without_mpi: Path) -> None:
    workdir = make_farm(site.path, ["true", "true"]).workdir
    ctl = (python_without_mpi, "-m", "taskfarmer_mpi.ctl")
    status = site.start(*ctl, "status", workdir.path)
    status.succeed(60)
    assert "2 to do" in status.stdout
    site.start(*ctl, "export", "--csv", "table", workdir.path).succeed(60)
    assert len((site.path / "table").read_text().splitlines()) == 3


def test_tasks_that_came_later_have_their_texts_and_places(site: Site) -> None:
    gate = site.path / "gate"
    work = site.path / "tasks_workdir"
    waiting = f"until [ -e {gate} ]; do sleep 0.05; done"
    site.farm("--proc", "2", site.tasklist([waiting]), "--timeout", "120")
    wait_for(lambda: (work / "toprocess").exists(), deadline=60, what="the work directory")
    site.start(*CTL, "add", work, f"{waiting} # later", "exit 3").succeed(60)
    status = wait_for(lambda: _two_running(status_of(site, work)), deadline=60, what="two tasks that run")
    assert status["tasks"] | {"to_do": 0, "taken": 0} == {
        "total": 3,
        "finished": 0,
        "failed": 0,
        "running": 2,
        "taken": 0,
        "to_do": 0,
        "nobody": 0,
        "removed": 0,
    }
    assert [run["command"] for run in status["running"]] == [waiting, f"{waiting} # later"]
    gate.touch()
    wait_for(lambda: status_of(site, work)["tasks"]["failed"] == 1, deadline=60, what="the failure")


def _two_running(status: dict[str, Any]) -> dict[str, Any]:
    return status if status["tasks"]["running"] == 2 else {}
