"""How a line becomes a process."""

import os
import stat
from pathlib import Path

import pytest

from taskfarmer_mpi.runners.shell import BASH, BasicRunner, ExecRunner


@pytest.mark.parametrize("line", ["/bin/true 5", "ls -l /tmp", "dd if=/dev/null of=/dev/null", "env  A=b\tc"])
def test_a_plain_line_is_started_directly(line: str) -> None:
    launch = BasicRunner().launch(line)
    assert launch.program.startswith("/")
    assert launch.program != BASH
    assert launch.argv == line.split()
    assert launch.fallback == line


@pytest.mark.parametrize(
    "line",
    [
        "echo a",
        "true",
        "cd /tmp",
        "A=b env",
        "ls *.c",
        "ls ~",
        "ls 'a'",
        'ls "a"',
        "ls $HOME",
        "ls | wc",
        "ls > x",
        "ls && ls",
        "ls; ls",
        "ls {a,b}",
        "ls #x",
        "ls \\a",
        "ls é",
        "ls `x`",
        "ls &",
        "(ls)",
        "! ls",
        "ls ?",
        "ls [a]",
        "no-such-program-anywhere",
        "/tmp",
        "%1",
        "-x foo",
        "--version",
    ],
)
def test_everything_else_goes_through_bash(line: str) -> None:
    launch = BasicRunner().launch(line)
    assert (launch.program, launch.argv) == (BASH, [BASH, "-c", "--", line])


def test_a_function_that_bash_inherits_hides_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASH_FUNC_ls%%", "() { echo mine; }")
    assert BasicRunner().launch("ls -l").program == BASH


def test_a_program_that_appears_later_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    runner = BasicRunner()
    assert runner.launch("newtool").program == BASH
    tool = tmp_path / "newtool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    assert runner.launch("newtool").program == str(tool)


def test_the_exec_runner_splits_at_white_space_only() -> None:
    launch = ExecRunner().launch("ls 'a b' $HOME > x")
    assert launch.argv == ["ls", "'a", "b'", "$HOME", ">", "x"]
    assert launch.fallback == ""
