"""`taskfarmer-ctl export`: tables that other programs read."""

from __future__ import annotations

import csv
import os
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from conftest import find_tool
from fakes import Hand, make_farm
from helpers import ROOT, Site

from taskfarmer_mpi.history.last_runs import read_last_runs
from taskfarmer_mpi.status.tables import JOBLOG_HEAD, Row, encode_joblog, make_rows
from taskfarmer_mpi.workdir.files import Workdir

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")


@pytest.fixture
def parallel() -> str:
    """Return the path of GNU parallel."""
    return find_tool("parallel", "GNU parallel")


def rows_of(workdir: Workdir) -> list[Row]:
    last_runs, troubles = read_last_runs(workdir)
    assert troubles == []
    return list(make_rows(last_runs, workdir))


def worked_on(folder: Path) -> Workdir:
    """Return a work directory with tasks in all states."""
    commands = [
        "true",
        "exit 3",
        "kill -9 $$",
        "sleep 9",
        "sleep 8",
        "true 5",
        "false by another",
        "echo a\tb \udcff é",
        "true 8",
    ]
    path = folder / "tasks"
    path.write_bytes("".join(f"{command}\n" for command in commands).encode("utf-8", "surrogateescape"))
    farm = make_farm(folder, ["true"] * 9)
    path.write_bytes("".join(f"{command}\n" for command in commands).encode("utf-8", "surrogateescape"))
    lines = [f"{task} {text}\n".encode("utf-8", "surrogateescape") for task, text in enumerate(commands)]
    farm.workdir.finished.write_bytes(lines[0] + lines[7])
    farm.workdir.failed.write_bytes(lines[1] + lines[2] + lines[6])
    farm.workdir.toprocess.write_bytes(lines[5])
    hand = Hand(farm, "1-a")
    hand.note("taken", ids=[0, 1, 2, 3, 4, 5, 7])
    hand.note("killed", id=0, slot=1, begin=990.0, end=991.0, rc=-9, cpu=0.0, rss=0)
    for task, code in ((0, 0), (1, 3), (2, -9), (7, 0)):
        hand.end(task, code)
    hand.note("recorded")
    hand.note("killed", id=5, slot=1, begin=1002.0, end=1003.5, rc=-9, cpu=0.0, rss=0)
    hand.note("given", ids=[5])
    hand.note("begin", id=3, slot=1)
    return farm.workdir


def test_a_row_says_where_a_task_is_and_how_its_last_run_went(tmp_path: Path) -> None:
    workdir = worked_on(tmp_path)
    rows = rows_of(workdir)
    states = ["finished", "failed", "failed", "running", "taken", "to do", "failed", "finished", "nobody"]
    assert [row.state for row in rows] == states
    assert [row.attempts for row in rows] == [2, 1, 1, 1, 0, 1, 0, 1, 0]
    assert [row.exit_code for row in rows] == [0, 3, None, None, None, None, None, 0, None]
    assert [row.signal for row in rows] == [None, None, 9, None, None, None, None, None, None]
    causes = [
        None,
        "exit code 3",
        "killed by SIGKILL (out of memory? peak 1 MiB)",
        None,
        None,
        "cut short by a shutdown",
        "not known",
        None,
        None,
    ]
    assert [row.cause for row in rows] == causes
    assert (rows[0].begin, rows[0].end, rows[0].duration, rows[0].slot, rows[0].host) == (1000.0, 1001.0, 1.0, 0, "here")
    assert (rows[3].end, rows[3].duration, rows[3].slot) == (None, None, 1)
    assert (rows[5].begin, rows[5].duration) == (1002.0, 1.5)
    assert rows[2].log == str(workdir.log(2))
    assert [rows[7].command, rows[8].command] == ["echo a\tb \udcff é", "true 8"]


def test_a_task_whose_farmer_died_says_so_and_its_command_comes_from_the_list(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["true"])
    Path(farm.handler.path).unlink()
    hand = Hand(farm, "1-a")
    hand.note("begin", id=0, slot=0)
    hand.die()
    (row,) = rows_of(farm.workdir)
    assert (row.state, row.cause, row.command, row.end) == ("to do", "its farmer died", "true", None)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "5\tn1\t1000.250\t     1.500\t0\t0\t0\t0\tls"),
        ({"state": "failed", "exit_code": 3}, "5\tn1\t1000.250\t     1.500\t0\t0\t3\t0\tls"),
        ({"state": "failed", "exit_code": None, "signal": 9}, "5\tn1\t1000.250\t     1.500\t0\t0\t0\t9\tls"),
        (
            {"state": "failed", "exit_code": None, "host": None, "begin": None, "duration": None},
            "5\t-\t0.000\t     0.000\t0\t0\t1\t0\tls",
        ),
        ({"state": "running"}, None),
        ({"state": "to do"}, None),
    ],
)
def test_a_line_of_a_joblog_is_as_gnu_parallel_writes_it(changes: dict[str, object], line: str | None) -> None:
    row = Row(4, "finished", "f", "n1", 0, 0, 1, 1000.25, 1001.75, 1.5, 0, None, None, "log_4", "ls")
    assert encode_joblog(row._replace(**changes)) == line  # type: ignore[arg-type]


def test_gnu_parallel_writes_the_same_joblog_and_runs_only_the_failed_tasks_again(site: Site, parallel: str) -> None:
    tasks = ["echo 1", "exit 3", "kill -9 $$", "echo a\tb", "exit 1"]
    tasklist = site.tasklist(tasks)
    site.farm("--proc", "1", tasklist).succeed(60, code=1)
    site.start(*CTL, "export", site.path / "tasks_workdir", "--joblog", site.path / "ours").succeed(60)
    home = site.environ(HOME=str(site.path))
    command: list[str | Path] = [parallel, "--will-cite", "-j1", "-a", tasklist]
    site.start(*command, "--joblog", site.path / "theirs", environ=home).wait(60)
    ours, theirs = (
        [line.split("\t") for line in (site.path / name).read_text().splitlines()] for name in ("ours", "theirs")
    )
    assert "\t".join(ours[0]) == "\t".join(theirs[0]) == JOBLOG_HEAD
    kept = (0, 6, 7, 8)  # not host, times and bytes
    assert sorted([row[i] for i in kept] for row in ours[1:]) == sorted([row[i] for i in kept] for row in theirs[1:])
    again = site.start(*command, "--resume-failed", "--joblog", site.path / "ours", "-t", environ=home)
    again.wait(60)
    assert again.stderr.split("\n")[:3] == ["exit 3", "kill -9 $$", "exit 1"]
    assert again.stdout == ""


def test_gnu_parallel_retries_what_failed_also_where_tasks_were_added_in_between(site: Site, parallel: str) -> None:
    tasklist = site.tasklist(["# a comment", "echo 0", "", "exit 1"])
    site.farm("--proc", "1", tasklist).succeed(60, code=1)
    workdir = site.path / "tasks_workdir"
    site.start(*CTL, "add", workdir, "exit 2").succeed(60)
    with tasklist.open("a") as file:
        file.write("exit 3\necho 4\n")
    site.farm(tasklist).succeed(60, code=1)
    site.start(*CTL, "export", workdir, "--joblog", site.path / "joblog").succeed(60)
    (recipe,) = re.findall(
        r"^    (parallel --retry-failed .*)$", (ROOT / "docs" / "monitoring.md").read_text(), re.MULTILINE
    )
    again = site.start(
        parallel, "--will-cite", "-t", *recipe.split()[1:], environ=site.environ(HOME=str(site.path)), cwd=site.path
    )
    again.wait(60)
    assert sorted(line for line in again.stderr.splitlines() if line.startswith(("exit", "echo"))) == [
        "exit 1",
        "exit 2",
        "exit 3",
    ]


def test_a_minus_sign_as_a_file_is_the_standard_output(site: Site) -> None:
    workdir = worked_on(site.path)
    for option in ("--csv", "--joblog"):
        site.start(*CTL, "export", workdir.path, option, "table", "--force").succeed(60)
        printed = site.start(*CTL, "export", workdir.path, option, "-")
        printed.succeed(60)
        table = (site.path / "table").read_text(encoding="utf-8", errors="replace")
        assert printed.stdout.replace("\r\n", "\n") == table.replace("\r\n", "\n")
    assert not (site.path / "-").exists()
    refused = site.start(*CTL, "export", workdir.path, "--sqlite", "-")
    refused.succeed(60, code=2)
    assert "cannot be written to the standard output" in refused.stderr


def test_a_joblog_is_in_the_order_of_the_ends(site: Site) -> None:
    site.farm("--proc", "2", site.tasklist(["sleep 0.5", "true"])).succeed(60)
    site.start(*CTL, "export", site.path / "tasks_workdir", "--joblog", "joblog").succeed(60)
    lines = (site.path / "joblog").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["Seq", "2", "1"]


def test_csv_and_sqlite_have_the_same_rows(site: Site) -> None:
    workdir = worked_on(site.path)
    process = site.start(*CTL, "export", workdir.path, "--csv", "t.csv", "--sqlite", "t o?.db", "--joblog", "t.log")
    process.succeed(60)
    rows = rows_of(workdir)
    with (site.path / "t.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        head, *lines = csv.reader(file)
    assert head == list(Row._fields)
    assert lines == [["" if value is None else str(value) for value in row] for row in rows]
    with closing(sqlite3.connect(site.path / "t o?.db")) as database:
        found = database.execute("SELECT * FROM tasks ORDER BY id").fetchall()
        farmers = database.execute("SELECT farmer, host, slots, state FROM farmers").fetchall()
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA user_version").fetchall() == [(1,)]
    readable = "echo a\tb \N{REPLACEMENT CHARACTER} é"
    assert found == [tuple(row._replace(command=readable) if row.id == 7 else row) for row in rows]
    assert farmers == [("1-a", "here", 2, "alive")]
    assert sorted(path.name for path in site.path.iterdir() if path.name.startswith((".", "t."))) == ["t.csv", "t.log"]


def test_an_output_that_exists_is_replaced_only_by_force(site: Site) -> None:
    workdir = make_farm(site.path, ["true"]).workdir
    (site.path / "old").write_text("precious")
    process = site.start(*CTL, "export", workdir.path, "--csv", "new", "--sqlite", "old")
    process.succeed(60, code=2)
    assert process.stderr == "taskfarmer-ctl: old: it exists; --force replaces it\n"
    assert (site.path / "old").read_text() == "precious"
    assert not (site.path / "new").exists()
    site.start(*CTL, "export", workdir.path, "--csv", "new", "--sqlite", "old", "--force").succeed(60)
    assert (site.path / "old").read_bytes().startswith(b"SQLite format 3\0")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "nothing to write: give at least one of --joblog, --csv and --sqlite"),
        (("--csv", "a", "--joblog", "./a"), "two tables cannot be written to one file"),
        (("--csv", "no/such/folder"), "no/such/folder: cannot write: no such directory"),
        (("--csv", "/dev/null", "--force"), "/dev/null: cannot write: not a regular file"),
        (("--csv", ".", "--force"), ".: cannot write: not a regular file"),
    ],
)
def test_an_output_that_cannot_be_is_one_line_and_exit_code_2(site: Site, arguments: tuple[str, ...], reason: str) -> None:
    workdir = make_farm(site.path, ["true"]).workdir
    process = site.start(*CTL, "export", workdir.path, *arguments)
    process.succeed(60, code=2)
    assert process.stderr.count("\n") == 1
    assert reason in process.stderr


def test_a_journal_that_cannot_be_read_is_a_warning_and_the_rest_is_exported(site: Site) -> None:
    workdir = worked_on(site.path)
    (workdir.farmers / "0-a.closed").write_text('{"ev":"farmer","t":1,"format":99}\n')
    with (workdir.farmers / "1-a.journal").open("a") as journal:
        journal.write('{"ev":"end","t":1}\n{"ev":"en')
    process = site.start(*CTL, "export", workdir.path, "--csv", "t.csv")
    process.succeed(60)
    assert process.stderr.count("warning: ") == 2
    assert "0-a.closed: not a journal of format 1" in process.stderr
    assert len((site.path / "t.csv").read_text(errors="surrogateescape").splitlines()) == 10


def test_a_program_that_cannot_write_leaves_nothing(site: Site) -> None:
    workdir = make_farm(site.path, [f"true {i} {'x' * 200}" for i in range(2000)]).workdir
    process = site.start(
        "bash", "-c", 'ulimit -f 100; trap "" XFSZ; exec "$@"', "-", *CTL, "export", workdir.path, "--csv", "big"
    )
    process.succeed(60, code=2)
    assert process.stderr == f"taskfarmer-ctl: big: cannot write: {os.strerror(27)}\n"
    assert not [path for path in site.path.iterdir() if "big" in path.name]
