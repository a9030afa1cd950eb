"""Fixtures that start real farmers; see `helpers`."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import Site, Witness, is_ci

signal.signal(signal.SIGINT, signal.default_int_handler)
"""Where this process was started in the background, SIGINT is ignored, and its children could not be tested with Ctrl-C."""


def skip_or_fail(reason: str) -> None:
    """Skip a test whose peer is missing, except under CI, where nothing may be missing."""
    if is_ci():
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Return the directory of a test, cleared of its processes at the end."""
    site = Site(tmp_path)
    yield site
    site.clear()


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    """Return a maker of tasks that note their runs."""
    return Witness(tmp_path / "witness")


@pytest.fixture(scope="session")
def pytaskfarmer() -> Path:
    """Return the script of PyTaskFarmer 0.1.0."""
    script = os.environ.get("PYTASKFARMER")
    if not script:
        skip_or_fail("PYTASKFARMER does not name the script of PyTaskFarmer 0.1.0")
    return Path(str(script))


def find_tool(name: str, title: str | None = None) -> str:
    """Return the path of a program that a test needs; without it the test is skipped, or fails in CI."""
    path = shutil.which(name)
    if path is None:
        skip_or_fail(f"{title or name} is not installed")
    return str(path)


@pytest.fixture
def strace() -> str:
    """Return the path of strace."""
    return find_tool("strace")


@pytest.fixture
def rsync() -> str:
    """Return the path of rsync, by which handlers collect output."""
    return find_tool("rsync")


@pytest.fixture
def python_without_mpi() -> Path:
    """Return a Python that has no mpi4py."""
    path = os.environ.get("PYTHON_WITHOUT_MPI")
    if not path:
        skip_or_fail("PYTHON_WITHOUT_MPI does not name a Python without mpi4py")
    return Path(str(path))
