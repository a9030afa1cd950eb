"""A work directory of version 73bdc2d, with classes of a user's under their former paths, is finished by today's code."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import skip_or_fail
from helpers import ROOT, Process, Site, Witness, settled, wait_for

BEFORE = "73bdc2d"
"""The commit before modules moved into folders."""

_CLASSES = """\
from taskfarmer_mpi.runners import BasicRunner, Launch
from taskfarmer_mpi.tasklist import ListTaskList

class Marking(BasicRunner):
    def __init__(self, word="none"):
        self.word = word
    def launch(self, command):
        launch = super().launch(f"echo {self.word}; {command}")
        assert isinstance(launch, Launch)
        return launch

class Trusting(ListTaskList):
    pass
"""
_INI = """\
[marking]
Runner = own_classes.Marking
word = {word}

[trusting]
TaskList = own_classes.Trusting

[container]
Runner = taskfarmer_mpi.containers.ApptainerRunner
image = x.sif

[table]
TaskList = taskfarmer_mpi.{module}.TableTaskList
command = sleep {{seconds}}
"""


@pytest.fixture
def former(site: Site) -> Path:
    """Return a directory with the package as it was."""
    archive = subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", ROOT, "archive", BEFORE, "taskfarmer_mpi"],
        capture_output=True,
        check=False,
        timeout=60,
    )
    if archive.returncode != 0:
        skip_or_fail(f"{BEFORE} is not in this checkout: a shallow clone has no history (git fetch --unshallow)")
    folder = site.path / "former"
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True, timeout=60)
    return folder


def _arrange(site: Site) -> None:
    (site.path / "own_classes.py").write_text(_CLASSES)
    (site.path / "own.ini").write_text(_INI.format(word="marked", module="table"))


def _former_farm(site: Site, former: Path, *arguments: str | Path) -> Process:
    environ = site.environ(PYTHONPATH=f"{former}:{site.path}")
    return site.start(sys.executable, "-m", "taskfarmer_mpi", *arguments, environ=environ)


def _todays_farm(site: Site, *arguments: str | Path) -> Process:
    return site.farm(*arguments, environ=site.environ(PYTHONPATH=str(site.path)))


def _all_marked(site: Site, count: int) -> bool:
    logs = site.path / "tasks_workdir" / "logs"
    return all((logs / f"log_{i}").read_text() == "marked\n" for i in range(count))


def test_a_list_that_the_former_version_left_in_the_middle_is_finished(site: Site, witness: Witness, former: Path) -> None:
    _arrange(site)
    tasks = witness.tasks(30, 0.1)
    tasklist = site.tasklist(tasks)
    first = _former_farm(site, former, "-n", "2", "-r", "marking", "-t", "trusting", tasklist)
    wait_for(lambda: len(witness.runs()) > 6, deadline=30, what="some tasks run")
    first.kill(signal.SIGKILL)
    assert not (site.path / "tasks_workdir" / "agreement").exists()
    _todays_farm(site, "-n", "4", "-t", "trusting", tasklist).succeed(60)
    assert settled(site.path / "tasks_workdir", tasks).failed == []
    assert witness.overlaps() == []
    assert _all_marked(site, 30)


@pytest.mark.parametrize("first", ["former", "today"])
def test_both_versions_work_on_one_list_at_once(first: str, site: Site, witness: Witness, former: Path) -> None:
    _arrange(site)
    tasks = witness.tasks(80, 0.1)
    tasklist = site.tasklist(tasks)
    farmers = []
    for version in (first, "today" if first == "former" else "former"):
        words = ("-n", "2", "-r", "marking", "-t", "trusting", tasklist)
        farmers.append(_former_farm(site, former, *words) if version == "former" else _todays_farm(site, *words))
        seen = len(witness.runs())
        wait_for(lambda seen=seen: len(witness.runs()) > seen + 1, deadline=30, what="it works")  # type: ignore[misc]
    for farmer in farmers:
        farmer.succeed(60)
    assert settled(site.path / "tasks_workdir", tasks).failed == []
    runs = witness.once_each(80)
    assert len({run.farmer for run in runs.values()}) == 2
    assert _all_marked(site, 80)


def test_a_living_farmer_of_the_former_version_under_another_lock_is_seen(
    site: Site, witness: Witness, former: Path
) -> None:
    tasklist = site.tasklist(witness.tasks(1, 60))
    (site.path / "s1").mkdir()
    environ = site.environ(PYTHONPATH=str(former), SCRATCH=str(site.path / "s1"))
    site.start(sys.executable, "-m", "taskfarmer_mpi", tasklist, environ=environ)
    wait_for(witness.runs, deadline=30, what="its task runs")
    late = site.farm(tasklist)
    late.succeed(30, code=2)
    (line,) = late.stderr.splitlines()
    assert f"exclude each other by {site.path / 's1'}" in line
    assert f"set SCRATCH to {site.path / 's1'}" in line


def test_a_former_path_in_an_ini_file_and_todays_in_the_work_directory_are_no_contradiction(
    site: Site, former: Path
) -> None:
    _arrange(site)
    (site.path / "tasks").write_text("seconds\n0\n0.1\n")
    _former_farm(site, former, "-t", "table", "tasks").succeed(30)
    assert "taskfarmer_mpi.table.TableTaskList" in (site.path / "tasks_workdir" / "farm.ini").read_text()
    (site.path / "own.ini").write_text(_INI.format(word="marked", module="tasklists"))
    (site.path / "tasks").write_text("seconds\n0\n0.1\n0.2\n")
    _todays_farm(site, "-t", "table", "tasks").succeed(30)
    (site.path / "own.ini").write_text(_INI.format(word="marked", module="table"))
    (site.path / "tasks").write_text("seconds\n0\n0.1\n0.2\n0.3\n")
    _todays_farm(site, "-t", "table", "tasks").succeed(30)
    assert len((site.path / "tasks_workdir" / "finished").read_text().splitlines()) == 4


# every class that the documentation of that version names by its path
FORMER_PATHS = [
    "taskfarmer_mpi.runners.BasicRunner",
    "taskfarmer_mpi.runners.ExecRunner",
    "taskfarmer_mpi.containers.ShifterRunner",
    "taskfarmer_mpi.containers.ApptainerRunner",
    "taskfarmer_mpi.containers.PodmanHPCRunner",
    "taskfarmer_mpi.tasklist.ListTaskList",
    "taskfarmer_mpi.tasklist.Lines",
    "taskfarmer_mpi.news.Event",
    "taskfarmer_mpi.table.TableTaskList",
    "taskfarmer_mpi.template.TemplateTaskList",
    "taskfarmer_mpi.atlas.TransformTaskList",
    "taskfarmer_mpi.atlas.AthenaTaskList",
    "taskfarmer_mpi.monitors.CommandMonitor",
    "taskfarmer_mpi.monitors.JSONLinesMonitor",
    "taskfarmer_mpi.monitors.OpenMetricsMonitor",
]


@pytest.mark.parametrize("path", FORMER_PATHS)
def test_every_documented_former_path_finds_its_class(path: str) -> None:
    module, _, name = path.rpartition(".")
    code = (
        "from taskfarmer_mpi.runners.class_paths import current_path, find_former_modules\n"
        "import importlib; find_former_modules()\n"
        f"old = getattr(importlib.import_module({module!r}), {name!r})\n"
        f"module, _, name = current_path({path!r}).rpartition('.')\n"
        "assert getattr(importlib.import_module(module), name) is old, (module, name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
