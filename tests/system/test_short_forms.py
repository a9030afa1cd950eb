"""Short forms of the command line: a command that lines fill, lists that are in no file, slots by a part of the CPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import Process, Site, contents, settled

from taskfarmer_mpi.cli.options import parse_arguments
from taskfarmer_mpi.machine.cpus import Cpus, share_out
from taskfarmer_mpi.workdir.configuration import encode_config, parse_config, read_config
from taskfarmer_mpi.workdir.files import Workdir

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")


def _logs(workdir: Path, count: int) -> list[str]:
    return [(workdir / "logs" / f"log_{task}").read_text() for task in range(count)]


def _piped(site: Site, text: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "taskfarmer_mpi", "--mpi", "off", "--progress", "none", *map(str, words)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "PMI"))}
    return subprocess.run(
        command, cwd=site.path, env=environ, input=text, capture_output=True, text=True, timeout=90, check=False
    )


def test_lines_fill_a_command_which_later_runs_and_added_tasks_have_too(site: Site) -> None:
    tasklist = site.tasklist(["dir/a b.png", "it's", "$HOME"])
    workdir = Path(f"{tasklist}_workdir")
    site.farm("--progress", "none", "--command", "printf '%s|' {} {/.} {#}", tasklist).succeed(60)
    assert _logs(workdir, 3) == ["dir/a b.png|a b|1|", "it's|it's|2|", "$HOME|$HOME|3|"]
    site.start(*CTL, "add", workdir, "x.y").succeed(30)
    site.farm("--progress", "none", "-w", workdir).succeed(60)
    assert _logs(workdir, 4)[3] == "x.y|x|4|"
    show = site.start(*CTL, "show", workdir, "3")
    show.succeed(30)
    assert "command: x.y\n" in show.stdout
    other = site.farm("--progress", "none", "--command", "echo {}", tasklist)
    other.succeed(30, code=2)
    assert "made with the tasklist handler '--command'" in other.stderr


def test_a_list_from_standard_input_is_read_once_and_kept(site: Site) -> None:
    workdir = site.path / "work"
    first = _piped(site, "echo one\n# none\nfalse", "-w", workdir, "-")
    assert first.returncode == 1, first.stderr
    assert (workdir / "tasklist").read_text() == "echo one\n# none\nfalse\n"
    assert settled(workdir, ["echo one", "false"]).failed == [1]
    site.start(*CTL, "retry", workdir).succeed(30)
    again = _piped(site, "echo another\n", "-w", workdir, "-")
    assert again.returncode == 1, again.stderr
    assert "2 tasks: 1 finished, 1 failed" in again.stdout
    site.farm("--progress", "none", "-w", workdir).succeed(30, code=1)


def test_a_list_on_the_command_line_is_kept_and_another_one_is_refused(site: Site) -> None:
    workdir = site.path / "work"
    words: tuple[str | Path, ...] = ("--progress", "none", "-w", workdir, "--command", "printf '[%s]'", ":::")
    site.farm(*words, "a b", "-c", "--version", ranks=2).succeed(60)
    assert _logs(workdir, 3) == ["[a b]", "[-c]", "[--version]"]
    site.farm(*words, "a b", "-c", "--version").succeed(60)
    before = contents(workdir)
    for values in (["z"], ["a b"]):
        other = site.farm(*words, *values)
        other.succeed(30, code=2)
        assert "made for another list than that after ':::'" in other.stderr
    assert contents(workdir) == before


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("-",), "a list from standard input is kept in the work directory, so say which: --workdir DIR"),
        ((":::", "a"), "what follows ::: is kept in the work directory"),
        (("-w", "work", "tasks", ":::", "a"), ":::, and a tasklist, tasks"),
        (("-w", "work", ":::", "a", ":::", "b"), "::: twice"),
        (("-w", "work", ":::", "a", " "), "::: ' ': not a line of a list"),
        (("-w", "work", ":::", "#a"), "::: '#a': not a line of a list"),
        (
            ("-w", "work", "--command", "echo {2}", ":::", "a"),
            "the list after ':::':1: the line has 1 column, and the command {2}",
        ),
        (("-w", "work", "--command", "", ":::", "a"), "command: is empty"),
        (("--command", "x", "-t", "scan", "tasks"), "--command and --tasklist scan both say"),
        (("-j", "0%", "tasks"), "'0%' is not a number of slots: 1 or more, a part of the CPUs like 50%, or auto"),
        (("-j", "x", "tasks"), "'x' is not a number of slots"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_made(words: tuple[str, ...], complaint: str, site: Site) -> None:
    site.tasklist(["true"])
    farm = site.farm("--progress", "none", *words)
    farm.succeed(30, code=2)
    assert complaint in farm.stderr
    assert not (site.path / "work").exists()
    assert not (site.path / "tasks_workdir").exists()


def test_a_bad_list_from_standard_input_is_refused_before_anything_is_made(site: Site) -> None:
    process = _piped(site, "true\nx\0y\n", "-w", site.path / "work", "-")
    assert process.returncode == 2
    assert process.stderr == "taskfarmer-mpi: -:2: a NUL byte; a tasklist is text with one command per line\n"
    assert not (site.path / "work").exists()


def test_slots_are_a_number_or_a_part_of_the_cpus_and_that_is_kept(site: Site) -> None:
    assert parse_arguments(["-j", "3", "tasks"]).proc == 3
    assert parse_arguments(["-j50%", "tasks"]).proc == -50
    node = Cpus(frozenset(range(8)))
    assert share_out({0: ("a", node), 1: ("a", node), 2: ("b", node)}, 50) == {0: 2, 1: 2, 2: 4}
    assert share_out({0: ("a", node)}, 1) == {0: 1}
    workdir = Workdir(f"{site.tasklist(['true'])}_workdir")
    site.farm("--progress", "none", "-j", "150%", "tasks").succeed(60)
    stored = read_config(workdir)
    assert stored is not None
    assert (stored.slots, stored.cpu_share) == (None, 150)
    assert parse_config(encode_config(stored), workdir.config) == stored
    assert _slots(site.farm("--progress", "none", "-w", workdir.path)) == max(1, len(os.sched_getaffinity(0)) * 3 // 2)


def _slots(farm: Process) -> int:
    farm.succeed(60)
    return int(farm.stderr.partition(" slots,")[0].rpartition(" x ")[2])
