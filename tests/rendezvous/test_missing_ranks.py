"""MPI that hangs, ends its process or is not there: the farmers see it, say so in one line, and do the list."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from helpers import (
    MPIEXEC,
    Process,
    Site,
    Stopwatch,
    Witness,
    accounted,
    is_alive,
    parent_of,
    processes_with,
    settled,
    wait_for,
)

_LATE = """\
#!/bin/bash
# Starts all ranks but one, which never comes to MPI.
[ "${PMI_RANK:-$OMPI_COMM_WORLD_RANK}" = 1 ] && exec sleep "$1"
shift
"$@"
code=$?
echo $code >code
exit $code
"""
_BAD_LIBRARY = """\
import os, signal, sys, time
COMM_WORLD = None
def Is_initialized(): return False
def Get_library_version(): return "A library 1.0"
def Init():
    print("==========", file=sys.stderr)
    print("the library has a reason", file=sys.stderr, flush=True)
    {deed}
"""
_LAUNCHED = {"PMI_RANK": "0", "PMI_SIZE": "3"}


def _late(site: Site) -> Path:
    path = site.path / "late"
    path.write_text(_LATE)
    path.chmod(0o755)
    return path


def _bad_library(site: Site, deed: str) -> dict[str, str]:
    """Return an environment with an MPI library that does something bad when it is started."""
    folder = site.path / "modules" / "mpi4py"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("class rc: pass\n")
    (folder / "MPI.py").write_text(_BAD_LIBRARY.format(deed=deed))
    return site.environ(PYTHONPATH=str(folder.parent), **_LAUNCHED)


def _children(pid: int, job: Process) -> list[int]:
    """Return the processes that a farmer has made and that run its own program."""
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    found = [other for other in processes_with(job.launch) if parent_of(other) == pid and is_alive(other)]
    return [other for other in found if Path(f"/proc/{other}/cmdline").read_bytes() == command]


def test_the_ranks_that_are_there_work_when_one_never_starts_mpi(site: Site, witness: Witness) -> None:
    """Under mpiexec, the first of them that ends has the others killed; `test_slurm` shows it where they live on."""
    tasks = witness.tasks(60, 0.02)
    farm = site.start(
        *(MPIEXEC, "-n", "3", _late(site), "25"),
        *("python", "-m", "taskfarmer_mpi", "--mpi-timeout", "3", "-n", "1", site.tasklist(tasks)),
    )
    farm.wait(60)
    said = "MPI did not start within 3 s, as a rank is missing or cannot be reached: those that are there work"
    assert farm.stderr.count(said) == 1
    assert len(witness.runs()) > 50
    site.farm("-n", "2", site.path / "tasks").succeed(60)
    assert witness.overlaps() == []
    assert settled(site.path / "tasks_workdir", tasks).failed == []


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGINT", "SIGTERM"])
def test_a_signal_while_mpi_waits_for_a_rank_is_heard(name: str, site: Site) -> None:
    tasklist = site.tasklist(["true"] * 5)
    farm = site.start(*(MPIEXEC, "-n", "2", _late(site), "60", "python", "-m", "taskfarmer_mpi"), tasklist)
    (farmer,) = wait_for(farm.farmers, deadline=30, what="the rank that is there")
    wait_for(lambda: _children(farmer, farm), deadline=30, what="its child that speaks MPI")
    watch = Stopwatch()
    os.kill(farmer, signal.Signals[name])
    code = site.path / "code"
    wait_for(lambda: code.exists() and code.read_text(), deadline=10, what="the end of the rank")
    assert watch.read() < 4
    assert code.read_text() == "75\n"
    assert "told to stop before the ranks came together" in farm.stderr
    assert not (site.path / "tasks_workdir").exists()


@pytest.mark.parametrize(
    ("deed", "how"),
    [
        ("os._exit(15)", "with exit code 15"),
        ("os._exit(0)", "with exit code 0"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "by SIGSEGV"),
        ("os.abort()", "by SIGABRT"),
    ],
)
def test_a_library_that_ends_its_process_is_one_line_and_the_list_is_done(deed: str, how: str, site: Site) -> None:
    tasks = ["true", "exit 7", "true"]
    farm = site.farm(site.tasklist(tasks), environ=_bad_library(site, deed))
    farm.succeed(30, code=1)
    said = f"MPI cannot be started: its library ended the process {how}: the library has a reason: they work as independent"
    assert farm.stderr.count(said) == 1, farm.said()
    assert settled(site.path / "tasks_workdir", tasks).failed == [1]


def test_a_library_that_raises_is_one_line_and_the_list_is_done(site: Site) -> None:
    environ = _bad_library(site, 'raise RuntimeError("cannot\\nand more")')
    farm = site.farm(site.tasklist(["true"]), environ=environ)
    farm.succeed(30)
    assert "MPI cannot be started: cannot: they work as independent farmers" in farm.stderr


def test_the_stale_variables_of_a_launcher_that_is_gone_do_no_harm(site: Site) -> None:
    environ = site.environ(PMI_FD="97", PMI_RANK="0", PMI_SIZE="1")
    farm = site.farm(site.tasklist(["true"] * 3), environ=environ)
    farm.succeed(60)
    assert "Traceback" not in farm.stderr
    assert sorted(accounted(site.path / "tasks_workdir", ["true"] * 3).finished) == [0, 1, 2]


def test_mpi_that_is_asked_for_and_does_not_come_up_ends_the_job_before_it_begins(site: Site) -> None:
    environ = _bad_library(site, "os._exit(15)")
    farm = site.farm("--mpi", "on", site.tasklist(["true"]), environ=environ)
    farm.succeed(30, code=2)
    assert farm.stderr.count("\n") == 1
    assert farm.stderr.startswith("taskfarmer-mpi: --mpi on: MPI cannot be started: its library ended the process with exit")
    assert not (site.path / "tasks_workdir").exists()


def test_a_library_that_hangs_costs_nothing_and_dies_with_its_farmer(site: Site) -> None:
    environ = _bad_library(site, "\n    while True: pass")
    farm = site.farm("--mpi-timeout", "1", site.tasklist(["sleep 1000"]), environ=environ)
    (child,) = wait_for(lambda: _children(farm.pid, farm), deadline=30, what="the child that speaks MPI")
    wait_for(lambda: _state(child) == "T", deadline=30, what="the child is at rest")
    farm.kill(signal.SIGKILL)
    farm.wait(10)
    wait_for(lambda: not is_alive(child), deadline=10, what="the end of the child")


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_farmer_never_loads_mpi_and_its_child_is_gone_when_the_ranks_work(site: Site, witness: Witness) -> None:
    farm = site.farm("-n", "1", site.tasklist(witness.tasks(3, 1000)), ranks=3)
    wait_for(lambda: len(witness.runs()) == 3, deadline=60, what="all ranks at work")
    farmers = farm.farmers()
    assert len(farmers) == 3
    for farmer in farmers:
        assert "libmpi" not in Path(f"/proc/{farmer}/maps").read_text()
        assert _children(farmer, farm) == []
