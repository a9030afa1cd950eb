"""Two FUSE mounts of one directory, whose locks exclude each other, as two nodes have a shared file system."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OPTIONS = ("--no-allow-other", "--multithreaded", "--enable-lock-forwarding")
"""Of bindfs: without the last one each mount has locks of its own, and a farm on both of them has none that excludes."""


@contextmanager
def two_mounts(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Mount a directory twice; yield one mount, and the words before a command that has the other one in its place."""
    back, first, second = (folder / name for name in ("back", "list", "other"))
    mounted: list[Path] = []
    try:
        for path in (back, first, second):
            path.mkdir()
        for path in (first, second):
            subprocess.run(["bindfs", *OPTIONS, back, path], check=True)
            mounted.append(path)
        yield first, ["unshare", "-m", "sh", "-c", f'mount --bind {second} {first} && cd . && exec "$@"', "sh"]
    finally:
        for path in mounted:
            subprocess.run(["umount", "--lazy", path], check=True)
