"""Runs single launches in a real pool, with stand-ins for programs that this machine lacks."""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers import clean_environment, wait_for

from taskfarmer_mpi.farmer.environment import task_environment
from taskfarmer_mpi.farmer.pool import Pool
from taskfarmer_mpi.lives import owner as owners
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.runners.shell import Launch
from taskfarmer_mpi.tasklists.task import Run, Task
from taskfarmer_mpi.workdir.files import Workdir


class Stage:
    """A pool with one slot, whose tasks find the programs of a folder first."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **environ: str) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        monkeypatch.setenv("PATH", f"{self.bin}:{os.environ['PATH']}")
        self.workdir = Workdir(folder / "work dir")
        self.workdir.create()
        self.farmer = f"stage-{uuid.uuid4().hex}"
        self._lock = LifeLock.create(folder / "tasks lock", 0o600)
        environ = clean_environment(**environ, PATH=os.environ["PATH"])
        self.pool = Pool(
            slots=1,
            farmer=self.farmer,
            task_lock=self._lock,
            workdir=self.workdir,
            environ=task_environment(environ, self.farmer, self.workdir, 0),
            first_node_slot=6,
        )
        self._next_id = 0

    def program(self, name: str, text: str) -> Path:
        """Put a Python program on ``PATH``."""
        path = self.bin / name
        path.write_text(f"#!{sys.executable}\n{text}")
        path.chmod(0o755)
        return path

    def start(self, launch: Launch) -> Task:
        """Start a task."""
        task = Task(self._next_id, "a task")
        self._next_id += 1
        assert self.pool.start(task, launch) is None
        return task

    def run(self, launch: Launch) -> tuple[int, str]:
        """Run a task to its end; return exit code and output."""
        task = Task(self._next_id, "a task")
        self._next_id += 1
        run: Run | None = self.pool.start(task, launch)
        if run is None:
            (run,) = wait_for(self.pool.reap, deadline=60, what="the end of a task")
        return run.returncode, self.log(task)

    @property
    def owner(self) -> owners.Owner:
        """The farmer, as its tasks' processes are known."""
        return owners.Owner.here(self.farmer, str(self.lock_path), str(self.workdir.path))

    @property
    def lock_path(self) -> Path:
        """The lock that all tasks hold."""
        return self._lock.path

    def log(self, task: Task) -> str:
        """Return what a task has written so far."""
        return (self.workdir.logs / f"log_{task.id}").read_text()

    def processes(self) -> list[int]:
        """Return the processes of the tasks."""
        return owners.find_processes(self.owner)

    def close(self) -> None:
        """End all that is left."""
        self.pool.kill(10)
        self.pool.close()
        os.close(self._lock.fd)


@contextmanager
def staged(folder: Path, monkeypatch: pytest.MonkeyPatch, **environ: str) -> Iterator[Stage]:
    """Open a stage, and close it at the end."""
    stage = Stage(folder, monkeypatch, **environ)
    try:
        yield stage
    finally:
        stage.close()


def read_record(path: Path) -> Any:
    """Return what a stand-in has recorded."""
    return json.loads(path.read_text())
