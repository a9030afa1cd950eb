"""Under the lock a list is as the last one left it, also where the kernel remembers files and their names: FUSE."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign.fuse import two_mounts
from conftest import skip_or_fail
from fakes import Hand, make_farm, take_tasks

from taskfarmer_mpi.common import c_library, filesystems
from taskfarmer_mpi.common.filesystems import is_there, see_through
from taskfarmer_mpi.workdir.files import open_file, read_file


@pytest.fixture(autouse=True)
def trust(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no file system seen through at first, and later tests none of these."""
    monkeypatch.setattr(filesystems, "_remembering", set())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files that were asked for anew."""
    names: list[str] = []
    monkeypatch.setattr(
        c_library, "ask_for_attributes", lambda fd: names.append(Path(f"/proc/self/fd/{fd}").readlink().name)
    )
    monkeypatch.setattr(c_library, "ask_for_name", lambda _: None)
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
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Path]]:
    """Return two FUSE mounts of one directory."""
    if os.geteuid() or not Path("/dev/fuse").exists():
        pytest.skip("needs root and /dev/fuse")
    if shutil.which("bindfs") is None:
        skip_or_fail("bindfs is not installed")
    monkeypatch.setattr(filesystems, "_remembering", set())  # a new mount may have the number of an earlier one
    with two_mounts(tmp_path) as (first, _):
        yield first, tmp_path / "other"


def sizes_after_growth(here: Path, there: Path, *, is_seen_through: bool) -> tuple[int, int]:
    """Cut a file by one mount and let it grow by the other; return its size as the first one says then, and as it is."""
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
    return size, (here.parent / "back" / "list").stat().st_size


def test_what_came_by_another_mount_is_there_at_once(mounts: tuple[Path, Path]) -> None:
    size, truth = sizes_after_growth(*mounts, is_seen_through=True)
    assert size == truth


def test_without_that_the_size_is_the_one_of_before(mounts: tuple[Path, Path]) -> None:
    for _ in range(20):  # a second later the mount has forgotten it, and a busy machine may need that long
        size, truth = sizes_after_growth(*mounts, is_seen_through=False)
        if size != truth:
            assert (size, truth) == (18, 26)
            return
    pytest.fail("this mount remembers no size, so the test above shows nothing")


# -- names ------------------------------------------------------------------------------------------


@pytest.fixture
def renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory whose names stand for the files of a moment ago until they are asked for, as on FUSE."""
    path = tmp_path / "list"

    def ask(name: bytes) -> None:
        (tmp_path / "now").rename(os.fsdecode(name))

    path.write_text("was\n")
    (tmp_path / "now").write_text("now\n")
    monkeypatch.setattr(c_library, "ask_for_name", ask)
    monkeypatch.setattr(filesystems, "keeps_attributes", lambda _: True)
    return path


def test_a_list_that_was_replaced_is_asked_for_by_its_name(renamed: Path) -> None:
    assert read_file(renamed) == b"was\n"
    see_through(renamed.parent)
    assert read_file(renamed) == b"now\n"


def test_a_name_is_asked_for_before_a_journal_counts_as_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.journal"
    monkeypatch.setattr(c_library, "ask_for_name", lambda name: Path(os.fsdecode(name)).unlink())
    path.touch()
    assert is_there(path)
    monkeypatch.setattr(filesystems, "_remembering", {path.stat().st_dev})
    assert not is_there(path)


def test_a_farmer_asks_for_its_journals_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand(make_farm(tmp_path, ["true"]), "one")
    assert hand.journal.is_own()
    monkeypatch.setattr(c_library, "ask_for_name", lambda name: Path(os.fsdecode(name)).rename(tmp_path / "closed"))
    monkeypatch.setattr(filesystems, "_remembering", {0})
    assert not hand.journal.is_own()


def test_to_ask_for_a_name_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "list"
    c_library.ask_for_name(bytes(path))
    assert list(tmp_path.iterdir()) == []
    path.write_text("0 true\n")
    before = path.stat()
    c_library.ask_for_name(bytes(path))
    assert (path.stat().st_ino, path.stat().st_ctime_ns) == (before.st_ino, before.st_ctime_ns)
    assert path.read_text() == "0 true\n"


def test_names_can_be_asked_for_by_a_mount(mounts: tuple[Path, Path]) -> None:
    here, there = mounts
    (here / "list").write_text("0 true\n")
    see_through(there)
    assert read_file(there / "list") == b"0 true\n"
    (here / "draft").write_text("1 true\n")
    (here / "draft").rename(here / "list")
    assert read_file(there / "list") == b"1 true\n"
    (here / "list").unlink()
    assert read_file(there / "list") is None
    assert list(here.iterdir()) == []
