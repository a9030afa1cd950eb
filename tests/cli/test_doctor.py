"""`taskfarmer-ctl doctor`: one page about the place where a farm is to work."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from helpers import MPIEXEC, NAMELESS, Process, Site

import taskfarmer_mpi
from taskfarmer_mpi.cli.diagnosis import node_facts
from taskfarmer_mpi.cli.diagnosis.installation import find_launch, find_mpi, find_time
from taskfarmer_mpi.cli.diagnosis.node_facts import RankFacts, describe_hosts, find_differences, find_places
from taskfarmer_mpi.common.filesystems import Mount
from taskfarmer_mpi.common.programs import AskError
from taskfarmer_mpi.machine.cpus import Cpus
from taskfarmer_mpi.workdir.files import Workdir

DOCTOR = (sys.executable, "-m", "taskfarmer_mpi.ctl", "doctor")
TITLE = "taskfarmer-ctl doctor on "


def _said_once(process: Process, code: int) -> str:
    """Return the page, of which there is exactly one."""
    process.succeed(60, code=code)
    assert process.stdout.count(TITLE) == 1, process.said()
    assert "Traceback" not in process.stderr
    return process.stdout


def test_without_a_launcher_the_page_says_what_is_here_and_leaves_nothing(site: Site) -> None:
    folder = site.path / "place"
    folder.mkdir()
    page = _said_once(site.start(*DOCTOR, folder), 0)
    for word in ("Python", "filelock", "Slurm", "kernel", "MPI library", "found", "mpi4py", "launcher", "lock file"):
        assert f"  {word}:" in page
    assert "nothing needs a mend" in page
    assert "locks on this node:  exclude" in page
    assert list(folder.iterdir()) == []


def test_a_missing_directory_is_one_line(site: Site) -> None:
    process = site.start(*DOCTOR, "nowhere")
    process.succeed(30, code=2)
    assert process.stderr == f"taskfarmer-ctl: {site.path / 'nowhere'}: no such directory\n"


def test_ranks_give_one_page_with_the_proof_that_locks_exclude_between_them(site: Site) -> None:
    are_crowded = len(os.sched_getaffinity(0)) < 2
    page = _said_once(site.start(MPIEXEC, "-n", "2", *DOCTOR), int(are_crowded))
    assert "locks between ranks: exclude: none of 1 other ranks of this host got a lock that rank 0 held" in page
    assert "  ranks:               2; " in page
    assert not list(site.path.glob(".lock-probe*"))


def test_a_missing_directory_is_one_line_from_all_ranks(site: Site) -> None:
    process = site.start(MPIEXEC, "-n", "3", *DOCTOR, "nowhere")
    process.succeed(60, code=2)
    assert process.stderr.count("taskfarmer-ctl: ") == 1
    assert "nowhere: no such directory" in process.stderr


def test_a_rank_that_gets_a_lock_that_is_held_is_told_of(site: Site, strace: str) -> None:
    """On the second rank every `flock` succeeds, as on a file system where locks hold on one node only."""
    lie = [strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace=flock", "-e", "inject=flock:retval=0"]
    process = site.start(MPIEXEC, "-n", "1", *DOCTOR, ":", "-n", "1", *lie, *DOCTOR)
    page = _said_once(process, 1)
    assert "locks between ranks: do not exclude" in page
    assert "rank 1 on " in page
    assert "flock does not exclude: a second descriptor got a lock that is held" in page
    assert not list(site.path.glob(".lock-probe*"))


def test_a_rank_with_another_lock_file_is_told_of(site: Site) -> None:
    folders = [site.path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    parts = [["-n", "1", "env", f"SCRATCH={folder}", *DOCTOR] for folder in folders]
    page = _said_once(site.start(MPIEXEC, *parts[0], ":", *parts[1]), 1)
    assert f"another lock file:   rank 1 on {page[len(TITLE) :].split(',')[0]} locks {folders[1]}/" in page
    assert "set SCRATCH alike on all nodes" in page


def test_a_file_system_without_locks_needs_a_mend(site: Site, strace: str) -> None:
    refuse = [strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace=flock", "-e", "inject=flock:error=ENOSYS"]
    page = _said_once(site.start(*refuse, *DOCTOR), 1)
    assert "locks on this node:  no working flock: Function not implemented" in page
    assert "1 of these needs a mend: see !!" in page


def test_a_page_for_programs_has_the_same_findings(site: Site) -> None:
    process = site.start(*DOCTOR, "--json")
    process.succeed(60)
    page = json.loads(process.stdout)
    assert page["needs_mending"] == 0
    assert list(page["findings"]) == ["Versions", "MPI", "Time", "Hosts", "Files"]
    found = {finding["topic"]: finding["text"] for finding in page["findings"]["Versions"]}
    assert found["taskfarmer_mpi"].startswith(taskfarmer_mpi.__version__)


def test_without_mpi4py_the_page_says_so(site: Site, python_without_mpi: Path) -> None:
    library = site.path / "library"
    library.mkdir()
    (library / "taskfarmer_mpi").symlink_to(Path(taskfarmer_mpi.__file__).parent)
    environ = site.environ(PYTHONPATH=str(library))
    page = _said_once(site.start(python_without_mpi, *DOCTOR[1:], environ=environ), 0)
    assert "mpi4py:              not installed: farmers work without MPI" in page


def test_an_mpi_that_ends_its_process_does_not_end_the_doctor(site: Site) -> None:
    """As on login nodes, where MPI may not be started."""
    package = site.path / "library" / "mpi4py"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("class rc: pass\n")
    (package / "MPI.py").write_text("import os, sys\nprint('no PMI here', file=sys.stderr, flush=True)\nos.abort()\n")
    environ = site.environ(PYTHONPATH=str(package.parent))
    page = _said_once(site.start(*DOCTOR, environ=environ), 1)
    assert "no PMI here" in page
    assert "set MPI4PY_LIBMPI or LD_LIBRARY_PATH" in page


def test_the_page_marks_the_end_of_a_job_that_is_over(site: Site) -> None:
    page = _said_once(site.start(*DOCTOR, environ=site.environ(SLURM_JOB_END_TIME="1700000000")), 1)
    assert "SLURM_JOB_END_TIME=1700000000 is in the past" in page
    assert "!! unset SLURM_JOB_END_TIME" in page


@pytest.mark.parametrize("home", ["-u HOME", "HOME=/nonexistent", "HOME="])
def test_the_page_needs_no_home(home: str, site: Site) -> None:
    page = _said_once(site.start("bash", "-c", f"exec env {home} {' '.join(DOCTOR)}"), 0)
    assert "nothing needs a mend" in page


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
@pytest.mark.parametrize("home", ["-u HOME", "HOME={0}/closed"])
def test_the_page_needs_no_name_of_its_user_and_no_home_of_his(home: str, site: Site) -> None:
    (site.path / "closed" / ".pytaskfarmer").mkdir(parents=True)
    (site.path / "closed").chmod(0o700)
    place = site.path / "place"
    place.mkdir()
    os.chown(place, 4242, 4242)
    page = _said_once(
        site.start("bash", "-c", f"exec {NAMELESS} env {home.format(site.path)} {' '.join(DOCTOR)} {place}"), 0
    )
    assert "nothing needs a mend" in page


# -- single findings ------------------------------------------------------------------------------


def _no_answer(*command: str, **_: object) -> str:
    raise AskError(f"{command[0]}: No such file or directory")


@pytest.mark.parametrize(
    ("size", "environ", "is_wrong"),
    [
        (1, {}, False),
        (5, {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "5", "PMI_SIZE": "5"}, False),
        (1, {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "5"}, True),
        (4, {"HYDI_CONTROL_FD": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "PMI_SIZE": "4"}, False),
    ],
)
def test_the_world_is_compared_with_what_the_launcher_says(size: int, environ: dict[str, str], is_wrong: bool) -> None:
    ranks = find_launch(size, environ, None)[-1]
    assert ranks.text.startswith(f"{size}; ")
    assert all(f"{name}={value}" in ranks.text for name, value in environ.items() if name.endswith(("SIZE", "TASKS")))
    assert (ranks.mend is not None) == is_wrong


@pytest.mark.parametrize(
    ("environ", "said", "text", "is_wrong"),
    [
        ({}, None, "no batch job: farmers stop at --timeout only", False),
        ({"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": "1003661"}, None, "job 7 ends at 19", False),
        ({"SLURM_JOB_ID": "7"}, "N/A\n", "job 7 has no time limit", False),
        ({"SLURM_JOB_ID": "7"}, "1970-01-12T14:46:40\n", "in 1:00:00", False),
        ({"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": "999999"}, None, "SLURM_JOB_END_TIME=999999 is in the past", True),
        ({"SLURM_JOB_END_TIME": "0"}, None, "SLURM_JOB_END_TIME=0 is in the past", True),
        ({"SLURM_JOB_ID": "7"}, None, "Slurm does not say when it ends: squeue: No such file or directory", True),
        ({"PBS_JOBID": "12.pbs"}, None, "PBS job 12.pbs: PBS does not say when it ends: qstat: No such", True),
        ({"FLUX_URI": "local:///run/flux"}, "60\n", "Flux job batch ends at", False),
    ],
)
def test_the_time_left_is_said(environ: dict[str, str], said: str | None, text: str, is_wrong: bool) -> None:
    finding = find_time(environ, _no_answer if said is None else lambda *_command, **_: said, now=1_000_000)
    assert text in finding.text
    assert (finding.mend is not None) == is_wrong
    assert environ.get("SLURM_JOB_END_TIME") != "1003661" or finding.text.endswith("in 1:01:01")


def test_a_library_that_is_not_there_is_said_with_the_mend() -> None:
    finding = find_mpi({}, _no_answer)[0]
    assert "cannot be loaded" in finding.text
    assert "LD_LIBRARY_PATH" in str(finding.mend)


@pytest.mark.parametrize(
    ("mount", "machines", "mend"),
    [
        (Mount("nfs", ("rw", "local_lock=all"), "/x"), 1, "with local_lock=all locks hold on one node only"),
        (Mount("lustre", ("rw", "localflock"), "/x"), 1, "with localflock locks hold on one node only"),
        (Mount("tmpfs", ("rw",), "/x"), 2, "other nodes do not see this file system"),
        (Mount("tmpfs", ("rw",), "/x"), 1, None),
        (Mount("nfs4", ("rw", "local_lock=none"), "/x"), 2, None),
    ],
)
def test_a_file_system_that_does_not_serve_all_nodes_needs_a_mend(
    mount: Mount, machines: int, mend: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_facts, "mount_of", lambda _path: mount)
    first = find_places(Workdir(tmp_path), {}, machines)[0]
    assert first.text.startswith(f"{tmp_path}: {mount.type} at /x (rw")
    assert (first.mend is None) if mend is None else str(first.mend).startswith(mend)


def test_a_second_lock_that_other_nodes_do_not_have_needs_a_mend(tmp_path: Path) -> None:
    for machines, is_wrong in ((1, False), (2, True)):
        findings = find_places(Workdir(tmp_path), {"TMPDIR": str(tmp_path)}, machines)
        locks = [finding for finding in findings if finding.topic == "lock file"]
        assert [finding.mend is not None and "set SCRATCH" in finding.mend for finding in locks] == [False, is_wrong]


def test_alike_hosts_are_one_line_and_too_many_ranks_are_told_of() -> None:
    def facts(host: str, cpus: set[int]) -> RankFacts:
        return RankFacts(host, "machine", Cpus(frozenset(cpus)), "lock", [])

    ranks = [facts("n1", {0, 1}), facts("n2", {0, 1}), facts("n3", {0}), facts("n3", {0})]
    alike, crowded = describe_hosts(dict(enumerate(ranks)))
    assert (alike.topic, alike.mend) == ("2 hosts", None)
    assert alike.text.startswith("n1, n2: 1 rank with 2 CPUs of 2; --proc auto gives 2 slots per rank")
    assert crowded.text.startswith("n3: 2 ranks with 1 CPU of 1")
    assert "start fewer ranks" in str(crowded.mend)
    assert find_differences(dict(enumerate(ranks))) == []


def test_a_host_with_a_quota_and_one_whose_rank_is_bound_to_a_cpu_are_told_of() -> None:
    limited = RankFacts("n1", "machine", Cpus(frozenset(range(8)), node=2.5), "lock", [])
    bound = RankFacts("n2", "machine", Cpus(frozenset({3}), job=64), "lock", [])
    first, second = describe_hosts({0: limited, 1: bound})
    assert "1 rank with 8 CPUs of 2, limited to 2.5 by a quota or by Slurm; --proc auto gives 2 slots" in first.text
    assert second.mend == "the job has 64 CPUs there: srun --cpus-per-task=64, mpiexec --bind-to none"


_STUBBORN_MPI = """\
import os, sys
ERRORS_RETURN, Exception, BYTE = 0, RuntimeError, None
def Is_initialized(): return False
def Get_version(): return (3, 1)
def Get_library_version(): return "Open MPI v5.0.11, a stand-in"
def Init():
    {end}
"""


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("print('PML add procs failed', flush=True); os._exit(1)", "exit code 1: PML add procs failed"),
        ("os._exit(14)", "exit code 14: and said nothing"),
        ("os.abort()", "by SIGABRT"),
        ("raise RuntimeError('no PMIx server')", "MPI cannot be started: no PMIx server"),
    ],
)
def test_ranks_whose_mpi_cannot_start_under_srun_give_one_page_that_says_how(end: str, reason: str, site: Site) -> None:
    """As Open MPI under `srun --mpi=pmi2`, which a site may have as its default."""
    package = site.path / "library" / "mpi4py"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("__version__ = '4.1.2'\nclass rc: pass\n")
    (package / "MPI.py").write_text(_STUBBORN_MPI.format(end=end))
    of_step = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "3", "PMI_FD": "9", "PMI_SIZE": "3"}
    ranks = [
        site.start(
            *DOCTOR,
            environ=site.environ(PYTHONPATH=str(package.parent), **of_step, PMI_RANK=str(rank), SLURM_PROCID=str(rank)),
        )
        for rank in range(3)
    ]
    page = _said_once(ranks[0], 1)
    assert reason in page
    assert "or with srun --mpi=pmi2 (or pmix, cray_shasta)" in " ".join(page.split())
    assert "MPI library:         Open MPI v5.0.11, a stand-in" in page
    for other in ranks[1:]:
        other.succeed(60)
        assert (other.stdout, other.stderr) == ("", "")
