"""What is done to a work directory as a whole for a moment: moved away, another one put in its place, made read-only."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers import wait_for

MOVED, EMPTY, COPY, READ_ONLY = (
    f"directory {what}" for what in ("moved away", "replaced by an empty one", "replaced by a copy", "read-only")
)
LISTS = {"farm.ini", "toprocess", "finished", "failed"}
"""What nobody makes in a directory that took the place of the work directory."""
_READ_ONLY = 'mount --bind "$1" "$2" && mount -o remount,bind,ro "$2" && mount --move "$2" "$1"'
"""Made read-only aside, as at its place that is refused while files are open for writing; these stay as they were."""


class Mounts:
    """Mounts that only some processes see: those that `words` are put before."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sleep", "infinity"])
        own, theirs = Path("/proc/self/ns/mnt"), Path(f"/proc/{self._holder.pid}/ns/mnt")
        wait_for(lambda: theirs.readlink() != own.readlink(), deadline=60, what="mounts of its own")

    @classmethod
    def made_here(cls) -> Mounts | None:
        """Return some, where this user may make them."""
        is_able = os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL).returncode == 0
        return cls() if is_able else None

    def words(self, cwd: Path) -> list[str]:
        """Return the words before a command that has these mounts, and works in a directory."""
        enter = ["nsenter", "-t", str(self._holder.pid), "-m"]
        return [*enter, "sh", "-c", 'cd "$0" && exec "$@"', str(cwd)]

    @contextmanager
    def read_only(self, folder: Path) -> Iterator[None]:
        """Have a directory read-only there."""
        aside = folder.with_name("aside")
        aside.mkdir(exist_ok=True)
        self._run("sh", "-c", _READ_ONLY, "sh", str(folder), str(aside))
        try:
            yield
        finally:
            self._run("umount", "--lazy", str(folder))

    def _run(self, *words: str) -> None:
        subprocess.run([*self.words(Path("/")), *words], check=True)

    def close(self) -> None:
        """Let them go, with the last process that has them."""
        self._holder.kill()
        self._holder.wait()


def replace_for(workdir: Path, what: str, seconds: float) -> list[str]:
    """Have a work directory away for some time [s], and what took its place thrown away; return what is wrong there."""
    away = workdir.with_name("away")
    workdir.rename(away)
    if what == EMPTY:
        workdir.mkdir()
    elif what == COPY:  # some files change or go meanwhile
        subprocess.run(["cp", "-a", away, workdir], stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    found = set(os.listdir(workdir)) if workdir.exists() else set()
    wrong = what != COPY and (LISTS & found or (what == MOVED and workdir.exists()))
    if workdir.exists():
        workdir.rename(workdir.with_name("another"))
    away.rename(workdir)
    shutil.rmtree(workdir.with_name("another"), ignore_errors=True)
    return [f"made in the place of a work directory that was away: {sorted(found)}"] if wrong else []
