"""What a start costs on a shared file system, where every rank of a job reads every module at once: it is counted."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from helpers import Site

import taskfarmer_mpi
from taskfarmer_mpi.cli.control import COMMANDS

_CODE = """\
import atexit, sys
before = set(sys.modules)
atexit.register(lambda: print("imported:", *(set(sys.modules) - before), file=sys.stderr))
import taskfarmer_mpi.cli.{} as program
program.main(sys.argv[1:])
"""

_SLOW = {"dataclasses", "inspect", "typing", "logging", "traceback", "secrets", "filelock", "mpi4py", "subprocess", "shutil"}
"""Modules that cost milliseconds, and that nobody needs to show a help text, nor to run a task."""


def _modules(site: Site, program: str, *words: str) -> set[str]:
    """Return what is imported for a command, without what Python imports for nothing at all."""
    process = site.start(sys.executable, "-c", _CODE.format(program), *words)
    process.succeed(30)
    return set(process.stderr.rpartition("imported: ")[2].split())


def _ours(modules: set[str]) -> set[str]:
    return {module for module in modules if module.startswith("taskfarmer_mpi")}


@pytest.mark.parametrize("option", ["--help", "--version"])
@pytest.mark.parametrize("module", ["main", "ctl"])
def test_help_and_version_import_nothing_of_the_farm(module: str, option: str, site: Site) -> None:
    modules = _modules(site, module, option)
    assert not modules & (_SLOW | {"configparser", "hashlib", "json"})
    assert len(_ours(modules)) <= 17, sorted(_ours(modules))
    assert len(modules) <= 45, sorted(modules)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_imports_no_other_command(command: str, site: Site) -> None:
    modules = _modules(site, "ctl", command, "--help")
    prefixes = tuple(f"taskfarmer_mpi.cli.{folder}." for folder in ("commands", "inquiries", "changes", "submission"))
    imported = {module for module in modules if module.startswith(prefixes) and module.rpartition(".")[2] in COMMANDS}
    assert {module.rpartition(".")[2] for module in imported} == {command}
    assert len(imported) == 1
    assert not any(module.startswith(("taskfarmer_mpi.farmer.farmer", "mpi4py", "jinja2", "rich")) for module in modules)
    assert len(_ours(modules)) <= 63, sorted(_ours(modules))
    assert len(modules) <= 123, sorted(modules)


def test_what_a_plain_farmer_imports_is_bounded(site: Site) -> None:
    site.tasklist(["true"])
    modules = _modules(site, "main", "--mpi", "off", "tasks")
    assert not modules & (_SLOW | {"rich", "jinja2", "sqlite3", "difflib", "threading", "tempfile", "random", "socket"})
    assert len(_ours(modules)) <= 137, sorted(_ours(modules))
    assert len(modules) <= 170, sorted(modules)


@pytest.mark.parametrize(
    ("program", "words", "own", "most"),
    [
        ("main", ["--help"], 17, 55),
        ("ctl", ["--help"], 16, 55),
        ("ctl", ["status", "--help"], 62, 118),
        ("main", ["--mpi", "off", "tasks"], 137, 190),
    ],
)
def test_the_files_that_are_opened_are_bounded(
    program: str, words: list[str], own: int, most: int, site: Site, strace: str
) -> None:
    site.tasklist(["true"])
    log = site.path / "opened"
    code = f"from taskfarmer_mpi.cli.{program} import main; main()"
    tracer = [strace, "-f", "-qq", "-o", str(log), "-e", "trace=open,openat,openat2"]
    site.start(*tracer, sys.executable, "-c", code, *words).succeed(60)
    opened = re.findall(r'open[^"]*"([^"]*)", (?!.*O_DIRECTORY).* = \d+$', log.read_text(), re.MULTILINE)
    modules = [path for path in opened if ".py" in Path(path).name or ".cpython-" in path]
    files = {path.replace("__pycache__/", "").replace(".cpython-", ".py.").partition(".py")[0] for path in modules}
    package = str(Path(taskfarmer_mpi.__file__).parent)
    ours = {path for path in files if path.startswith(f"{package}/")}
    assert 8 < len(ours) <= own, sorted(ours)
    assert len(files) <= most, sorted(files)
