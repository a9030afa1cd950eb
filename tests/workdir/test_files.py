"""Names and files of a work directory."""

import errno
import os
from pathlib import Path

import pytest
from helpers import Site, settled

from taskfarmer_mpi.errors import FencedError
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.workdir.files import close_lost, node_name, replace_file
from taskfarmer_mpi.workdir.lists import append_lines


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("nid00012", "nid00012"),
        ("node-1 a/b", "node-1_a_b"),
        ("../x", ".._x"),
        ("a\nb\x1b[0m", "a_b__0m"),
        ("größe", "größe"),
    ],
)
def test_a_node_has_a_name_that_a_file_can_have(monkeypatch: pytest.MonkeyPatch, called: str, name: str) -> None:
    monkeypatch.setenv("SLURMD_NODENAME", called)
    assert node_name() == name


def test_a_node_without_a_name_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURMD_NODENAME", raising=False)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "", "6", "", "x86_64")))
    assert node_name() == "unnamed"


def test_a_farm_works_on_a_node_with_an_odd_name(site: Site) -> None:
    (site.path / "tasks").write_text("true\n")
    site.farm("tasks", environ=site.environ(SLURMD_NODENAME="rack 7/node 1")).succeed(60)
    assert list(settled(site.path / "tasks_workdir", ["true"]).finished) == [0]


def test_a_file_is_not_replaced_once_the_lock_was_lost(tmp_path: Path) -> None:
    def lose() -> None:
        assert [path.stat().st_size for path in tmp_path.iterdir()] == [3, 3], "all else is done by then"
        raise FencedError("lost")

    path = tmp_path / "list"
    path.write_bytes(b"old")
    with pytest.raises(FencedError):
        replace_file(path, b"new", lose)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_closing_what_was_locked_by_a_lost_lock_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On NFS it is one: then the outcome is on the list, and the farmer that gave up ends as it should."""
    life = LifeLock.create(tmp_path / "alive", 0o600)
    path = tmp_path / "finished"
    close = os.close

    def report(fd: int) -> None:
        close(fd)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "close", report)
    append_lines(path, b"0 a\n", lambda: None)
    life.release()
    close_lost(os.open(path, os.O_RDONLY))
    assert path.read_bytes() == b"0 a\n"
    monkeypatch.undo()
    assert not LifeLock.is_taken(tmp_path / "alive")
