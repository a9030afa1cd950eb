"""Launches that go wrong: one clear warning with the mend, and the farm still does its work."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import skip_or_fail
from helpers import BIN, Site, Witness, settled, wait_for

from taskfarmer_mpi.rendezvous.mpi_library import choose_transport, find_misfit


def test_ranks_that_share_too_few_cpus_are_warned_of(site: Site, witness: Witness) -> None:
    tasks = witness.tasks(10, 0.01)
    cpus = len(os.sched_getaffinity(0))
    farm = site.farm("-n", str(cpus), site.tasklist(tasks), ranks=2)
    farm.succeed(60)
    assert farm.stderr.count(f"have {2 * cpus} slots for {cpus} CPUs: start one rank per node") == 1
    settled(site.path / "tasks_workdir", tasks)


def test_ranks_that_share_the_cpus_are_not_warned_of(site: Site, witness: Witness) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        skip_or_fail("two CPUs are needed")
    farm = site.farm("-n", "auto", site.tasklist(witness.tasks(10, 0.01)), ranks=2)
    farm.succeed(60)
    assert "CPUs" not in farm.stderr


def test_a_rank_that_leaves_early_under_mpiexec_ends_and_the_others_go_on(site: Site, witness: Witness) -> None:
    tasks = witness.tasks(3, lambda task_id: 4.0 if task_id == 0 else 0.01)
    farm = site.farm("-v", "-n", "1", "--leave-early", "0", site.tasklist(tasks), ranks=3)
    wait_for(lambda: len(farm.farmers()) == 3, deadline=60, what="three ranks")
    wait_for(lambda: len(farm.farmers()) < 3 and witness.runs(), deadline=60, what="a rank that has left")
    assert farm.is_running()
    farm.succeed(60)
    assert 1 <= farm.stderr.count("this rank leaves before the end") <= 2
    settled(site.path / "tasks_workdir", tasks)


def test_a_farmer_alone_has_nothing_to_leave(site: Site) -> None:
    farm = site.farm("--leave-early", site.tasklist(["true"]))
    farm.succeed(30)
    assert "leave" not in farm.stderr


@pytest.mark.parametrize("value", ["-1", "1..", "x"])
def test_a_time_to_leave_that_is_none_is_refused(value: str, site: Site) -> None:
    farm = site.farm(f"--leave-early={value}", site.tasklist(["true"]))
    farm.succeed(30, code=2)
    assert f"{value!r} is not a time in seconds" in farm.stderr
    assert not (site.path / "tasks_workdir").exists()


@pytest.fixture
def other_mpiexec() -> list[str]:
    """Return the command of an mpiexec of another MPI library than the one that mpi4py loads here."""
    library = subprocess.run(
        [BIN / "python", "-c", "from mpi4py import MPI; print(MPI.Get_library_version())"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    is_mpich = "MPICH" in library
    path = shutil.which("mpiexec.openmpi" if is_mpich else "mpiexec.hydra")
    if path is None:
        skip_or_fail("mpiexec.openmpi (Debian: openmpi-bin) is not installed")
    return [str(path), *(["--oversubscribe", "--allow-run-as-root"] if is_mpich else [])]


def test_an_mpiexec_of_another_mpi_is_warned_of_and_the_list_is_done(
    other_mpiexec: list[str], site: Site, witness: Witness
) -> None:
    tasks = witness.tasks(40, 0.02)
    command = [*other_mpiexec, "-n", "3", str(BIN / "python"), "-m", "taskfarmer_mpi", "-n", "1"]
    farm = site.start(*command, site.tasklist(tasks))
    farm.succeed(60)
    assert farm.stderr.count("they work as independent farmers") == 1
    assert farm.stderr.count("the mpiexec of the MPI library that mpi4py loads") == 1
    witness.once_each(40)
    assert settled(Path(site.path / "tasks_workdir"), tasks).failed == []


@pytest.mark.parametrize(
    ("library", "loaded", "environ", "fits"),
    [
        ("MPICH Version:      5.0.2\nMore", ["/lib/libmpi.so.12"], {"PMIX_RANK": "1", "PRTE_LAUNCHED": "1"}, False),
        ("MPICH Version:      5.0.2", ["/lib/libmpi.so.12"], {"PMIX_RANK": "1", "PMI_FD": "3", "PMI_RANK": "1"}, True),
        ("MPICH Version:      5.0.2", ["/lib/libmpi.so.12", "/lib/libpmix.so.2"], {"PMIX_RANK": "1"}, True),
        ("Open MPI v5.0.11", ["/lib/libmpi.so.40"], {"PMIX_RANK": "1"}, True),
        ("MPICH Version:      5.0.2", ["/lib/libmpi.so.12"], {"PMI_FD": "3"}, True),
        ("MPICH Version:      5.0.2", ["/lib/libmpi.so.12"], {}, True),
    ],
)
def test_a_library_that_would_end_the_process_is_known(
    library: str, loaded: list[str], environ: dict[str, str], fits: bool
) -> None:
    misfit = find_misfit(library, environ, loaded)
    assert (misfit is None) == fits
    if misfit is not None:
        assert misfit == (
            "mpiexec of Open MPI speaks PMIx, and the MPI library that mpi4py loads does not: MPICH Version:      5.0.2"
        )


_BOTH = "MPICH Version:      5.0.2\nMPICH Device:       ch4:ucx ofi\n"
_UNDER_SRUN = {"SLURM_STEP_ID": "0", "PMI_FD": "11"}


@pytest.mark.parametrize(
    ("library", "environ", "is_chosen"),
    [
        (_BOTH, _UNDER_SRUN, True),
        (_BOTH, _UNDER_SRUN | {"MPIR_CVAR_CH4_NETMOD": "ucx"}, False),
        (_BOTH, {"HYDI_CONTROL_FD": "7", "PMI_FD": "11"}, False),
        (_BOTH, {"SLURM_STEP_ID": "0"}, False),
        ("MPICH Version:      4.0.2\nMPICH Device:       ch4:ofi\n", _UNDER_SRUN, False),
        ("Open MPI v5.0.11", _UNDER_SRUN, False),
    ],
)
def test_the_transport_whose_addresses_slurm_takes_is_chosen(library: str, environ: dict[str, str], is_chosen: bool) -> None:
    assert choose_transport(library, environ) == ({"MPIR_CVAR_CH4_NETMOD": "ofi"} if is_chosen else {})


_WARNING_MPI = """\
import sys, warnings
warnings.warn("unsupported MPI ABI", category=RuntimeWarning, stacklevel=2)
sys.path.remove({folder!r})
del sys.modules["mpi4py"]
import mpi4py
"""


@pytest.mark.parametrize("verbosity", ["0", "1", "2"])
def test_a_warning_of_mpi4py_comes_from_no_rank(verbosity: str, site: Site, witness: Witness) -> None:
    package = site.path / "library" / "mpi4py"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(_WARNING_MPI.format(folder=str(package.parent)))
    tasks = witness.tasks(6, 0.01)
    environ = site.environ(PYTHONPATH=str(package.parent))
    farm = site.farm("-v", verbosity, "-n", "1", site.tasklist(tasks), ranks=2, environ=environ)
    farm.succeed(60)
    assert "2 x 1 slots" in farm.stderr
    assert "unsupported MPI ABI" not in farm.stderr
    settled(site.path / "tasks_workdir", tasks)


def test_a_warning_of_mpi4py_does_not_hide_why_mpi_cannot_start(site: Site) -> None:
    package = site.path / "library" / "mpi4py"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("class rc: pass\n")
    code = "import os, warnings\nwarnings.warn('unsupported MPI ABI', category=RuntimeWarning)\n"
    (package / "MPI.py").write_text(f"{code}print('no server', flush=True)\nos._exit(1)\n")
    farm = site.farm("--mpi", "on", site.tasklist(["true"]), environ=site.environ(PYTHONPATH=str(package.parent)))
    farm.succeed(60, code=2)
    assert farm.stderr.endswith("its library ended the process with exit code 1: no server\n")
