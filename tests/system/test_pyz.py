"""The program as one file, made by `scripts/pyz`: farms, also beside farmers of the package, and what they start."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from helpers import MPIEXEC, ROOT, Site, Witness, clean_environment, is_alive, processes_with, settled, wait_for

MOST_OPENED = {"farmer": 6, "guardian": 12}
"""How often each process opens the archive at the start of a farm; installed, a farmer opens some 140 modules."""

_RUNNER = """\
import subprocess

class Mine:
    def run(self, taskid, command, logfh):
        return subprocess.call([*command.split(), "mine"], stdout=logfh)

    def terminate(self):
        pass
"""


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pyz") / "taskfarmer.pyz"
    command = [sys.executable, str(ROOT / "scripts" / "pyz"), "-o", str(path)]
    done = subprocess.run(command, env=clean_environment(), timeout=120, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return path


def test_farmers_of_the_archive_and_of_the_package_share_a_list(pyz: Path, site: Site, witness: Witness) -> None:
    count = 60
    tasklist = site.tasklist(witness.tasks(count, 0.2))
    farmers = [
        site.start(sys.executable, "-S", pyz, "--mpi", "off", "-n", "2", tasklist),  # -S: nothing that is installed
        site.farm("--mpi", "off", "-n", "2", tasklist),
    ]
    for farmer in farmers:
        farmer.succeed(90)
    runs = witness.once_each(count)
    assert {run.farmer_pid for run in runs.values()} == {farmer.pid for farmer in farmers}
    assert len(settled(Path(f"{tasklist}_workdir"), tasklist.read_text().splitlines()).finished) == count
    ctl = site.start(sys.executable, pyz, "ctl", "status", tasklist)
    ctl.succeed(60)
    assert f"{count} tasks, 100 % done" in ctl.stdout


def test_ranks_of_the_archive_find_each_other(pyz: Path, site: Site, witness: Witness) -> None:
    tasklist = site.tasklist(witness.tasks(20, 0.2))
    job = site.start(MPIEXEC, "-n", "2", sys.executable, pyz, "-n", "2", tasklist)
    job.succeed(90)
    assert "2 farmers" in job.stdout
    assert len({run.farmer for run in witness.once_each(20).values()}) == 2


def test_tasks_of_a_farmer_of_the_archive_die_with_it_and_the_next_run_has_them(pyz: Path, site: Site) -> None:
    tasklist = site.tasklist(["[ -e again ] || exec sleep 1000"])
    farmer = site.start(sys.executable, pyz, "--mpi", "off", "-n", "1", tasklist)
    task = wait_for(
        lambda: next((pid for pid in processes_with(farmer.launch) if _is_sleep(pid)), 0), deadline=60, what="the task"
    )
    farmer.kill()
    wait_for(lambda: not is_alive(task), deadline=60, what="the guardian's work")
    (site.path / "again").touch()
    site.start(sys.executable, pyz, "--mpi", "off", tasklist).succeed(60)
    assert settled(Path(f"{tasklist}_workdir"), tasklist.read_text().splitlines()).finished == [0]


def _is_sleep(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep\0")
    except OSError:
        return False


def test_monitors_and_runners_of_users_start_from_the_archive(pyz: Path, site: Site) -> None:
    (site.path / "mine.py").write_text(_RUNNER)
    (site.path / "runners.ini").write_text("[mine]\nRunner = mine.Mine\n")
    (site.path / "monitors.ini").write_text(
        "[lines]\nMonitor = taskfarmer_mpi.monitors.JSONLinesMonitor\npath = events.jsonl\n"
    )
    environ = site.environ(PYTHONPATH=str(site.path))
    tasklist = site.tasklist(["echo hello"])
    command = (sys.executable, pyz, "--mpi", "off", "-r", "mine", "--monitor", "lines", tasklist)
    site.start(*command, environ=environ).succeed(60)
    assert (site.path / "tasks_workdir" / "logs" / "log_0").read_text() == "hello mine\n"
    events = [json.loads(line) for line in next(site.path.rglob("events*.jsonl")).read_text().splitlines()]
    assert "task_end" in {event["kind"] for event in events}


def test_what_belongs_to_the_program_is_read_from_the_archive(pyz: Path, site: Site) -> None:
    script = site.start(sys.executable, pyz, "ctl", "script", "multinode")
    script.succeed(60)
    assert script.stdout.startswith("#!/bin/bash\n#SBATCH")
    tasklist = site.tasklist(["true"])
    site.start(sys.executable, pyz, "--mpi", "off", tasklist).succeed(60)
    site.start(sys.executable, pyz, "ctl", "report", tasklist).succeed(60)


def test_an_archive_that_was_made_with_another_python_compiles_what_it_needs(pyz: Path, site: Site) -> None:
    other = site.path / "other.pyz"
    with zipfile.ZipFile(pyz) as archive, zipfile.ZipFile(other, "w") as copy:
        for name in archive.namelist():
            if not (name.startswith("modules-") or name.endswith(".pyc")):
                copy.writestr(name, archive.read(name))
    site.start(sys.executable, other, "--mpi", "off", site.tasklist(["true"])).succeed(90)
    assert (site.path / "tasks_workdir" / "finished").read_text() == "0 true\n"


def test_a_start_from_the_archive_opens_few_files_of_the_program(pyz: Path, site: Site, strace: str) -> None:
    tasklist, log = site.tasklist(["true"]), site.path / "opened"
    prefix = f"{strace} -f -qq -o {log} -e trace=open,openat,openat2,execve"
    site.start(sys.executable, pyz, "--mpi", "off", tasklist, prefix=prefix).succeed(60)
    lines = log.read_text().splitlines()
    guardian = next(line.split()[0] for line in lines if "execve" in line and '"-I", "-S"' in line)
    opened = [
        line for line in lines if re.search(r'open[^"]*"[^"]*(taskfarmer\.pyz|taskfarmer_mpi/)[^"]*", .* = \d+$', line)
    ]
    counts = {who: sum((line.split()[0] == guardian) == (who == "guardian") for line in opened) for who in MOST_OPENED}
    assert all(0 < counts[who] <= most for who, most in MOST_OPENED.items()), "\n".join(opened)


def test_an_older_python_is_refused_in_one_line(pyz: Path) -> None:
    older = "import sys, zipfile; sys.version_info = (3, 10, 1); exec(zipfile.ZipFile(sys.argv[1]).read('__main__.py'))"
    done = subprocess.run([sys.executable, "-c", older, pyz], timeout=60, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("taskfarmer-mpi: Python 3.11 or newer is needed, and ")
