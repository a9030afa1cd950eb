"""The directories of tasks, where several farmers begin on one node at the same moment."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from taskfarmer_mpi.farmer.tempdirs import TempDirs


def _swept(path: str) -> None:
    """Have another farmer take it for a dead one's: all of its sweep is over before the directory is locked."""
    TempDirs(os.path.dirname(path), "other").close()


def _being_swept(path: str) -> None:
    """Have another farmer hold its lock; it removes the directory a moment later."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(fd, fcntl.LOCK_EX)


@pytest.mark.parametrize("meanwhile", [_swept, _being_swept])
def test_a_directory_that_another_farmer_takes_for_a_dead_ones_is_made_anew(
    meanwhile: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    make = tempfile.mkdtemp

    def interrupted(prefix: str, dir: str) -> str:  # noqa: A002  as the function that it stands for has it
        path = make(prefix=prefix, dir=dir)
        if "-mine-" in path:
            made.append(path)
            if len(made) == 1:
                meanwhile(path)
        return path

    monkeypatch.setattr(tempfile, "mkdtemp", interrupted)
    mine = TempDirs(str(tmp_path), "mine")
    assert len(made) == 2
    TempDirs(str(tmp_path), "third").close()
    assert os.path.isdir(mine.make(7))
    mine.close()
    assert not os.path.exists(made[1])


def test_what_a_dead_farmer_left_is_removed_and_what_it_kept_is_not(tmp_path: Path) -> None:
    for kept in (False, True):
        dead = TempDirs(str(tmp_path), f"dead{kept}")
        Path(dead.make(1), "file").touch()
        if kept:
            Path(dead.make(2), "file").touch()
            dead.end(2, is_kept=True)
        os.close(dead._fd)  # as at its death
    TempDirs(str(tmp_path), "next").close()
    (folder,) = tmp_path.iterdir()
    assert [path.name for path in folder.iterdir()] == ["failed_2_2"]
