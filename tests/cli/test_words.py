"""Words of the command line that were misread before."""

import re
import sys

import pytest
from helpers import ROOT, Site, wait_for

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")


def test_the_help_of_timeout_says_first_that_it_is_that_of_the_job(site: Site) -> None:
    process = site.farm("--help")
    process.succeed(30)
    assert "stop the whole job, not a task, after this time" in " ".join(process.stdout.split())


def test_much_verbosity_shows_no_messages_of_the_lock_package(site: Site) -> None:
    process = site.farm("-v", "2", site.tasklist(["true"]))
    process.succeed(60)
    assert process.stderr
    assert "Attempting to acquire lock" not in process.stderr


def test_the_readme_and_the_demo_say_how_many_tasks_the_demo_has(site: Site) -> None:
    script = (ROOT / "scripts/demo").read_text()
    (making,) = re.findall(r"^code=.*?^} >mywork.tasks$", script, re.DOTALL | re.MULTILINE)
    site.start("bash", "-euo", "pipefail", "-c", making, environ=site.environ(root=str(ROOT))).succeed(30)
    lines = (site.path / "mywork.tasks").read_text().splitlines()
    count = sum(not line.startswith("#") for line in lines)
    for text in (script, (ROOT / "README.md").read_text()):
        assert re.findall(r"(\d+) real tasks", text) == [str(count)]


@pytest.mark.parametrize(
    "words", [("status",), ("watch",), ("export", "--csv", "-"), ("retry",), ("stop",), ("doctor",), ("trace",), ("add",)]
)
def test_a_tasklist_stands_for_its_work_directory(words: tuple[str, ...], site: Site) -> None:
    site.farm(site.tasklist(["true"])).succeed(60)
    more = ["true"] if words == ("add",) else []
    process = site.start(*CTL, *words, "tasks", *more)
    process.succeed(60)
    assert process.stderr == ""
    assert (site.path / "tasks_workdir" / "tasks.added").exists() == bool(more)


@pytest.mark.parametrize("command", ["status", "report", "reclaim"])
def test_a_tasklist_without_its_work_directory_is_named_with_it(command: str, site: Site) -> None:
    process = site.start(*CTL, command, site.tasklist(["true"]))
    process.succeed(60, code=2)
    (line,) = process.stderr.splitlines()
    assert f"{site.path}/tasks_workdir: not a work directory: no such directory; {site.path}/tasks is a file" in line


@pytest.mark.parametrize("program", ["farm", "check"])
def test_a_work_directory_in_place_of_a_tasklist_is_named(program: str, site: Site) -> None:
    site.farm(site.tasklist(["true"])).succeed(60)
    process = site.farm("tasks_workdir") if program == "farm" else site.start(*CTL, "check", "tasks_workdir")
    process.succeed(60, code=2)
    (line,) = process.stderr.splitlines()
    assert "tasks_workdir: a work directory, not a tasklist: --workdir tasks_workdir goes on with it" in line
    assert not (site.path / "tasks_workdir_workdir").exists()


def test_a_tasklist_in_place_of_a_work_directory_is_named(site: Site) -> None:
    process = site.farm("-w", site.tasklist(["true"]))
    process.succeed(60, code=2)
    assert (
        process.stderr
        == f"taskfarmer-mpi: {site.path}/tasks: a file, not a work directory; a tasklist is given without --workdir\n"
    )


@pytest.mark.parametrize(
    ("words", "complaint", "hint"),
    [
        (("--porc", "3", "tasks"), "--porc: unknown option", "did you mean --proc?"),
        (("tasks", "--tiemout=3"), "--tiemout: unknown option", "did you mean --timeout?"),
        (("tasks", "--zzz"), "--zzz: unknown option", "--help shows"),
        (("tasks", "other"), "other: one tasklist at a time, and tasks is given", "--help shows"),
        (("-n", "x", "tasks"), "'x' is not a number of slots", "--help shows"),
        ((), "a tasklist is needed", "--help shows"),
    ],
)
def test_a_mistake_in_the_command_line_names_itself_first_and_shows_no_usage(
    words: tuple[str, ...], complaint: str, hint: str, site: Site
) -> None:
    site.tasklist(["true"])
    process = site.farm(*words)
    process.succeed(60, code=2)
    first, second = process.stderr.splitlines()
    assert complaint in first
    assert hint in second


def test_a_watch_that_is_there_before_the_farm_waits_for_it(site: Site) -> None:
    watch = site.start(*CTL, "watch", "--interval", "0.2", "tasks_workdir")
    wait_for(lambda: "waiting for a farm to begin there" in watch.stdout, deadline=30, what="the watch says so")
    site.farm(site.tasklist(["true", "true"])).succeed(60)
    watch.succeed(60)
    assert "2 tasks, 100 % done" in watch.stdout
    assert watch.stderr == ""
