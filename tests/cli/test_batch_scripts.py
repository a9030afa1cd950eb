"""Batch scripts are made of one template, and end with the code that the farm's list deserves, whatever `srun` ends with."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from helpers import ROOT, Process, Site, accounted

from taskfarmer_mpi.cli.batch_scripts import SCRIPTS, make_script

WITH_STEP = ["multinode", "requeue", "mixed"]
"""The scripts that start ranks with srun."""


def _program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def _run(
    site: Site, script: str, *arguments: str | Path, srun: str, python: str | Path = sys.executable, **variables: str
) -> Process:
    """Run a batch script where Slurm's commands only note what they were asked for."""
    folder = site.path / "bin"
    folder.mkdir()
    for name in ("sbatch", "scontrol", "srun"):
        _program(folder, name, f'echo "{name} $*" >> "{site.path}/asked"\n{srun if name == "srun" else ""}')
    path = f"{folder}:{os.environ['PATH']}"
    environ = site.environ(PATH=path, PYTHON=str(python), SLURM_JOB_ID="7", SLURM_CPUS_PER_TASK="2", **variables)
    return site.start("bash", ROOT / "slurm" / f"{script}.sh", *arguments, environ=environ)


def _asked(site: Site) -> str:
    path = site.path / "asked"
    return path.read_text() if path.exists() else ""


def _ctl(site: Site, *arguments: str) -> Process:
    return site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", *arguments)


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_checkout_holds_what_the_command_prints(site: Site, name: str) -> None:
    process = _ctl(site, "script", name)
    process.succeed(30)
    path = ROOT / "slurm" / f"{name}.sh"
    assert path.read_text() == process.stdout
    assert os.access(path, os.X_OK)


def test_the_checkout_has_no_other_scripts() -> None:
    assert {path.stem for path in (ROOT / "slurm").iterdir()} == set(SCRIPTS)


@pytest.mark.parametrize(("typed", "meant"), [("multinod", "multinode"), ("mixt", "mixed"), ("Array.sh", "array")])
def test_an_unknown_script_names_the_nearest_one(site: Site, typed: str, meant: str) -> None:
    process = _ctl(site, "script", typed)
    process.succeed(30, code=2)
    said = f"taskfarmer-ctl: {typed}: no such script; did you mean {meant}? There are multinode, array, requeue, mixed\n"
    assert process.stderr == said


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_mark_of_the_template_is_left(name: str) -> None:
    assert not [line for line in make_script(name).splitlines() if line.startswith("#:") or "@NAME@" in line]


@pytest.mark.parametrize("script", WITH_STEP)
@pytest.mark.parametrize("foreign", [1, 14, 137, 143])
def test_a_foreign_code_of_the_step_is_not_that_of_the_job(site: Site, script: str, foreign: int) -> None:
    process = _run(site, script, site.tasklist(["true"] * 5), srun=f"exit {foreign}")
    process.succeed(60)
    assert sorted(accounted(site.path / "tasks_workdir", ["true"] * 5).finished) == [0, 1, 2, 3, 4]
    assert f"{script}.sh: srun ended with {foreign}: one farmer looks at the list" in process.stdout


@pytest.mark.parametrize("script", WITH_STEP)
def test_failed_tasks_end_the_job_with_1(site: Site, script: str) -> None:
    _run(site, script, site.tasklist(["true", "false"]), srun=f'"{sys.executable}" -m taskfarmer_mpi "${{@:8}}"').succeed(
        60, code=1
    )


@pytest.mark.parametrize("script", WITH_STEP)
@pytest.mark.parametrize("own", [0, 2, 70, 75])
def test_a_code_of_the_farm_is_that_of_the_job(site: Site, script: str, own: int) -> None:
    process = _run(site, script, site.tasklist(["true"]), srun=f"exit {own}")
    process.succeed(60, code=own)
    assert not (site.path / "tasks_workdir").exists()


@pytest.mark.parametrize("script", WITH_STEP)
def test_ranks_get_the_environment_where_jobs_get_none(site: Site, script: str) -> None:
    _run(site, script, site.tasklist(["true"]), srun="exit 0").succeed(60)
    assert [line for line in _asked(site).splitlines() if line.startswith("srun --export=ALL ")]


def test_a_job_whose_step_died_by_a_foreign_code_is_requeued_if_tasks_are_left(site: Site) -> None:
    tasks = site.tasklist(["true", "true", "true", "sleep 1000"])
    process = _run(site, "requeue", tasks, "--timeout", "2", srun="exit 14")
    process.succeed(60, code=75)
    assert "scontrol requeue 7\n" in _asked(site)


def test_one_element_of_an_array_is_requeued_alone(site: Site) -> None:
    tasks = site.tasklist(["true", "true", "true", "sleep 1000"])
    array = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"}
    _run(site, "requeue", tasks, "--timeout", "2", srun="exit 14", **array).succeed(60, code=75)
    assert "scontrol requeue 7_0\n" in _asked(site)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("case", ["the module is missing", "the program is missing"])
def test_a_missing_module_is_not_taken_for_failed_tasks(site: Site, script: str, case: str) -> None:
    python = site.path / "python"
    if case == "the module is missing":
        _program(site.path, "python", f'exec "{sys.executable}" -I -S "$@"')
    process = _run(site, script, site.tasklist(["true"]), srun="exit 1", python=python)
    process.succeed(60, code=2)
    assert process.stderr == (
        f"{script}.sh: {python} cannot import taskfarmer_mpi: activate its environment before sbatch, or set PYTHON\n"
    )
    assert _asked(site) == ""
