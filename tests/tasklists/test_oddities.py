"""Lines that mean something else to a shell than their author may think are told before they run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from helpers import Process, Site

from taskfarmer_mpi.tasklists.lines import read_task_lines
from taskfarmer_mpi.tasklists.oddities import describe_background, describe_oddities


def _oddities(folder: Path, text: str) -> list[str]:
    path = folder / "tasks"
    path.write_text(text)
    return describe_oddities(path, read_task_lines(path))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("true\nsleep 5 &\n./run & \n", "2 lines (the first is task 1) end in '&': such a task ends at once"),
        ("sleep 5 2>&1 &\n", "1 line (the first is task 0) ends in '&'"),
        ("(sleep 5 &)\n{ a; sleep 5 & }\na & disown\na & # b\n", "4 lines (the first is task 0) end in '&'"),
        ("nohup a >b 2>&1 & exit 0\na & :\n", "2 lines (the first is task 0) end in '&'"),
        ("echo 'a # b' &\n", "1 line (the first is task 0) ends in '&'"),
        ("python a.py \\\n  --seed 1\n", "1 line (the first is task 0) ends in '\\': lines are not joined"),
        ("true\necho 'a b\n", "1 line (the first is task 1) has a quote that is not closed"),
        ('echo "a\necho b"\n', "2 lines (the first is task 0) have a quote that is not closed"),
        ("true\n  # a remark\n", "1 line (the first is task 1) is an indented comment: it is a task that does nothing"),
        ("mass,seed\n1,2\n3,4\n", "these look like the rows of a table"),
        ("mass\tseed\n1\t2\n", "these look like the rows of a table"),
        ("#DISBATCH PREFIX cd x\ntrue\n", "'#DISBATCH' is in it: a list for disBatch"),
        ("./run $LAUNCHER_JID\n", "'LAUNCHER_JID' is in it: a list for launcher"),
        ("parallel echo ::: a b\n", "':::' is in it: a list for GNU parallel"),
    ],
)
def test_an_odd_line_is_told(tmp_path: Path, text: str, sentence: str) -> None:
    (found,) = _oddities(tmp_path, text)
    assert found.startswith(sentence)


@pytest.mark.parametrize(
    "text",
    [
        "a && b\n",
        "echo \\&\n",
        "echo 'it is' \"so\"\n",
        "echo it\\'s\n",
        "echo $'it\\'s'\n",
        "echo a # it's a remark\n",
        "# it's a comment &\ntrue\n",
        "echo a\\\\\n",
        "run --set a,b\nrun --set c,d\n",
        "a & b\n",
    ],
)
def test_a_line_that_means_what_it_says_is_left_alone(tmp_path: Path, text: str) -> None:
    assert _oddities(tmp_path, text) == []


def _check(site: Site, *arguments: str | Path) -> Process:
    process = site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", "check", *arguments)
    process.succeed(30)
    return process


def test_check_tells_odd_lines_to_who_has_a_shell(site: Site) -> None:
    tasks = site.tasklist(["sleep 5 &", "echo 'a"])
    assert "look at this:   1 line (the first is task 0) ends in '&'" in _check(site, tasks).stdout
    assert "look at this:" not in _check(site, tasks, "-r", "exec").stdout


def test_a_start_says_that_lines_end_in_the_background(site: Site) -> None:
    process = site.farm(site.tasklist(["true &", "true"]))
    process.succeed(60)
    assert "1 line (the first is task 0) ends in '&': such a task ends at once, and is finished whatever" in process.stderr
    quiet = site.farm(site.tasklist(["true", "true && true"], "others"))
    quiet.succeed(60)
    assert "'&'" not in quiet.stderr


def test_a_list_without_such_lines_has_nothing_to_say(tmp_path: Path) -> None:
    path = tmp_path / "tasks"
    path.write_text("true\n")
    assert describe_background(read_task_lines(path)) is None


@pytest.mark.parametrize(
    "line",
    ["a & b", "a & wait", "a && b", "echo x # then a &", "echo 'a &'", "echo a \\&", "a &> b", "a >& b", "a |& b", "a 2>&1"],
)
def test_a_line_that_waits_for_its_work_is_not_odd(tmp_path: Path, line: str) -> None:
    path = tmp_path / "tasks"
    path.write_text(f"{line}\n")
    assert describe_background(read_task_lines(path)) is None
