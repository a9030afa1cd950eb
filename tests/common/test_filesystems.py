"""File systems of paths, and whether locks work there."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from taskfarmer_mpi.common import filesystems
from taskfarmer_mpi.common.filesystems import (
    DEFAULT_LEASE,
    Mount,
    lease_of,
    lock_trouble,
    mount_of,
    parse_leases,
    parse_mounts,
)

LINES = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
36 35 98:0 /mnt1 /a\040folder rw,noatime master:1 shared:7 - nfs server:/x\134y rw,vers=3,local_lock=all
37 35 0:9 / /lus rw,noatime - lustre mgs@tcp:/lus rw,localflock,lazystatfs
38 35 0:10 / /scratch rw - nfs4 server:/s rw,vers=4.2,local_lock=none
""".lstrip()


def test_mounts_are_read_with_their_options_and_blanks() -> None:
    mounts = parse_mounts(LINES)
    assert mounts[36] == Mount("nfs", ("rw", "noatime", "vers=3", "local_lock=all"), "/a folder")
    assert sorted(mounts) == [22, 36, 37, 38]


def test_options_that_keep_locks_on_one_node_are_known() -> None:
    mounts = parse_mounts(LINES)
    assert {number: mount.local_lock_options for number, mount in mounts.items()} == {
        22: [],
        36: ["local_lock=all"],
        37: ["localflock"],
        38: [],
    }


def test_a_path_is_on_the_mount_that_findmnt_names(tmp_path: Path) -> None:
    findmnt = shutil.which("findmnt")
    assert findmnt, "findmnt of util-linux is on every Linux"
    for path in ("/", "/proc/self", "/dev/shm", str(tmp_path)):
        named = subprocess.run(
            [findmnt, "--noheadings", "--output=TARGET,FSTYPE", "--target", path], check=True, capture_output=True, text=True
        )
        mount = mount_of(path)
        assert mount is not None
        assert [mount.point, mount.type] == named.stdout.split()[-2:]  # the one on top, where there are several


def test_a_missing_path_counts_as_the_directory_above(tmp_path: Path) -> None:
    assert mount_of(tmp_path / "not" / "yet") == mount_of(tmp_path)


def test_locks_of_a_usual_directory_exclude_and_nothing_is_left_there(tmp_path: Path) -> None:
    assert lock_trouble(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_missing_is_trouble(tmp_path: Path) -> None:
    assert lock_trouble(tmp_path / "missing") == "cannot make a file: No such file or directory"


def test_locks_that_both_descriptors_get_are_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda _fd, _how: None)
    assert lock_trouble(tmp_path) == "flock does not exclude: a second descriptor got a lock that is held"
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int, _how: int) -> None:
        raise OSError(38, os.strerror(38))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert lock_trouble(tmp_path) == "no working flock: Function not implemented"


STATISTICS = r"""
device /dev/sda1 mounted on / with fstype ext4
device server:/a mounted on /a\040folder with fstype nfs4 statvers=1.1
	opts:	rw,vers=4.2,hard,proto=tcp
	nfsv4:	bm0=0xfdffbfff,acl=0x3,sessions,pnfs=not configured,lease_time=45,lease_expired=0
device server:/b mounted on /b with fstype nfs4 statvers=1.1
	nfsv4:	bm0=0xfdffbfff,acl=0x3
device server:/c mounted on /c with fstype nfs statvers=1.1
	opts:	rw,vers=3
""".lstrip()


def test_leases_are_read_by_where_file_systems_are_mounted() -> None:
    assert parse_leases(STATISTICS) == {"/a folder": 45.0}


@pytest.mark.parametrize(
    ("kind", "options", "point", "seconds"),
    [
        ("ext4", (), "/", 0.0),
        ("tmpfs", (), "/tmp", 0.0),
        ("nfs4", (), "/a folder", 45.0),
        ("nfs4", (), "/b", 90.0),
        ("nfs4", ("local_lock=all",), "/a folder", 0.0),
        ("nfs", (), "/c", 0.0),
        ("lustre", (), "/scratch", 150.0),
        ("lustre", ("localflock",), "/scratch", 0.0),
        ("gpfs", (), "/gpfs", DEFAULT_LEASE),
        ("fuse.sshfs", (), "/home", DEFAULT_LEASE),
    ],
)
def test_the_lease_is_that_of_the_mount_or_what_is_usual(
    kind: str, options: tuple[str, ...], point: str, seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "statistics").write_text(STATISTICS)
    monkeypatch.setattr(filesystems, "MOUNT_STATISTICS", tmp_path / "statistics")
    monkeypatch.setattr(filesystems, "mount_of", lambda _path: Mount(kind, options, point))
    assert lease_of("/anywhere") == seconds


def test_a_usual_directory_has_no_lease(tmp_path: Path) -> None:
    assert lease_of(tmp_path) == 0.0
