"""A farmer's tasks die with it, whatever they did to get away."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from taskfarmer_mpi.farmer import guardian
from taskfarmer_mpi.workdir.locks import LifeLock

ESCAPES = {
    "child": "sleep 300 & wait",
    "session": "setsid sleep 300 & wait",
    "daemon": "(setsid sh -c 'sleep 300 & ' &) ; sleep 300",
    "no-environment": "env -i sleep 300 & wait",
    "stubborn": "trap '' TERM INT HUP; while :; do sleep 300; done",
}


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


@pytest.fixture
def task_lock(tmp_path: Path) -> LifeLock:
    return LifeLock.create(tmp_path / "tasks", 0o600)


def start(script: str, farmer: str, lock: LifeLock) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        ["/bin/sh", "-c", script],
        env=os.environ | {guardian.FAMILY: f"outer:{farmer}"},
        pass_fds=[lock.fd],
        start_new_session=True,
    )


@pytest.mark.parametrize("script", ESCAPES.values(), ids=ESCAPES.keys())
def test_every_process_of_a_task_is_found_and_killed(script: str, task_lock: LifeLock) -> None:
    farmer = f"farmer-{os.getpid()}-{time.monotonic_ns()}"
    with start(script, farmer, task_lock) as process:
        path = str(task_lock.path)
        assert wait_until(lambda: len(guardian.find_processes(farmer, path)) >= 2)
        assert guardian.kill_processes(farmer, path, 5.0)
        assert process.wait(5) == -9
        assert guardian.find_processes(farmer, path) == []
    task_lock.release()


def test_processes_of_another_farmer_are_left_alone(task_lock: LifeLock, tmp_path: Path) -> None:
    other = LifeLock.create(tmp_path / "other", 0o600)
    with start("sleep 300", "another-farmer", other) as process:
        assert guardian.kill_processes("a-farmer", str(task_lock.path), 5.0)
        assert process.poll() is None
        process.kill()
    task_lock.release()


def watch(farmer: str, lock: LifeLock) -> tuple["subprocess.Popen[bytes]", int]:
    """Start a guardian; return it and the end of the pipe that its farmer holds."""
    read_end, write_end = os.pipe()
    command = [sys.executable, "-I", "-S", guardian.__file__, farmer, str(lock.path), str(read_end)]
    process = subprocess.Popen(command, pass_fds=[read_end])
    os.close(read_end)
    return process, write_end


def test_the_guardian_kills_what_a_dead_farmer_left(task_lock: LifeLock) -> None:
    farmer = f"farmer-{os.getpid()}-{time.monotonic_ns()}"
    watcher, pipe = watch(farmer, task_lock)
    with start(ESCAPES["daemon"], farmer, task_lock) as process:
        task_lock.release()
        os.close(pipe)  # the farmer's death
        assert watcher.wait(10) == 0
        assert process.wait(5) == -9
        assert guardian.find_processes(farmer, str(task_lock.path)) == []


def test_the_guardian_goes_home_when_the_farmer_left_in_order(task_lock: LifeLock) -> None:
    farmer = f"farmer-{os.getpid()}-{time.monotonic_ns()}"
    watcher, pipe = watch(farmer, task_lock)
    with start("sleep 300", farmer, task_lock) as process:
        os.write(pipe, b".")
        os.close(pipe)
        assert watcher.wait(10) == 0
        assert process.poll() is None
        process.kill()
    task_lock.release()
