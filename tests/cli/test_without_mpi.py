"""Everything that needs no MPI works where there is none, and starts none where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import Process, Site, Witness, settled, slices

import taskfarmer_mpi

_FORBIDDEN = """\
import pathlib
pathlib.Path(__file__).with_name("was imported").touch()
raise ImportError("this one may not be imported")
"""


@pytest.fixture
def bare(site: Site, python_without_mpi: Path) -> Bare:
    """Return a starter of farmers in a Python without mpi4py."""
    return Bare(site, python_without_mpi)


class Bare:
    """Starts this package, and nothing else of this environment, in another Python."""

    def __init__(self, site: Site, python: Path) -> None:
        self._site = site
        self.python = python
        self._library = site.path / "library"
        self._library.mkdir()
        (self._library / "taskfarmer_mpi").symlink_to(Path(taskfarmer_mpi.__file__).parent)

    def environ(self, **more: str) -> dict[str, str]:
        return self._site.environ(PYTHONPATH=str(self._library), **more)

    def farm(self, *arguments: str | Path, **environ: str) -> Process:
        return self._site.start(self.python, "-m", "taskfarmer_mpi", *arguments, environ=self.environ(**environ))


def test_it_really_has_no_mpi4py(bare: Bare, site: Site) -> None:
    process = site.start(bare.python, "-c", "import taskfarmer_mpi, mpi4py", environ=bare.environ())
    process.succeed(30, code=1)
    assert "No module named 'mpi4py'" in process.stderr


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_need_no_mpi4py(option: str, bare: Bare) -> None:
    process = bare.farm(option)
    process.succeed(30)
    assert taskfarmer_mpi.__version__ in process.stdout or "usage: taskfarmer-mpi" in process.stdout
    assert process.stderr == ""


def test_a_plain_run_needs_no_mpi4py(bare: Bare, site: Site, witness: Witness) -> None:
    tasks = witness.tasks(50, 0.01)
    process = bare.farm("-n", "2", site.tasklist(tasks))
    process.succeed(60)
    assert settled(site.path / "tasks_workdir", tasks).failed == []
    witness.once_each(50)
    assert len(slices(site.path / "tasks_workdir")) == 50
    assert "MPI" not in process.stderr


def test_under_a_launcher_it_warns_and_works_as_a_farmer_by_itself(bare: Bare, site: Site, witness: Witness) -> None:
    tasks = witness.tasks(50, 0.01)
    tasklist = site.tasklist(tasks)
    farmers = [bare.farm("-n", "1", tasklist, PMI_RANK=str(rank), PMI_SIZE="2") for rank in range(2)]
    for farmer in farmers:
        farmer.succeed(60)
    assert "MPI cannot be started" in farmers[0].stderr
    assert "independent farmers" in farmers[0].stderr
    assert "MPI" not in farmers[1].stderr, "one warning is enough"
    assert all("Traceback" not in farmer.stderr for farmer in farmers)
    assert settled(site.path / "tasks_workdir", tasks).failed == []
    witness.once_each(50)


def test_mpi_on_is_refused_in_one_line(bare: Bare, site: Site) -> None:
    process = bare.farm("--mpi", "on", site.tasklist(["true"]))
    process.succeed(30, code=2)
    (line,) = process.stderr.splitlines()
    assert line.startswith("taskfarmer-mpi: --mpi on: ")
    assert "mpi4py" in line
    assert not (site.path / "tasks_workdir").exists()


def test_mpi_off_does_not_warn(bare: Bare, site: Site) -> None:
    process = bare.farm("--mpi", "off", site.tasklist(["true"]), PMI_RANK="0", PMI_SIZE="2")
    process.succeed(30)
    assert "MPI" not in process.stderr


# -- where there is one -----------------------------------------------------------------------------


def _forbid(site: Site) -> dict[str, str]:
    """Put a package before mpi4py that notes its import and refuses it."""
    package = site.path / "forbidding" / "mpi4py"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(_FORBIDDEN)
    return {"PYTHONPATH": str(package.parent)}


def _was_imported(site: Site) -> bool:
    return (site.path / "forbidding" / "mpi4py" / "was imported").exists()


@pytest.mark.parametrize("options", [("--help",), ("--version",), ("tasks",), ("--mpi", "off", "tasks"), ("-w", "missing")])
def test_a_plain_farmer_does_not_import_mpi4py(options: tuple[str, ...], site: Site) -> None:
    site.tasklist(["true", "echo x | cat"])
    process = site.farm(*options, environ=site.environ(**_forbid(site)))
    assert process.wait(30) == (2 if "missing" in options else 0), process.said()
    assert not _was_imported(site)


def test_the_guard_against_imports_works(site: Site) -> None:
    process = site.farm("--mpi", "on", site.tasklist(["true"]), environ=site.environ(**_forbid(site)))
    process.succeed(30, code=2)
    assert _was_imported(site)


def test_launched_processes_that_mpi_does_not_connect_say_so(site: Site) -> None:
    process = site.farm("-v", site.tasklist(["true"]), environ=site.environ(SLURM_STEP_NUM_TASKS="4"))
    process.succeed(30)
    assert "4 processes were started, but MPI connects none of them" in process.stderr
