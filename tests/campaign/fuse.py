"""Two FUSE mounts of one directory, whose locks exclude each other, as two nodes have a shared file system."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BINDFS = "bindfs --no-allow-other --multithreaded --enable-lock-forwarding {back} {point}"
"""Without the last option each mount has locks of its own, and a farm on both of them has none that excludes."""


@contextmanager
def two_mounts(folder: Path, command: str = BINDFS) -> Iterator[tuple[Path, list[str]]]:
    """Mount a directory twice; yield one mount, and the words before a command that has the other one in its place.

    Parameters
    ----------
    folder
        Where the directory and the mounts are made.
    command
        What mounts it, with `{back}` for the directory and `{point}` for the mount.
    """
    back, first, second = (folder / name for name in ("back", "list", "other"))
    mounted: list[Path] = []
    try:
        for path in (back, first, second):
            path.mkdir()
        for path in (first, second):
            subprocess.run([word.format(back=back, point=path) for word in shlex.split(command)], check=True)
            mounted.append(path)
        yield first, ["unshare", "-m", "sh", "-c", f'mount --bind {second} {first} && cd . && exec "$@"', "sh"]
    finally:
        for path in mounted:
            subprocess.run(["umount", "--lazy", path], check=True)
