"""Files that are made for a user: whole or not at all, and never over another one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from taskfarmer_mpi.cli.output_files import new_output
from taskfarmer_mpi.errors import UserError


def write(path: Path, text: str, *, is_forced: bool = False, meanwhile: str | None = None) -> None:
    """Write an output, while another program may write the same file."""
    with new_output(path, is_forced=is_forced) as temporary:
        temporary.write_text(text)
        if meanwhile is not None:
            path.write_text(meanwhile)


def test_a_file_that_came_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with pytest.raises(UserError, match="out: it exists; --force replaces it"):
        write(path, "ours", meanwhile="theirs")
    assert path.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_force_replaces_a_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    with new_output(path, is_forced=True) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("is_there", [False, True])
def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "out"
    if is_there:
        with pytest.raises(UserError, match="it exists"):
            write(path, "ours", meanwhile="theirs")
    else:
        write(path, "ours")
    assert path.read_text() == ("theirs" if is_there else "ours")
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        _write_half(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def _write_half(path: Path) -> None:
    with new_output(path, is_forced=True) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
