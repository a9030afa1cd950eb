"""Tasks run only as long as their lock is proven to be held."""

import errno
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import Clock
from helpers import Process, Site, Witness, command_of, is_alive, processes_with, settled, wait_for

from taskfarmer_mpi.lives import lease
from taskfarmer_mpi.lives.lease import REFUSAL, SILENCE, Sheet, Watch, is_over
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.lives.owner import Owner


@pytest.mark.parametrize(
    ("moment", "proven", "woke", "is_due"),
    [
        (1000.0, 1000.0, 0.0, False),
        (1049.9, 1000.0, 0.0, False),
        (1050.0, 1000.0, 0.0, True),  # a sixth of the lease before others can have the lock
        (5000.0, 1000.0, 0.0, True),
        (5000.0, 1000.0, 5000.0, False),  # it came back this moment, and asks first
        (5001.0, 1000.0, 5000.0, True),
        (1001.0, 1000.0, 1000.5, False),
    ],
)
def test_the_age_of_the_last_proof_decides(moment: float, proven: float, woke: float, is_due: bool) -> None:
    assert is_over(moment, proven, woke, 60.0) == is_due


def test_farmer_and_guardian_read_the_same_sheet() -> None:
    mine = Sheet.create(123.5)
    theirs = Sheet(os.dup(mine.fd))
    assert (theirs.proven(), theirs.end(), theirs.running_tasks()) == (123.5, None, set())
    mine.note(1, 0)
    mine.note(0, 77)
    assert theirs.running_tasks() == {0, 77}
    mine.note(1, None)
    theirs.write_proof(200.0)
    assert (mine.proven(), mine.running_tasks()) == (200.0, {77})
    assert mine.watcher() == 0
    theirs.write_watcher(4711)
    assert (mine.watcher(), mine.running_tasks()) == (4711, {77})
    theirs.write_end(SILENCE)
    assert mine.end() == SILENCE
    for sheet in (mine, theirs):
        os.close(sheet.fd)


@pytest.mark.parametrize(
    ("number", "is_proof"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False), (errno.ESTALE, False)]
)
def test_a_server_that_is_full_knows_the_lock_all_the_same(
    number: int, is_proof: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(_fd: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    lock = LifeLock.create(tmp_path / "tasks", 0o600)
    try:
        lease.prove(lock.fd)
        said = True
    except OSError:
        said = False
    lock.release()
    assert said == is_proof


class Scene:
    """A guardian's watch with a clock and proofs of its own, and a process of the farmer's task 5."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, *, late: float = 0.0, answers: bool = True
    ) -> None:
        """Have a farmer with a lease [s], whose guardian begins some time later [s]."""
        self.clock = Clock()
        self.answers = answers
        self.error: OSError | None = None
        self.asked = 0
        self._end = threading.Event()
        self.lock = LifeLock.create(folder / "tasks", 0o600)
        self.sheet = Sheet.create(self.clock())
        self.sheet.note(0, 5)
        self.task = subprocess.Popen(["sleep", "300"], pass_fds=[self.lock.fd])
        owner = Owner(f"farmer-{os.getpid()}-{time.monotonic_ns()}", str(self.lock.path), str(folder), {})
        monkeypatch.setattr(lease, "now", self.clock)
        monkeypatch.setattr(lease, "prove", self._prove)
        self.seconds = seconds
        self.clock.now += late
        self.watch = Watch(owner, self.lock.fd, self.sheet, seconds)

    def _prove(self, _lock: int) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error
        if not self.answers:
            self._end.wait(60)

    def pass_time(self, seconds: float) -> None:
        """Let the guardian look at the clock for some time [s], without hearing of proofs meanwhile."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now = min(self.clock.now + 0.5, end)
            self.watch.look()

    @property
    def is_killed(self) -> bool:
        """Whether the task is."""
        return self.task.poll() == -signal.SIGKILL

    def close(self) -> None:
        """End all of it."""
        self.watch.end()
        self._end.set()
        self.task.kill()
        self.task.wait(10)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    scene = Scene(tmp_path, monkeypatch, 60.0)
    wait_for(lambda: scene.asked, deadline=10, what="the first proof")
    scene.watch.look()
    yield scene
    scene.close()


def test_without_a_proof_tasks_are_killed_before_the_lease_is_over(scene: Scene) -> None:
    scene.pass_time(49.5)
    assert scene.sheet.end() is None
    assert scene.task.poll() is None
    scene.pass_time(0.5)
    assert scene.sheet.end() == SILENCE
    wait_for(lambda: scene.is_killed, deadline=10, what="the task is killed")


def test_a_process_that_starts_after_the_end_of_the_lease_is_killed_too(scene: Scene) -> None:
    scene.pass_time(50)
    late = subprocess.Popen(["sleep", "300"], pass_fds=[scene.lock.fd])
    scene.pass_time(0.5)
    assert late.wait(10) == -signal.SIGKILL


def test_where_no_task_runs_nothing_is_over(scene: Scene) -> None:
    scene.sheet.note(0, None)
    scene.pass_time(200)
    assert scene.sheet.end() is None
    scene.sheet.note(0, 5)
    scene.pass_time(0.5)
    assert scene.sheet.end() == SILENCE


def test_a_guardian_that_did_not_run_asks_before_it_judges(scene: Scene) -> None:
    """As in a job that was suspended: the kernel has renewed the lease meanwhile."""
    asked = scene.asked
    scene.clock.now += 500
    scene.watch.look()
    wait_for(lambda: scene.asked > asked, deadline=10, what="another proof")
    scene.watch.look()
    assert scene.sheet.proven() == scene.clock.now
    scene.pass_time(2)
    assert scene.sheet.end() is None
    assert scene.task.poll() is None


def test_a_guardian_that_did_not_run_judges_if_there_is_no_answer(scene: Scene) -> None:
    """As on a computer that slept."""
    scene.answers = False
    scene.clock.now += 500
    scene.watch.look()
    assert scene.sheet.end() is None
    scene.pass_time(1)
    assert scene.sheet.end() == SILENCE


@pytest.mark.parametrize("answers", [True, False])
def test_a_guardian_that_begins_late_asks_before_it_judges(
    answers: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path, monkeypatch, 60.0, late=500, answers=answers)
    try:
        scene.watch.look()
        assert scene.sheet.end() is None
        wait_for(lambda: scene.asked, deadline=10, what="the first proof")
        wait_for(
            lambda: scene.watch.look() and (scene.sheet.proven() == scene.clock.now or not answers), deadline=10, what="it"
        )
        scene.pass_time(1)
        assert scene.sheet.end() == (None if answers else SILENCE)
    finally:
        scene.close()


def test_a_guardian_that_hardly_runs_does_not_put_its_judgement_off_for_ever(scene: Scene) -> None:
    scene.answers = False
    for _ in range(20):
        scene.clock.now += 5
        scene.watch.look()
    assert scene.sheet.end() == SILENCE


def test_one_error_is_no_reason_and_two_in_a_row_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(tmp_path, monkeypatch, 1.0)
    try:
        scene.error = OSError(errno.EIO, "Input/output error")
        wait_for(lambda: scene.watch.look() and scene.sheet.end() == REFUSAL, deadline=10, what="the end of the lease")
        wait_for(lambda: scene.is_killed, deadline=10, what="the task is killed")
    finally:
        scene.close()


# -- real farmers ---------------------------------------------------------------------------------


def guardian_of(farmer: Process) -> int:
    """Return the guardian of a plain farmer."""
    pids = wait_for(
        lambda: [
            pid for pid in processes_with(farmer.launch) if any(word.endswith("guardian.py") for word in command_of(pid))
        ],
        deadline=20,
        what="the guardian",
    )
    return int(pids[0])


@pytest.fixture
def memory() -> Iterator[Path]:
    """Make a folder for lock files that answers at once, however busy the disk is."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def stop_for(seconds: float, *processes: int) -> None:
    """Stop processes for some time [s]."""
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in processes:
            os.kill(pid, number)
        if number == signal.SIGSTOP:
            time.sleep(seconds)


@pytest.mark.parametrize(
    ("injection", "lease_time", "reason"),
    [("delay_enter=10s", "5", "had no answer of its file system for 4.2 s"), ("error=EIO", "30", "has lost its lock")],
)
def test_a_farmer_without_proofs_loses_its_tasks_and_others_run_them(
    injection: str, lease_time: str, reason: str, site: Site, witness: Witness, strace: str
) -> None:
    tasks = [*(f"trap '' TERM; {witness.task(number, 40.0)}" for number in range(2)), witness.task(2, 0.1)]
    farmer = site.farm("-n", "2", "--lease", lease_time, site.tasklist(tasks))
    guardian = guardian_of(farmer)
    wait_for(lambda: len(witness.runs()) >= 2, deadline=20, what="both tasks run")
    words = [strace, "-qq", "-o", "/dev/null", "-f", "-p", str(guardian), "-e", "trace=fsync"]
    tracer = site.start(*words, "-e", f"inject=fsync:{injection}")
    farmer.succeed(60, code=75)
    assert reason in farmer.stderr
    assert farmer.stderr.count("were killed before other nodes run them") == 1
    tracer.kill()
    wait_for(lambda: not is_alive(guardian), deadline=10, what="the guardian goes")
    assert [run.end for runs in witness.runs().values() for run in runs] == [None, None]
    site.farm("-n", "8", "--lease", "0", site.path / "tasks").succeed(90)
    assert settled(site.path / "tasks_workdir", tasks).failed == []
    assert witness.overlaps() == []


@pytest.mark.parametrize("who", ["farmer", "all"])
def test_what_was_stopped_for_longer_than_a_lease_goes_on(who: str, site: Site, witness: Witness, memory: Path) -> None:
    """The guardian proves the lock for a farmer that is stopped, and asks anew when it was stopped itself."""
    environ = site.environ(SCRATCH=str(memory))
    farmer = site.farm("-n", "2", "--lease", "5", site.tasklist(witness.tasks(8, 1.5)), environ=environ)
    guardian = guardian_of(farmer)
    wait_for(lambda: len(witness.runs()) >= 2, deadline=20, what="tasks run")
    stop_for(7.0, *([farmer.pid] if who == "farmer" else [guardian, *processes_with(farmer.launch)]))
    farmer.succeed(60)
    witness.once_each(8)


def test_on_a_file_system_of_one_node_the_guardian_does_nothing_for_a_lease(
    site: Site, witness: Witness, strace: str
) -> None:
    farmer = site.farm("-n", "2", site.tasklist(witness.tasks(8, 1.0)))
    guardian = guardian_of(farmer)
    wait_for(lambda: len(witness.runs()) >= 2, deadline=20, what="tasks run")
    assert os.listdir(f"/proc/{guardian}/task") == [str(guardian)]
    assert "/memfd:lease" not in str([os.readlink(path) for path in Path(f"/proc/{farmer.pid}/fd").iterdir()])
    calls = site.path / "calls"
    tracer = site.start(strace, "-f", "-qq", "-o", calls, "-p", str(guardian))
    farmer.succeed(60)
    tracer.wait(20)
    said = re.findall(r"^[0-9]+ +(\w+\([^,]*)", calls.read_text(), re.MULTILINE)
    asked = said[said.index("read(0") :]  # it waits for its farmer, and for nothing else
    assert not [call for call in asked if call.startswith(("poll", "pwrite", "fsync", "clock", "pread"))], said
