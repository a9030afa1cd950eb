"""What is said to who mistypes, and what a command does before it begins."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from helpers import MPIEXEC, NAMELESS, Process, Site, settled

from taskfarmer_mpi.cli.options import build_parser
from taskfarmer_mpi.cli.other_tools import HERE


def _ctl(site: Site, *arguments: str | Path, **environ: str) -> Process:
    return site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", *arguments, environ=site.environ(**environ))


@pytest.mark.parametrize(("typed", "meant"), [("stauts", "status"), ("recliam", "reclaim"), ("docter", "doctor")])
def test_an_unknown_command_names_the_nearest_one(typed: str, meant: str, site: Site) -> None:
    process = _ctl(site, typed, "tasks_workdir")
    process.succeed(30, code=2)
    assert process.stderr.splitlines() == [f"taskfarmer-ctl: {typed}: unknown command", f"did you mean {meant}?"]


@pytest.mark.parametrize(
    ("command", "typed", "meant"),
    [("taskfarmer_mpi", "--porc=4", "--proc"), ("taskfarmer_mpi", "--time-out", "--timeout")],
)
def test_an_unknown_option_names_the_nearest_one_before_the_tasklist_is_blamed(
    command: str, typed: str, meant: str, site: Site
) -> None:
    process = site.start(sys.executable, "-m", command, typed, "4", "missing")
    process.succeed(30, code=2)
    name = typed.partition("=")[0]
    assert process.stderr.splitlines() == [f"taskfarmer-mpi: {name}: unknown option", f"did you mean {meant}?"]


@pytest.mark.parametrize(
    ("typed", "named", "advice"),
    [
        (("--jobs", "4"), "--jobs", "the number of slots is -j N"),
        (("-P4",), "-P4", "the number of slots is -j N"),
        (("-I{}", "echo {}"), "-I{}", "each line is put into the places of --command"),
        (("--joblog=log",), "--joblog", "afterwards: taskfarmer-ctl export --joblog FILE WORKDIR"),
        (("--sshlogin", "n1,n2"), "--sshlogin", "nodes come from the launcher: srun -N5"),
        (("--time-limit", "10m"), "--time-limit", "a task's time limit is --task-timeout SECONDS"),
    ],
)
def test_an_option_of_another_tool_names_what_does_that_here(
    typed: tuple[str, ...], named: str, advice: str, site: Site
) -> None:
    process = site.farm(*typed, site.tasklist(["true"]))
    process.succeed(30, code=2)
    complaint, hint = process.stderr.splitlines()
    assert complaint == f"taskfarmer-mpi: {named}: unknown option"
    assert hint.startswith(f"that is an option of other tools; here: {advice}")
    assert not (site.path / "tasks_workdir").exists()


def test_no_option_of_this_program_passes_for_another_tools_and_what_is_advised_is_there() -> None:
    known = set(build_parser()._option_string_actions)
    assert known.isdisjoint(" ".join(HERE).split())
    elsewhere = {"--array", "--joblog"}  # of commands of taskfarmer-ctl
    assert set(re.findall(r"(?<!\w)--[a-z-]+", " ".join(HERE.values()))) - elsewhere <= known


def test_an_unknown_option_of_a_command_names_the_nearest_one(site: Site) -> None:
    process = _ctl(site, "status", "--jsn", "x")
    process.succeed(30, code=2)
    assert process.stderr.splitlines() == ["taskfarmer-ctl status: --jsn: unknown option", "did you mean --json?"]


def test_two_tasklists_are_refused_in_one_line(site: Site) -> None:
    process = site.farm("one", "two")
    process.succeed(30, code=2)
    advice = "start a farm for each, or make one list of them"
    first = process.stderr.splitlines()[0]
    assert first == f"taskfarmer-mpi: two: one tasklist at a time, and one is given: {advice}"


# -- before a command begins ------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["{0}:/nowhere", "/nowhere:", ":/nowhere", ".", "{0}"])
def test_files_of_a_user_that_are_named_like_pythons_own_are_not_imported(where: str, site: Site) -> None:
    for name in ("random", "queue", "argparse", "logging", "traceback", "socket", "json", "typing", "difflib"):
        (site.path / f"{name}.py").write_text("raise SystemExit(1)\n")
    script = Path(sys.executable).with_name("taskfarmer-mpi")
    environ = site.environ(PYTHONPATH=where.format(site.path))
    process = site.start(sys.executable, "-S", "-m", "taskfarmer_mpi", "--version", environ=environ)
    if process.wait(30) != 0:  # this package is found by site-packages only
        assert "No module named taskfarmer_mpi" in process.stderr, process.said()
    process = site.start(script, site.tasklist(["true"]), environ=environ)
    process.succeed(30)
    assert settled(site.path / "tasks_workdir", ["true"]).finished == [0]


@pytest.mark.parametrize("module", ["taskfarmer_mpi", "taskfarmer_mpi.ctl"])
def test_a_removed_current_directory_is_one_line(module: str, site: Site) -> None:
    gone = site.path / "gone"
    gone.mkdir()
    words = "status x" if module.endswith("ctl") else "tasks"
    process = site.start("bash", "-c", f"rmdir {gone}; {sys.executable} -m {module} {words}", cwd=gone)
    process.succeed(30, code=2)
    (line,) = process.stderr.splitlines()
    assert "the current directory cannot be used" in line


@pytest.mark.parametrize("missing", ["fcntl", "taskfarmer_mpi.common.signals", "taskfarmer_mpi.run.rank"])
def test_a_module_that_is_missing_is_one_line_and_not_the_code_of_failed_tasks(missing: str, site: Site) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from taskfarmer_mpi.cli.main import main; main(['--mpi', 'off', 'tasks'])"
    )
    site.tasklist(["true"])
    process = site.start(sys.executable, "-c", code)
    process.succeed(30, code=2)
    (line,) = process.stderr.splitlines()
    assert f"cannot begin on {os.uname().nodename} with {sys.executable}: " in line
    assert missing in line
    assert not (site.path / "tasks_workdir").exists()


@pytest.mark.parametrize("tasklist", ["fifo", "/dev/stdin", "/dev/null"])
def test_a_tasklist_that_cannot_be_read_again_is_refused_at_once(tasklist: str, site: Site) -> None:
    os.mkfifo(site.path / "fifo")
    before = set(Path("/dev").iterdir())
    process = site.start("bash", "-c", f"echo true | {sys.executable} -m taskfarmer_mpi {tasklist}")
    process.succeed(30, code=2)
    (line,) = process.stderr.splitlines()
    assert line.startswith(f"taskfarmer-mpi: {tasklist}: not a regular file")
    assert not {path for path in set(Path("/dev").iterdir()) - before if path.name.endswith("_workdir")}
    assert not list(site.path.glob("*_workdir"))


@pytest.mark.parametrize("first", [3, 1021, 1100])
@pytest.mark.parametrize("launcher", [[], [MPIEXEC, "-n", "2"]], ids=["alone", "two ranks"])
def test_many_inherited_descriptors_are_no_reason_to_fail(launcher: list[str], first: int, site: Site) -> None:
    """The farmer has them, its process that speaks MPI, and that of a monitor."""
    code = (
        "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (4000, 4000))\n"
        "null = os.open(os.devnull, os.O_RDWR); os.set_inheritable(null, True)\n"
        f"for fd in range(3, {first}):\n"
        "    try: os.fstat(fd)\n"
        "    except OSError: os.dup2(null, fd)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'taskfarmer_mpi', '-m', 'notes', 'tasks'])"
    )
    site.tasklist(["true"] * 3)
    (site.path / "monitors.ini").write_text(
        "[notes]\nMonitor = taskfarmer_mpi.monitors.JSONLinesMonitor\npath = notes-{rank}\n"
    )
    process = site.start(*launcher, sys.executable, "-c", code)
    process.succeed(60)
    settled(site.path / "tasks_workdir", ["true"] * 3)
    assert f"{max(1, 2 * len(launcher[:1]))} farmer" in process.stdout
    notes = "".join(path.read_text() for path in site.path.glob("notes-*"))
    assert notes.count('"task_end"') == 3, process.said()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
@pytest.mark.parametrize("home", ["-u HOME", "HOME={0}/closed", "HOME="])
@pytest.mark.parametrize("command", ["-m taskfarmer_mpi tasks", "-m taskfarmer_mpi.ctl check tasks"])
@pytest.mark.parametrize(
    "user", ["setpriv --bounding-set -dac_override,-dac_read_search", NAMELESS], ids=["root", "nameless"]
)
def test_a_home_that_is_not_there_or_another_users_is_no_reason_to_fail(
    user: str, command: str, home: str, site: Site
) -> None:
    (site.path / "closed" / ".pytaskfarmer" / "runners.d").mkdir(parents=True)
    (site.path / "closed").chmod(0o700)
    os.chown(site.path / "closed", 4243, 4243)
    site.tasklist(["true"])
    os.chown(site.path, 4242 if user == NAMELESS else 0, 0)
    process = site.start("bash", "-c", f"exec env {home.format(site.path)} {user} {sys.executable} {command}")
    process.succeed(30)
    assert "Traceback" not in process.stderr


# -- output that goes nowhere -----------------------------------------------------------------------

NOWHERE = [">/dev/full", ">&-", ">/dev/full 2>/dev/full", ">&- 2>&- <&-"]


@pytest.mark.parametrize("nowhere", NOWHERE)
@pytest.mark.parametrize(("tasks", "code"), [(["true", "true"], 0), (["true", "false"], 1)])
def test_the_code_of_a_farm_is_that_of_its_tasks_wherever_its_output_goes(
    tasks: list[str], code: int, nowhere: str, site: Site
) -> None:
    site.tasklist(tasks)
    process = site.start("bash", "-c", f"{sys.executable} -m taskfarmer_mpi tasks {nowhere}")
    process.succeed(30, code=code)
    assert "Traceback" not in process.stderr
    lists = settled(site.path / "tasks_workdir", tasks)
    assert len(lists.failed) == code


@pytest.mark.parametrize("nowhere", NOWHERE)
@pytest.mark.parametrize(("command", "code"), [("status", 75), ("status --json", 75), ("add", 0), ("retry", 0)])
def test_a_command_whose_purpose_is_its_output_fails_where_that_goes_nowhere_and_others_do_not(
    command: str, code: int, nowhere: str, site: Site
) -> None:
    site.farm(site.tasklist(["true"])).succeed(30)
    name, _, option = command.partition(" ")
    words = f"{name} tasks_workdir {option or ('true' if name == 'add' else '')}"
    process = site.start("bash", "-c", f"{sys.executable} -m taskfarmer_mpi.ctl {words} {nowhere}")
    process.succeed(30, code=code)
    assert "Traceback" not in process.stderr
    assert (site.path / "tasks_workdir" / "tasks.added").exists() == (name == "add")
