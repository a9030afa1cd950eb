"""Under the lock a list is as the last one left it, also where the kernel remembers files: FUSE."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign.fuse import two_mounts
from fakes import make_farm, take_tasks

from taskfarmer_mpi.common import c_library, filesystems
from taskfarmer_mpi.workdir import files
from taskfarmer_mpi.workdir.files import open_file, read_file, see_through


@pytest.fixture(autouse=True)
def trust(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no file system seen through at first, and later tests none of these."""
    monkeypatch.setattr(files, "_remembering", set())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files that were asked for anew."""
    names: list[str] = []
    monkeypatch.setattr(
        c_library, "ask_for_attributes", lambda fd: names.append(Path(f"/proc/self/fd/{fd}").readlink().name)
    )
    return names


@pytest.mark.parametrize(
    ("type_", "is_asked"), [("fuse.glusterfs", True), ("fuse", True), ("nfs4", False), ("tmpfs", False)]
)
def test_files_are_asked_for_anew_on_fuse_only(
    type_: str, is_asked: bool, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "major", lambda _: 0)
    monkeypatch.setattr(filesystems, "mount_of", lambda _: filesystems.Mount(type_, (), "/"))
    (tmp_path / "list").write_text("0 true\n")
    see_through(tmp_path)
    os.close(open_file(tmp_path / "list", os.O_RDWR))
    assert read_file(tmp_path / "list") == b"0 true\n"
    assert asked == ["list"] * 2 * is_asked


def test_a_disk_of_this_node_is_not_even_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "major", lambda _: 254)
    monkeypatch.setattr(filesystems, "MOUNTS", tmp_path / "none")
    assert not filesystems.keeps_attributes(tmp_path)


def test_the_lock_sees_through_the_work_directory_before_anything_is_read(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = make_farm(tmp_path, ["true"] * 3)
    monkeypatch.setattr(filesystems, "keeps_attributes", lambda _: True)
    farm.lock._is_seen_through = False
    with farm.lock.held(1.0):
        assert [task.id for task in take_tasks(farm.workdir.toprocess, 2)] == [0, 1]
    assert asked[-1] == "toprocess"


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Return two FUSE mounts of one directory."""
    if os.geteuid() or shutil.which("bindfs") is None or not Path("/dev/fuse").exists():
        pytest.skip("needs bindfs, root and /dev/fuse")
    with two_mounts(tmp_path) as (first, _):
        yield first, tmp_path / "other"


@pytest.mark.parametrize("is_seen_through", [False, True])
def test_what_came_by_another_mount_is_there_at_once(mounts: tuple[Path, Path], is_seen_through: bool) -> None:
    here, there = mounts
    (here / "list").write_text("x\n" * 10)
    time.sleep(1.5)  # until nothing is remembered of it
    if is_seen_through:
        see_through(there)
    with open(open_file(there / "list", os.O_RDWR), "r+b", buffering=0) as cut:
        cut.truncate(18)
    with open(open_file(here / "list", os.O_RDWR | os.O_APPEND), "ab", buffering=0) as more:
        more.write(b"y\n" * 4)
    fd = open_file(there / "list", os.O_RDWR)
    size = os.fstat(fd).st_size
    os.close(fd)
    truth = (here.parent / "back" / "list").stat().st_size
    assert (size == truth) is is_seen_through, "without it the size is the one of before"
