"""A line runs as bash would run it, however long it is."""

import re
import sys

import pytest
from helpers import Site, settled

from taskfarmer_mpi.runners.shell import LONGEST_ARGUMENT, BasicRunner

LONG = [LONGEST_ARGUMENT + 1, 320_000, 2_000_000]


def _padded(line: str, size: int, filler: str = "a") -> str:
    """Return the line made longer by an assignment, of so many bytes in all."""
    rest = size - len(f"x=; {line}".encode())
    return f"x={filler * (rest // len(filler.encode()))}; {line}"


def _logs(site: Site, lines: list[str], code: int = 0) -> list[str]:
    site.farm("--proc", "2", site.tasklist(lines)).succeed(60, code=code)
    settled(site.path / "tasks_workdir", lines)
    return [(site.path / "tasks_workdir" / "logs" / f"log_{number}").read_text() for number in range(len(lines))]


def test_a_line_is_an_argument_as_long_as_the_kernel_takes_it() -> None:
    line = _padded("echo", LONGEST_ARGUMENT)
    assert BasicRunner().launch(line).argv[-1] == line
    assert BasicRunner().launch(line + "a").script == f"{line}a".encode()


@pytest.mark.parametrize("filler", ["a", "é"])
def test_long_lines_run(site: Site, filler: str) -> None:
    lines = [_padded('echo "${#x} $0 $# $-"', size, filler) for size in (200, LONGEST_ARGUMENT, *LONG)]
    short, *long = _logs(site, lines)
    assert re.fullmatch(r"\d+ /bin/bash 0 \w+\n", short)
    assert {log.partition(" ")[2] for log in long} == {short.partition(" ")[2]}
    assert [int(log.split()[0]) for log in long] == [len(line) - len('x=; echo "${#x} $0 $# $-"') for line in lines[1:]]


def test_a_long_line_finds_nothing_on_stdin_and_no_descriptor_of_its_own(site: Site) -> None:
    look = "cat; readlink /proc/self/fd/0; test -e /proc/self/fd/9 && echo open; echo end"
    assert _logs(site, [_padded(look, size) for size in (200, *LONG)]) == ["/dev/null\nend\n"] * 4


@pytest.mark.parametrize("size", [200, *LONG])
def test_a_long_line_fails_as_a_short_one(site: Site, size: int) -> None:
    lines = [_padded(last, size) for last in ("exit 3", "no-such-program", "(", "kill -9 $$")]
    site.farm(site.tasklist(lines)).succeed(60, code=1)
    trace = (site.path / "tasks_workdir" / "timeline.json").read_text()
    assert sorted(map(int, re.findall(r'"code":(-?\d+)', trace))) == [-9, 2, 3, 127]


def test_a_long_line_with_a_here_string_and_a_loop_runs(site: Site) -> None:
    """The example of a list with one line of 320,000 bytes: many commands in one task."""
    line = " ".join(f"echo {number} >> out;" for number in range(20_000)) + " wc -l < out"
    assert len(line) > 300_000
    assert _logs(site, [line]) == ["20000\n"]


def test_check_says_how_a_long_line_is_handed_over(site: Site) -> None:
    process = site.start(
        *(sys.executable, "-m", "taskfarmer_mpi.ctl", "check", site.tasklist([_padded("echo", 320_000)])),
        environ=site.environ(),
    )
    process.succeed(30)
    assert "(it reads the 320,000 bytes of the line from descriptor 9)" in process.stdout
