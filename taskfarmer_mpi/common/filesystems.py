"""What file system a path is on, and whether `flock` works there, as far as one node can tell."""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress
from pathlib import Path

from taskfarmer_mpi.common.values import Value

MOUNTS = Path("/proc/self/mountinfo")
MOUNT_STATISTICS = Path("/proc/self/mountstats")

_LOCAL_TYPES = frozenset(
    ["9p", "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "rootfs", "tmpfs", "vfat", "xfs", "zfs"]
)
"""File systems that one node has for itself."""
_LOCAL_LOCKS = frozenset(["local_lock=all", "local_lock=flock", "localflock", "localflocks", "nolock"])
"""Mount options of NFS, Lustre, GFS2 and OCFS2 with which a `flock` holds on its own node only, and nothing says so."""
_LEASES = {"ceph": 300.0, "lustre": 150.0, "nfs": 0.0, "nfs4": 90.0}
"""After how long without a sign of a node its locks go to others [s], by file system: at the earliest, as its documentation
has it, or by default. NFS before version 4 keeps them until the node or the server is started again."""
DEFAULT_LEASE = 60.0
"""The same for a file system that other nodes may have, and of which no more is known [s]."""


_remembering: set[int] = set()  # file systems, by device, whose files this node takes for what they were a moment ago


class Mount(Value):
    """A mounted file system."""

    type: str
    """As the kernel calls it: ``ext4``, ``nfs4``, ``lustre``, ``fuse.sshfs``."""
    options: tuple[str, ...]
    """Those of the mount and those of the file system."""
    point: str
    """Where it is mounted."""

    @property
    def is_local(self) -> bool:
        """Whether other nodes cannot see it."""
        return self.type in _LOCAL_TYPES

    @property
    def local_lock_options(self) -> list[str]:
        """The options with which locks do not exclude between nodes."""
        return [option for option in self.options if option in _LOCAL_LOCKS]


def is_local(path: str | os.PathLike[str]) -> bool:
    """Whether a path is on a file system of this node alone, as far as the kernel says; no wrong `yes` is given."""
    try:
        mount = mount_of(path)
    except OSError:
        return False
    return mount is not None and mount.is_local


def refuses_lost_locks(path: str | os.PathLike[str]) -> bool:
    """Whether a write there is an error where the lock of its descriptor was lost, as with NFS from version 4 on."""
    try:
        mount = mount_of(path)
    except OSError:
        return False
    return mount is not None and mount.type == "nfs4" and not mount.local_lock_options


def inode_of(fd: int) -> int:
    """Return the inode of an open file as this node knows it: no server is asked, if the kernel (5.14) says it."""
    with open(f"/proc/self/fdinfo/{fd}", "rb", 0) as file:
        number = file.read(4096).partition(b"\nino:")[2].partition(b"\n")[0]
    return int(number) if number else os.fstat(fd).st_ino


def is_at(path: Path, inode: int) -> bool:
    """Whether a name is that of a file, by its inode: only what the client knows of the directory is asked for."""
    see_name(path)
    try:
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return inode_of(fd) == inode
    finally:
        os.close(fd)


def keeps_attributes(path: str | os.PathLike[str]) -> bool:
    """Whether this node goes by what it remembers of files there for a while, a second by default, whatever others write.

    So do FUSE file systems (attr_timeout of mount.fuse3(8), attribute-timeout of GlusterFS), also under a lock.
    """
    if os.major(os.stat(path).st_dev):  # a disk of this node
        return False
    mount = mount_of(path)
    return mount is not None and mount.type.partition(".")[0] == "fuse"


def see_through(folder: Path) -> None:
    """Have files be what other nodes have made of them whenever they are opened, if their file system remembers too long.

    From then on, by `see_name` and `see_attributes`, which do nothing before.
    """
    if keeps_attributes(folder):
        _remembering.add(folder.stat().st_dev)


def see_name(path: Path | str) -> None:
    """Have a name stand for the file that has it now."""
    if _remembering:
        from taskfarmer_mpi.common.c_library import ask_for_name

        ask_for_name(os.fsencode(path))


def see_attributes(fd: int) -> None:
    """Have an open file be as large as it is now."""
    if _remembering and os.fstat(fd).st_dev in _remembering:
        from taskfarmer_mpi.common.c_library import ask_for_attributes

        ask_for_attributes(fd)


def is_there(path: Path) -> bool:
    """Whether a file has a name now, whatever this node remembers."""
    see_name(path)
    return path.exists()


def lease_of(path: str | os.PathLike[str]) -> float:
    """Return after how long without an answer a file system may give the locks of this node to others [s]; 0 if never.

    An NFS client of version 4 says it (nfsstat(8)); else it is what is usual.
    """
    try:
        mount = mount_of(path)
    except OSError:
        return DEFAULT_LEASE
    if mount is None:
        return DEFAULT_LEASE
    if mount.is_local or mount.local_lock_options:
        return 0.0
    said = None
    if mount.type == "nfs4":
        with suppress(OSError):
            said = parse_leases(MOUNT_STATISTICS.read_text(errors="surrogateescape")).get(mount.point)
    return said or _LEASES.get(mount.type, DEFAULT_LEASE)


def parse_leases(text: str) -> dict[str, float]:
    """Return the leases of NFS mounts [s] by where they are mounted, from the text of ``/proc/PID/mountstats``."""
    leases, point = {}, ""
    for line in text.splitlines():
        if line.startswith("device "):
            point = _unescape(line.partition(" mounted on ")[2].partition(" with fstype ")[0])
        elif found := re.search(r"\blease_time=(\d+)", line):
            leases[point] = float(found[1])
    return leases


def mount_of(path: str | os.PathLike[str]) -> Mount | None:
    """Return the mount that `path` is on; None if the kernel does not say.

    Of a path that does not exist, the nearest directory above counts.

    Raises
    ------
    OSError
        If the path cannot be looked at.
    """
    fd = _open_nearest(Path(os.path.abspath(path)))
    try:
        info = Path(f"/proc/self/fdinfo/{fd}").read_text()
    finally:
        os.close(fd)
    number = re.search(r"^mnt_id:\s*(\d+)$", info, re.MULTILINE)
    return parse_mounts(MOUNTS.read_text(errors="surrogateescape")).get(int(number[1])) if number else None


def _open_nearest(path: Path) -> int:
    for place in (path, *path.parents):
        try:
            return os.open(place, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
    raise FileNotFoundError(path)


def parse_mounts(text: str) -> dict[int, Mount]:
    """Return the mounts by their numbers from the text of ``/proc/PID/mountinfo`` (proc_pid_mountinfo(5))."""
    mounts = {}
    for line in text.splitlines():
        fields = line.split(" ")
        kind, _, more = fields[fields.index("-", 6) + 1 :][:3]
        options = dict.fromkeys([*fields[5].split(","), *more.split(",")])
        mounts[int(fields[0])] = Mount(kind, tuple(map(_unescape, options)), _unescape(fields[4]))
    return mounts


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def lock_trouble(directory: str | os.PathLike[str]) -> str | None:
    """Return why locks in a directory do not exclude on this node; None if they do.

    A file is made there and locked, and a second descriptor must fail to lock it. That says nothing of other nodes.
    """
    import tempfile

    try:
        fd, name = tempfile.mkstemp(prefix=".lock-probe-", dir=directory)
    except OSError as error:
        return f"cannot make a file: {error.strerror}"
    try:
        other = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(other)
    except BlockingIOError:
        return None
    except OSError as error:
        return f"no working flock: {error.strerror}"
    finally:
        os.close(fd)
        os.unlink(name)
    return "flock does not exclude: a second descriptor got a lock that is held"
