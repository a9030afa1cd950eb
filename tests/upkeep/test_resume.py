"""A work directory knows its run: handler and runner, their options, the directory, the slots."""

import configparser
import shutil
import signal
import sys
from pathlib import Path

import pytest
from helpers import Site, contents, settled, wait_for

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")

RUNNER_FOR_PYTASKFARMER = """
import subprocess
from taskfarmer.runners import Runner

class Shouting(Runner):
    def __init__(self, mark, unused=''):
        super().__init__()
        self.mark = mark
        self.child = None

    def run(self, taskid, command, logfh):
        logfh.write(f'{self.mark} {taskid}\\n')
        logfh.flush()
        self.child = subprocess.Popen(['/bin/bash', '-c', command], stdout=logfh, stderr=logfh)
        self.child.communicate()
        return self.child.returncode

    def terminate(self):
        with open('terminated', 'a') as file:
            file.write(f'{self.mark}\\n')
        if self.child is not None:
            self.child.kill()
"""
TASKLIST_FOR_PYTASKFARMER = """
from taskfarmer.task import ListTaskList

class Greeting(ListTaskList):
    def __init__(self, path, workdir, greeting='hello'):
        super().__init__(path, workdir)
        self.greeting = greeting

    def __getitem__(self, taskid):
        return f'echo {self.greeting} {self.tasks[taskid]}'
"""
INI = """\
[shouting]
Runner = shouting.Shouting
mark = !

[greeting]
TaskList = greeting.Greeting
greeting = good morning
"""


@pytest.fixture
def user(site: Site, pytaskfarmer: Path) -> dict[str, str]:
    """Return the environment of a user who has classes for PyTaskFarmer, and PyTaskFarmer installed beside ours."""
    (site.path / "shouting.py").write_text(RUNNER_FOR_PYTASKFARMER)
    (site.path / "greeting.py").write_text(TASKLIST_FOR_PYTASKFARMER)
    (site.path / "a.ini").write_text(INI)
    installed = next(pytaskfarmer.parent.parent.glob("lib/python3*/site-packages"))
    library = site.path / "library"
    library.mkdir()
    (library / "taskfarmer").symlink_to(installed / "taskfarmer")
    return site.environ(PYTHONPATH=f"{site.path}:{library}", HOME=str(site.path / "home"))


def test_classes_written_for_pytaskfarmer_run_unchanged(site: Site, user: dict[str, str]) -> None:
    tasks = ["world", "moon && false", "sun"]
    farm = site.farm("-r", "shouting", "-t", "greeting", "-n", "2", site.tasklist(tasks), environ=user)
    farm.succeed(60, code=1)
    workdir = site.path / "tasks_workdir"
    assert settled(workdir, tasks).failed == [1]
    logs = [(workdir / "logs" / f"log_{i}").read_text() for i in range(3)]
    assert logs == ["! 0\ngood morning world\n", "! 1\ngood morning moon\n", "! 2\ngood morning sun\n"]


def test_a_stop_lets_a_runner_for_pytaskfarmer_terminate_its_task(site: Site, user: dict[str, str]) -> None:
    tasks = ["sleep 600", "sleep 601"]
    farm = site.farm("-r", "shouting", "-n", "2", site.tasklist(tasks), environ=user)
    logs = site.path / "tasks_workdir" / "logs"
    wait_for(lambda: sum(log.stat().st_size > 0 for log in logs.glob("*")) == 2, deadline=60, what="both tasks run")
    farm.kill(signal.SIGUSR1)
    farm.succeed(30, code=75)
    assert (site.path / "terminated").read_text() == "!\n!\n"
    assert site.leftovers() == []


def test_a_killed_farm_goes_on_from_another_directory_with_its_handler_and_runner(site: Site, user: dict[str, str]) -> None:
    tasks = [f"{i} && sleep 0.05 && pwd" for i in range(40)]
    farm = site.farm("-r", "shouting", "-t", "greeting", "-n", "2", site.tasklist(tasks), environ=user)
    workdir = site.path / "tasks_workdir"
    wait_for(lambda: (workdir / "finished").exists(), deadline=60, what="some tasks have ended")
    farm.kill()
    farm.wait(30)
    (site.path / "a.ini").unlink()
    again = site.farm("-w", workdir, environ=user, cwd=Path("/"))
    again.succeed(60)
    settled(workdir, tasks)
    logs = [(workdir / "logs" / f"log_{i}").read_text() for i in range(40)]
    assert logs == [f"! {i}\ngood morning {i}\n{site.path}\n" for i in range(40)]
    assert "1 x 2 slots" in again.stderr


def test_options_win_over_what_is_stored_and_are_not_stored(site: Site) -> None:
    tasklist = site.tasklist(["echo $0", "false"])
    site.farm("-n", "3", "-r", "exec", tasklist).succeed(30, code=1)
    workdir = site.path / "tasks_workdir"
    before = (workdir / "farm.ini").read_bytes()
    assert (workdir / "logs" / "log_0").read_text() == "$0\n"
    site.start(*CTL, "retry", workdir, "0").succeed(30)
    again = site.farm("-n", "5", "-r", "default", "-w", workdir)
    again.succeed(30, code=1)
    assert (workdir / "logs" / "log_0").read_text() == "/bin/bash\n"
    assert "1 x 5 slots" in again.stderr
    assert (workdir / "farm.ini").read_bytes() == before


def test_the_configuration_says_where_definitions_are_from(site: Site, user: dict[str, str]) -> None:
    site.farm("-r", "shouting", "-n", "auto", site.tasklist(["true"]), environ=user).succeed(30)
    stored = configparser.ConfigParser(interpolation=None)
    stored.read(site.path / "tasks_workdir" / "farm.ini")
    assert dict(stored["runner"]) == {"name": "shouting", "class": "shouting.Shouting", "file": str(site.path / "a.ini")}
    assert dict(stored["runner options"]) == {"mark": "!"}
    assert stored["farm"]["slots"] == "auto"
    assert stored["farm"]["directory"] == str(site.path)


def test_another_tasklist_is_a_contradiction_that_shows_both(site: Site) -> None:
    first = site.tasklist(["true"])
    other = site.tasklist(["true"], "other")
    workdir = site.path / "tasks_workdir"
    site.farm(first).succeed(30)
    before = contents(workdir)
    process = site.farm("-w", workdir, other)
    process.succeed(30, code=2)
    assert f"made for {first}, not for {other}" in process.stderr
    assert process.stderr.count("\n") == 1
    assert contents(workdir) == before


def test_another_handler_is_a_contradiction_that_shows_both(site: Site, user: dict[str, str]) -> None:
    tasklist = site.tasklist(["x"])
    site.farm("-t", "greeting", tasklist, environ=user).succeed(30)
    (site.path / "a.ini").write_text(INI.replace("good morning", "good night"))
    for name, words in (("greeting", "greeting = good night"), ("default", "'default'")):
        process = site.farm("-t", name, tasklist, environ=user)
        process.succeed(30, code=2)
        assert "greeting = good morning" in process.stderr
        assert words in process.stderr
        assert process.stderr.count("\n") == 1
    site.farm(tasklist, environ=user).succeed(30)


def test_a_farm_that_was_moved_goes_on_with_its_tasklist(site: Site) -> None:
    (site.path / "old").mkdir()
    tasklist = site.tasklist(["true", "sleep 600"], "old/tasks")
    site.farm("--timeout", "1", tasklist).succeed(30, code=75)
    (site.path / "old").rename(site.path / "new")
    farm = site.farm("--timeout", "1", site.path / "new" / "tasks")
    farm.succeed(30, code=75)
    assert "2 tasks: 1 finished" in farm.stdout


def test_a_directory_that_is_gone_is_told_in_one_line(site: Site) -> None:
    (site.path / "gone").mkdir()
    site.farm(site.tasklist(["true"]), cwd=site.path / "gone").succeed(30)
    shutil.rmtree(site.path / "gone")
    process = site.farm("-w", site.path / "tasks_workdir")
    process.succeed(30, code=2)
    assert "cannot enter the directory of the farm's tasks" in process.stderr


def test_what_lies_in_the_current_directory_is_not_imported(site: Site) -> None:
    for name in ("filelock", "stray"):
        (site.path / f"{name}.py").write_text("open('imported', 'w')\nclass Runner: ...\n")
    (site.path / "stray.ini").write_text("[stray]\nRunner = stray.Runner\n[broken\n")
    tasklist = site.tasklist(["true"])
    site.farm(tasklist).succeed(30)
    (site.path / "stray.ini").write_text("[stray]\nRunner = stray.Runner\n")
    process = site.farm("-r", "stray", "-w", "other", tasklist)
    process.succeed(30, code=2)
    assert "stray.ini: [stray] Runner = stray.Runner: cannot import stray" in process.stderr
    assert not (site.path / "imported").exists()
    assert not (site.path / "other").exists()


HANDLER_THAT_DIFFERS = """
import os
from taskfarmer_mpi.tasklists.lines import ListTaskList, TaskLines

class Differing(ListTaskList):
    def __init__(self, path, workdir):
        super().__init__(path, workdir)
        if os.environ.get('PMI_RANK', os.environ.get('OMPI_COMM_WORLD_RANK')) == '1':
            self.tasks = TaskLines(b'echo ran > ran')
"""


def test_a_rank_that_reads_another_tasklist_ends_the_job_before_it_began(site: Site) -> None:
    (site.path / "differing.py").write_text(HANDLER_THAT_DIFFERS)
    (site.path / "a.ini").write_text("[differing]\nTaskList = differing.Differing\n")
    environ = site.environ(PYTHONPATH=str(site.path), HOME=str(site.path))
    farm = site.farm("-t", "differing", site.tasklist(["touch ran"] * 9), ranks=2, environ=environ)
    farm.succeed(60, code=2)
    assert f"{site.path}/tasks: not as rank 0 has read it" in farm.stderr
    assert "Traceback" not in farm.stderr
    assert not (site.path / "ran").exists()


HANDLER_THAT_WRITES = """
import os

class Writing:
    def __init__(self, path, workdir):
        os.mkdir(workdir + '/output')
        self.tasks = [line.split() for line in open(path)]
        self.place = workdir + '/output'

    def __len__(self):
        return len(self.tasks)

    def __getitem__(self, taskid):
        name, number = self.tasks[taskid]
        return f'make {name} {self.place}/{number}'
"""


def test_check_shows_the_commands_of_a_handler_that_wants_to_write(site: Site) -> None:
    (site.path / "writing.py").write_text(HANDLER_THAT_WRITES)
    (site.path / "a.ini").write_text("[writing]\nTaskList = writing.Writing\n")
    environ = site.environ(PYTHONPATH=str(site.path), HOME=str(site.path), TMPDIR=str(site.path))
    tasklist = site.tasklist(["a 1", "b 2"])
    check = site.start(*CTL, "check", "-t", "writing", tasklist, environ=environ)
    check.succeed(30)
    assert f"task 1: make b {site.path}/tasks_workdir/output/2\n" in check.stdout
    assert not (site.path / "tasks_workdir").exists()
    assert not list(site.path.glob("taskfarmer-check-*"))
    tasklist.write_text("a 1\nb\n")
    check = site.start(*CTL, "check", "-t", "writing", tasklist, environ=environ)
    check.succeed(30, code=2)
    assert f"{site.path}/a.ini: [writing]: no command for task 1: ValueError" in check.stderr
    assert check.stderr.count("\n") == 1


def test_check_shows_what_would_be_started_and_leaves_nothing_behind(site: Site, user: dict[str, str]) -> None:
    tasklist = site.tasklist(["echo 'a b' | cat", "/bin/true x", "no_such_program"])
    before = contents(site.path)
    check = site.start(*CTL, "check", tasklist, "--show", "2", environ=site.environ(SCRATCH=str(site.path)))
    check.succeed(30)
    assert "3 tasks" in check.stdout
    assert """    /bin/bash -c -- 'echo '"'"'a b'"'"' | cat'\n""" in check.stdout
    assert "    /bin/true x\n" in check.stdout
    assert "no_such_program" not in check.stdout
    assert "locks exclude on this node" in check.stdout
    changed = {path for path in contents(site.path).keys() ^ before.keys() if not path.startswith("output of commands")}
    assert changed == set()
    wrong = site.start(*CTL, "check", tasklist, "-r", "nobody", environ=user)
    wrong.succeed(30, code=2)
    assert "unknown runner 'nobody'; known: default, exec, shouting" in wrong.stderr
