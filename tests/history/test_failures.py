"""Tasks that failed."""

import os
from pathlib import Path

import pytest

from taskfarmer_mpi.history.failures import last_failed
from taskfarmer_mpi.logs.reading import read_log
from taskfarmer_mpi.workdir.files import Workdir


@pytest.mark.parametrize("length", [1, 100, 50_000])
@pytest.mark.parametrize("count", [0, 1, 5, 100])
def test_the_last_failures_are_found_however_long_their_lines(tmp_path: Path, count: int, length: int) -> None:
    workdir = Workdir(tmp_path)
    workdir.failed.write_text("".join(f"{i} {'x' * length}{i}\n" for i in range(20)) + "20 torn")
    found = last_failed(workdir, count)
    assert list(found) == list(range(max(0, 20 - count), 20))
    assert all(text == f"{'x' * length}{task}" for task, text in found.items())


def test_no_failures_are_none(tmp_path: Path) -> None:
    assert last_failed(Workdir(tmp_path), 5) == {}
    (tmp_path / "failed").write_text("")
    assert last_failed(Workdir(tmp_path), 5) == {}


def test_a_log_that_is_no_file_is_not_waited_for_or_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "folder").mkdir()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert [read_log(tmp_path / name) for name in ("link", "folder", "pipe", "none")] == [(b"", b"")] * 4
