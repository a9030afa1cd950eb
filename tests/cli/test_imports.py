"""What a start costs on a shared file system, where every rank of a job reads every module at once: it is counted."""

from __future__ import annotations

import sys

import pytest
from helpers import Site

from taskfarmer_mpi.cli.control import COMMANDS

_CODE = """\
import atexit, sys
before = set(sys.modules)
atexit.register(lambda: print("imported:", *(set(sys.modules) - before), file=sys.stderr))
import taskfarmer_mpi.cli.{} as program
program.main(sys.argv[1:])
"""

_HEAVY = {"dataclasses", "inspect", "logging", "traceback", "configparser", "secrets", "filelock", "mpi4py", "subprocess"}
"""Modules that cost milliseconds, and that nobody needs to show a help text."""


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
    assert not modules & _HEAVY
    assert len(_ours(modules)) <= 16, sorted(_ours(modules))
    assert len(modules) <= 45, sorted(modules)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_imports_no_other_command(command: str, site: Site) -> None:
    modules = _modules(site, "ctl", command, "--help")
    prefix = "taskfarmer_mpi.cli.commands."
    assert {module for module in modules if module.startswith(prefix)} == {prefix + command}
    assert not any(module.startswith(("taskfarmer_mpi.farmer.farmer", "mpi4py", "jinja2", "rich")) for module in modules)
    assert len(_ours(modules)) <= 72, sorted(_ours(modules))
    assert len(modules) <= 210, sorted(modules)


def test_what_a_plain_farmer_imports_is_bounded(site: Site) -> None:
    site.tasklist(["true"])
    modules = _modules(site, "main", "--mpi", "off", "tasks")
    assert not modules & {"mpi4py", "rich", "jinja2", "sqlite3", "difflib"}
    assert len(_ours(modules)) <= 140, sorted(_ours(modules))
    assert len(modules) <= 240, sorted(modules)
