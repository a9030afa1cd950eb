"""The lock on a work directory, and the locks that say who lives."""

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

from taskfarmer_mpi.errors import LockBusyError, UserError
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.workdir import locks
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.lock_files import lock_paths
from taskfarmer_mpi.workdir.locks import WorkLock, lock_mode


@pytest.fixture
def workdir(tmp_path: Path) -> Workdir:
    workdir = Workdir(tmp_path / "work")
    workdir.create()
    return workdir


def test_the_lock_file_is_where_the_documentation_and_the_code_of_plain_farmers_have_it(workdir: Workdir) -> None:
    name = hashlib.md5(os.fsencode(workdir.path)).hexdigest() + "_lock"
    own = workdir.path / "lock"
    assert lock_paths(workdir, {}) == [own]
    assert lock_paths(workdir, {"SCRATCH": str(workdir.farmers), "TMP": "/t"}) == [workdir.farmers / name]
    folder = workdir.logs
    assert lock_paths(workdir, {"TMP": str(folder), "TMPDIR": "/d"}) == [own, folder / name]
    assert lock_paths(workdir, {"TMPDIR": f"{folder}/"}) == [own, folder / name]
    assert lock_paths(workdir, {"TMPDIR": "/no/such/folder"}) == [own]


def test_a_path_through_a_link_is_hashed_as_it_is_written(tmp_path: Path, workdir: Workdir) -> None:
    (tmp_path / "alias").symlink_to(workdir.path)
    alias = Workdir(tmp_path / "alias")
    scratch = {"SCRATCH": str(tmp_path)}
    assert lock_paths(alias, scratch) != lock_paths(workdir, scratch)


def test_only_one_holds_the_lock_and_its_name_is_known(workdir: Workdir) -> None:
    first = WorkLock(workdir, [workdir.path / "lock"], f"n1 pid {os.getpid()} (first)")
    second = WorkLock(workdir, [workdir.path / "lock"], "n2 pid 2 (second)")
    assert first.try_acquire()
    assert not second.try_acquire()
    with pytest.raises(LockBusyError, match=r"held by n1 pid \d+ \(first\) since"), second.held(0.05):
        pass
    first.release()
    assert second.try_acquire()
    second.release()


def test_a_plain_farmers_flock_is_respected_and_its_process_named(workdir: Workdir) -> None:
    lock = WorkLock(workdir, [workdir.path / "lock"], "me")
    with (workdir.path / "lock").open("w+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert not lock.try_acquire()
        assert f"process {os.getpid()} on this node" in lock.describe_holder()
    assert lock.try_acquire()
    lock.release()


@pytest.mark.parametrize("refused", [0, 1])
def test_of_two_lock_files_the_holder_of_the_one_that_others_have_is_named(workdir: Workdir, refused: int) -> None:
    paths = [workdir.path / "lock", workdir.path / "other"]
    me = f"n1 pid {os.getpid()} (me)"
    lock = WorkLock(workdir, paths, me)
    assert lock.try_acquire()
    lock.release()
    with paths[refused].open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        with pytest.raises(LockBusyError) as caught, lock.held(0.05):
            pass
    assert str(caught.value).startswith(f"{paths[refused]}: no lock within ")
    assert str(caught.value).endswith(f"it is held by process {os.getpid()} on this node")


def test_who_left_its_name_in_a_lock_file_is_not_taken_for_its_holder(
    workdir: Workdir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PyTaskFarmer on another node leaves the name that is there, and the kernel here does not know of it."""
    monkeypatch.setattr(locks, "_local_holder", lambda _path: None)
    lock = WorkLock(workdir, [workdir.path / "lock"], "n1 pid 1 (me)")
    assert lock.try_acquire()
    lock.release()
    with (workdir.path / "lock").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert not lock.try_acquire()
        assert lock.describe_holder().startswith("who holds it is not known")


@pytest.mark.parametrize("note", ["", "n1 pid {pid} (other) since 2026-01-01 00:00:00\n"])
def test_a_holder_that_is_stopped_is_said_to_be(workdir: Workdir, note: str) -> None:
    path = workdir.path / "lock"
    code = f"import fcntl, os, signal; file = open({str(path)!r}, 'w'); fcntl.flock(file, fcntl.LOCK_EX)\n"
    code += f"file.write({note!r}.format(pid=os.getpid())); file.flush(); os.kill(os.getpid(), signal.SIGSTOP)"
    holder = subprocess.Popen([sys.executable, "-c", code])
    try:
        os.waitid(os.P_PID, holder.pid, os.WSTOPPED | os.WNOWAIT)
        lock = WorkLock(workdir, [path], "me")
        assert not lock.try_acquire()
        said = lock.describe_holder()
        assert f"pid {holder.pid} (other) since" in said if note else f"process {holder.pid} on this node" in said
        assert said.endswith(f"kill -CONT {holder.pid} has it go on, kill -KILL {holder.pid} ends it")
    finally:
        holder.kill()
        holder.wait()


def test_of_two_lock_files_none_is_kept_unless_both_are_had(workdir: Workdir) -> None:
    paths = [workdir.path / "lock", workdir.path / "other"]
    lock = WorkLock(workdir, paths, "me")
    with paths[1].open("w+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert not lock.try_acquire()
        assert not lock.is_held
        assert WorkLock(workdir, paths[:1], "x").try_acquire()


def test_a_link_at_the_lock_path_is_refused(workdir: Workdir, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (workdir.path / "lock").symlink_to(victim)
    with pytest.raises(UserError, match="cannot lock"):
        WorkLock(workdir, [workdir.path / "lock"], "me").try_acquire()
    assert victim.read_text() == "precious"


def test_lock_files_are_open_to_the_group_only_where_the_work_directory_is(workdir: Workdir) -> None:
    workdir.path.chmod(0o755)
    assert lock_mode(workdir.path) == 0o600
    workdir.path.chmod(0o775)
    assert lock_mode(workdir.path) == 0o660


def test_a_life_lock_can_be_had_only_after_its_holders_death(tmp_path: Path) -> None:
    path = tmp_path / "alive"
    life = LifeLock.create(path, 0o600)
    assert life.is_held()
    assert LifeLock.seize(path) is None
    life.release()
    seized = LifeLock.seize(path)
    assert seized is not None
    seized.release()


def test_a_life_lock_is_never_made_of_an_existing_file(tmp_path: Path) -> None:
    (tmp_path / "alive").write_text("")
    with pytest.raises(FileExistsError):
        LifeLock.create(tmp_path / "alive", 0o600)


def test_a_missing_life_lock_says_nothing_of_its_holder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LifeLock.seize(tmp_path / "none")


def test_a_lock_that_others_seized_is_known_to_be_lost(tmp_path: Path) -> None:
    life = LifeLock.create(tmp_path / "alive", 0o600)
    fcntl.flock(life.fd, fcntl.LOCK_UN)  # as when a lease runs out
    seized = LifeLock.seize(tmp_path / "alive")
    assert seized is not None
    assert not life.is_held()


def test_asking_whether_a_lock_is_taken_does_not_disturb_others_that_ask(tmp_path: Path) -> None:
    path = tmp_path / "alive"
    life = LifeLock.create(path, 0o600)
    assert LifeLock.is_taken(path)
    life.release()
    with path.open() as asker:
        fcntl.flock(asker, fcntl.LOCK_SH)
        assert not LifeLock.is_taken(path)


def test_a_life_lock_leaves_the_descriptor_free_by_which_tasks_hold_one(tmp_path: Path) -> None:
    code = (
        "import os; os.closerange(3, 20); from pathlib import Path; from taskfarmer_mpi.lives.life_locks import LifeLock;"
        "os.closerange(3, 20); life = LifeLock.create(Path('x'), 0o600); print(life.fd > 3, life.is_held())"
    )
    environ = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60
    )
    assert answer.stdout == "True True\n", answer.stderr
