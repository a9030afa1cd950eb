"""Locks that fail, lie, are held by others, or lead somewhere else."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock, Timeout
from helpers import MPIEXEC, Process, Site, Witness, settled, wait_for

from taskfarmer_mpi.errors import FencedError, LockBusyError, UserError
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.lock_files import LockFile
from taskfarmer_mpi.workdir.locks import WorkLock


def _only_line(process: Process) -> str:
    """Return what a command complained: one line and no traceback."""
    lines = process.stderr.splitlines()
    assert len(lines) == 1, process.said()
    assert "Traceback" not in lines[0]
    assert lines[0].startswith("taskfarmer-mpi: ")
    return lines[0]


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold the lock, as another process does."""
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize("error", ["ENOSYS", "EOPNOTSUPP", "ENOLCK", "EIO"])
def test_a_file_system_without_locks_is_refused_in_one_line(error: str, site: Site, witness: Witness, strace: str) -> None:
    prefix = f"{strace} -o /dev/null -e trace=flock -e inject=flock:error={error}"
    farmer = site.farm(site.tasklist(witness.tasks(3, 0)), prefix=prefix)
    farmer.succeed(30, code=2)
    line = _only_line(farmer)
    assert f"{site.path}/tasks_workdir/lock" in line
    if error != "EIO":
        assert "SCRATCH" in line
    assert witness.runs() == {}
    assert not (site.path / "tasks_workdir" / "toprocess").exists()


def test_a_file_system_without_locks_stops_both_ranks(site: Site, witness: Witness, strace: str) -> None:
    prefix = f"{strace} -o /dev/null -e trace=flock -e inject=flock:error=ENOSYS"
    job = site.farm(site.tasklist(witness.tasks(3, 0)), ranks=2, prefix=prefix)
    job.succeed(30, code=2)
    complaints = [line for line in job.stderr.splitlines() if line.startswith("taskfarmer-mpi: ")]
    assert len(complaints) == 1
    assert "Traceback" not in job.stderr
    assert witness.runs() == {}


def test_nothing_runs_where_a_rank_gets_the_lock_that_another_one_holds(site: Site, witness: Witness, strace: str) -> None:
    """On a file system where locks hold on one node only, both ranks would run the same tasks."""
    tasks = witness.tasks(50, 0)
    tasklist = site.tasklist(tasks)
    honest = ["-n", "1", "python", "-m", "taskfarmer_mpi", "-n", "2", str(tasklist)]
    liar = ["-n", "1", strace, "-o", "/dev/null", "-e", "trace=flock", "-e", "inject=flock:retval=0", *honest[2:]]
    job = site.start(MPIEXEC, *honest, ":", *liar)
    job.succeed(60, code=2)
    complaints = [line for line in job.stderr.splitlines() if line.startswith("taskfarmer-mpi: ")]
    assert len(complaints) == 1, job.said()
    assert "locks do not exclude" in complaints[0]
    assert "rank 1" in complaints[0]
    assert "Traceback" not in job.stderr
    assert witness.runs() == {}
    wait_for(lambda: not site.leftovers(), deadline=10, what="both ranks leave")


def test_a_lock_that_is_never_free_is_reported_with_its_holder(site: Site) -> None:
    tasks = ["true"]
    (site.path / "tasks_workdir").mkdir()
    with _held(site.path / "tasks_workdir" / "lock"):
        farmer = site.farm("--lock-timeout", "1", site.tasklist(tasks))
        farmer.succeed(30, code=2)
    line = _only_line(farmer)
    assert str(os.getpid()) in line
    assert f"{site.path}/tasks_workdir/lock" in line
    site.farm(site.path / "tasks").succeed(30)
    settled(site.path / "tasks_workdir", tasks)


def test_a_lock_that_is_gone_for_good_during_work_ends_the_farm_with_what_it_knows(site: Site, witness: Witness) -> None:
    tasks = witness.tasks(400, 0.02)
    tasklist = site.tasklist(tasks)
    farmer = site.farm("-n", "2", "--lock-timeout", "1", tasklist)
    wait_for(lambda: len(witness.runs()) > 20, deadline=30, what="some tasks have run")
    with _held(site.path / "tasks_workdir" / "lock"):
        farmer.succeed(30, code=75)
        assert "Traceback" not in farmer.stderr
        assert str(os.getpid()) in farmer.stderr
    site.farm("-n", "4", tasklist).succeed(60)
    assert settled(site.path / "tasks_workdir", tasks).failed == []
    assert witness.overlaps() == []
    reruns = sum(len(runs) - 1 for runs in witness.runs().values())
    assert reruns <= 2, "what ended is known from the journal and does not run again"


def test_a_job_waits_for_a_lock_that_others_hold_for_a_while(site: Site, witness: Witness) -> None:
    tasks = witness.tasks(300, 0.02)
    farmer = site.farm("-n", "2", site.tasklist(tasks))
    wait_for(lambda: len(witness.runs()) > 20, deadline=30, what="some tasks have run")
    with _held(site.path / "tasks_workdir" / "lock"):
        before = len(witness.runs())
        wait_for(lambda: _is_idle(farmer, witness), deadline=30, what="all tasks in hand have run")
        assert farmer.is_running()
        assert len(witness.runs()) >= before
    farmer.succeed(60)
    witness.once_each(300)
    settled(site.path / "tasks_workdir", tasks)


def _is_idle(farmer: Process, witness: Witness) -> bool:
    children = Path(f"/proc/{farmer.pid}/task/{farmer.pid}/children").read_text().split()
    return len(children) == 1 and all(runs[-1].end is not None for runs in witness.runs().values())


# -- planted links ----------------------------------------------------------------------------------


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """Return a file that somebody has planted links to; fail if it was changed or replaced."""
    path = tmp_path / "victim"
    path.write_text("precious\n")
    before = path.stat()
    yield path
    after = path.stat()
    assert path.read_text() == "precious\n"
    assert (after.st_ino, after.st_mtime_ns, after.st_mode) == (before.st_ino, before.st_mtime_ns, before.st_mode)


def test_a_link_in_place_of_the_lock_is_not_followed(site: Site, victim: Path, witness: Witness) -> None:
    (site.path / "tasks_workdir").mkdir()
    (site.path / "tasks_workdir" / "lock").symlink_to(victim)
    farmer = site.farm(site.tasklist(witness.tasks(2, 0)))
    farmer.succeed(30, code=2)
    assert f"{site.path}/tasks_workdir/lock" in _only_line(farmer)
    assert witness.runs() == {}


@pytest.mark.parametrize("variable", ["SCRATCH", "TMPDIR"])
def test_a_link_in_place_of_a_lock_in_a_shared_directory_is_not_followed(
    variable: str, site: Site, victim: Path, witness: Witness
) -> None:
    shared = site.path / "shared"
    shared.mkdir()
    name = hashlib.md5(f"{site.path}/tasks_workdir".encode()).hexdigest() + "_lock"
    (shared / name).symlink_to(victim)
    farmer = site.farm(site.tasklist(witness.tasks(2, 0)), environ=site.environ(**{variable: str(shared)}))
    farmer.succeed(30, code=2)
    assert str(shared / name) in _only_line(farmer)
    assert witness.runs() == {}


def test_a_second_lock_file_whose_directory_goes_is_done_without(site: Site, witness: Witness) -> None:
    """The TMPDIR of a Slurm job is removed with the job, and a farmer of another job on that node goes on."""
    tmp = site.path / "of-the-job"
    tmp.mkdir()
    tasks = witness.tasks(30, 0.1)
    tasklist = site.tasklist(tasks)
    farmer = site.farm("-n", "2", tasklist, environ=site.environ(TMPDIR=str(tmp)))
    wait_for(lambda: len(witness.runs()) > 4, deadline=30, what="tasks run")
    shutil.rmtree(tmp)
    farmer.succeed(60)
    assert farmer.stderr.count("_lock: the directory is gone: from now on without this lock") == 1
    assert len(settled(site.path / "tasks_workdir", tasks).finished) == 30
    witness.once_each(30)


def test_a_first_lock_file_whose_directory_goes_ends_the_farmer(site: Site, witness: Witness) -> None:
    scratch = site.path / "scratch"
    scratch.mkdir()
    tasks = witness.tasks(30, 0.1)
    tasklist = site.tasklist(tasks)
    environ = site.environ(SCRATCH=str(scratch))
    farmer = site.farm("-n", "2", tasklist, environ=environ)
    wait_for(lambda: len(witness.runs()) > 4, deadline=30, what="tasks run")
    scratch.rename(site.path / "away")
    farmer.succeed(60, code=75)
    assert "scratch: the directory is gone: it was removed, or moved away" in farmer.stderr
    (site.path / "away").rename(scratch)
    site.farm("-n", "2", tasklist, environ=environ).succeed(60)
    settled(site.path / "tasks_workdir", tasks)


def _put_pipe(log: Path) -> None:
    os.mkfifo(log)


def _put_socket(log: Path) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(os.path.relpath(log))


@pytest.mark.parametrize("put", [_put_pipe, _put_socket, Path.mkdir], ids=["pipe", "socket", "directory"])
def test_what_is_in_place_of_a_log_is_the_trouble_of_that_task_alone(
    put: Callable[[Path], None], site: Site, witness: Witness
) -> None:
    tasks = witness.tasks(3, 0)
    logs = site.path / "tasks_workdir" / "logs"
    logs.mkdir(parents=True)
    put(logs / "log_1")
    farmer = site.farm("-n", "1", site.tasklist(tasks))
    farmer.succeed(30, code=1)
    assert f"{logs}/log_1: cannot write the log" in farmer.stderr
    lists = settled(site.path / "tasks_workdir", tasks)
    assert (sorted(lists.finished), lists.failed) == ([0, 2], [1])
    asked = site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", "log", "tasks_workdir", "1")
    asked.succeed(30, code=2)
    assert f"{logs}/log_1: cannot read the log: " in asked.stderr


def test_a_link_in_place_of_a_log_is_not_followed(site: Site, victim: Path, witness: Witness) -> None:
    tasks = witness.tasks(2, 0)
    logs = site.path / "tasks_workdir" / "logs"
    logs.mkdir(parents=True)
    (logs / "log_0").symlink_to(victim)
    farmer = site.farm("-n", "1", site.tasklist(tasks))
    farmer.succeed(30, code=1)
    assert f"{logs}/log_0: cannot write the log" in farmer.stderr
    assert "Traceback" not in farmer.stderr
    lists = settled(site.path / "tasks_workdir", tasks)
    assert (lists.finished, lists.failed) == ([1], [0])
    assert sorted(witness.runs()) == [1]


@pytest.mark.parametrize("name", ["finished", "failed", "toprocess", "farm.ini"])
def test_a_link_in_place_of_a_list_is_not_followed(name: str, site: Site, victim: Path, witness: Witness) -> None:
    (site.path / "tasks_workdir").mkdir()
    (site.path / "tasks_workdir" / name).symlink_to(victim)
    farmer = site.farm("-n", "1", site.tasklist(witness.tasks(2, 0)))
    farmer.succeed(30, code=2)
    assert f"{site.path}/tasks_workdir/{name}" in _only_line(farmer)
    assert witness.runs() == {}


def test_a_list_that_turns_into_a_link_during_work_is_not_followed(site: Site, victim: Path, witness: Witness) -> None:
    tasks = witness.tasks(300, 0.02)
    tasklist = site.tasklist(tasks)
    farmer = site.farm("-n", "2", tasklist)
    finished = site.path / "tasks_workdir" / "finished"
    wait_for(finished.exists, deadline=30, what="outcomes are recorded")
    with _held(site.path / "tasks_workdir" / "lock"):
        kept = finished.rename(site.path / "kept")
        finished.symlink_to(victim)
    farmer.succeed(30, code=75)
    assert "Traceback" not in farmer.stderr
    kept.replace(finished)
    site.farm("-n", "4", tasklist).succeed(60)
    assert settled(site.path / "tasks_workdir", tasks).failed == []
    assert witness.overlaps() == []


def _lock(tmp_path: Path) -> WorkLock:
    workdir = Workdir(tmp_path / "w")
    workdir.create()
    return WorkLock(workdir, [workdir.path / "lock"], "a test")


def test_a_lock_that_its_file_system_took_away_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    lock = _lock(tmp_path)
    monkeypatch.setattr("taskfarmer_mpi.workdir.locks.is_local", lambda _path: False)
    with lock.held(5.0):
        lock.confirm()
        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(FencedError, match="lock: the lock was lost"):
            lock.confirm()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_takes_no_lock_away(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int) -> None:
        raise OSError(code, os.strerror(code))

    lock = _lock(tmp_path)
    monkeypatch.setattr("taskfarmer_mpi.workdir.locks.is_local", lambda _path: False)
    with lock.held(5.0):
        monkeypatch.setattr(os, "fsync", refuse)
        lock.confirm()
        assert lock.is_held


def test_a_note_that_a_plain_farmer_cut_off_names_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskfarmer_mpi.workdir.locks.is_local", lambda _: False)
    monkeypatch.setattr("taskfarmer_mpi.workdir.locks._local_holder", lambda _: None)  # it is on another node
    holder = _lock(tmp_path)
    other = WorkLock(holder.workdir, holder.paths, "another", is_checked=False)
    with holder.held(1.0):
        assert not other.try_acquire()
        assert other.describe_holder().startswith("it is held by a test since ")
        holder.paths[0].open("w").close()  # PyTaskFarmer opens it so before it waits
        holder.confirm()
        assert other.describe_holder().startswith("who holds it is not known")


@pytest.mark.parametrize("failing", ["flock", "close", "both"])
def test_a_lost_lock_is_given_back_without_an_error(failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On NFS, what unlocks and closes the file of a lost lock reports that the note in it could not be written."""
    workdir = Workdir(tmp_path)
    workdir.farmers.mkdir()
    lock = WorkLock(workdir, [tmp_path / "first", tmp_path / "second"], "me", is_checked=False)
    flock, close = fcntl.flock, os.close
    closed: list[int] = []

    def refuse_to_unlock(fd: int, operation: int) -> None:
        flock(fd, operation)
        if operation == fcntl.LOCK_UN and failing != "close":
            raise OSError(errno.EIO, "Input/output error")

    def report_at_close(fd: int) -> None:
        close(fd)
        closed.append(fd)
        if failing != "flock":
            raise OSError(errno.EIO, "Input/output error")

    assert lock.try_acquire()
    with monkeypatch.context() as lost:
        lost.setattr(fcntl, "flock", refuse_to_unlock)
        lost.setattr(os, "close", report_at_close)
        lock.release()
    assert len(closed) == 2
    assert not lock.is_held
    assert lock.try_acquire()
    lock.release()


def test_a_lock_of_one_node_is_confirmed_without_a_system_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = _lock(tmp_path)
    with lock.held(5.0):
        lock.confirm()
        monkeypatch.setattr(os, "pwrite", None)
        monkeypatch.setattr(os, "fsync", None)
        lock.confirm()
        lock.confirm()


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all file systems taken for NFS."""
    monkeypatch.setattr("taskfarmer_mpi.workdir.locks.is_local", lambda _: False)
    monkeypatch.setattr("taskfarmer_mpi.workdir.locks.refuses_lost_locks", lambda _: True)


def _kept_open(tmp_path: Path) -> WorkLock:
    """Return a lock that was held before, and whose file is open still."""
    lock = _lock(tmp_path)
    lock.keep_open()
    with lock.held(1.0):
        pass
    return lock


def _opened(path: Path) -> int:
    """Return how many descriptors of this process are a file's."""
    names = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    return sum(1 for name in names if os.path.exists(name) and os.path.samefile(name, path))


@pytest.mark.usefixtures("remote")
def test_a_lock_file_that_stays_open_excludes_as_one_that_does_not(tmp_path: Path) -> None:
    lock = _kept_open(tmp_path)
    assert _opened(lock.paths[0]) == 1
    other = WorkLock(lock.workdir, lock.paths, "another", is_checked=False)
    with other.held(1.0):
        assert not lock.try_acquire()
    with lock.held(1.0):
        assert not other.try_acquire()
        assert _opened(lock.paths[0]) == 1
    assert other.try_acquire()
    other.release()
    lock.close()
    assert _opened(lock.paths[0]) == 0


@pytest.mark.usefixtures("remote")
def test_a_lock_file_that_stayed_open_and_was_replaced_is_not_held(tmp_path: Path) -> None:
    lock = _kept_open(tmp_path)
    other = WorkLock(lock.workdir, lock.paths, "another", is_checked=False)
    lock.paths[0].rename(lock.paths[0].with_name("the one before"))
    with other.held(1.0):
        assert not lock.try_acquire()
        assert not lock.is_held
    with lock.held(1.0):
        assert not other.try_acquire()


@pytest.mark.usefixtures("remote")
def test_a_lock_file_that_stayed_open_and_is_gone_with_its_directory_is_said(tmp_path: Path) -> None:
    lock = _kept_open(tmp_path)
    lock.workdir.path.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="the directory is gone"):
        lock.try_acquire()
    assert not lock.is_held


@pytest.mark.usefixtures("remote")
def test_a_lock_file_elsewhere_is_opened_at_each_hold(tmp_path: Path) -> None:
    workdir = Workdir(tmp_path / "w")
    workdir.create()
    lock = WorkLock(workdir, [tmp_path / "lock"], "a test")
    lock.keep_open()
    with lock.held(1.0):
        pass
    assert _opened(lock.paths[0]) == 0


@pytest.mark.usefixtures("remote")
def test_a_lock_file_whose_lock_was_lost_does_not_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    lock = _kept_open(tmp_path)
    with lock.held(1.0), monkeypatch.context() as lost:
        lost.setattr(os, "fsync", refuse)
        with pytest.raises(FencedError):
            lock.confirm()
    assert _opened(lock.paths[0]) == 0


@pytest.mark.usefixtures("remote")
def test_a_lock_file_that_stays_open_is_opened_by_name_where_its_lock_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = _kept_open(tmp_path)
    flock, refused = fcntl.flock, list[int]()

    def refuse(fd: int, how: int) -> None:
        if not refused:
            refused.append(fd)
            raise PermissionError(errno.EACCES, "Permission denied")
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock.held(1.0):
        assert refused
        assert _opened(lock.paths[0]) == 1
    monkeypatch.undo()


def test_a_lock_file_of_one_node_is_opened_at_each_hold(tmp_path: Path) -> None:
    assert _opened(_kept_open(tmp_path).paths[0]) == 0


# -- what others do with the same file ---------------------------------------------------------------


def _filelock(path: Path) -> FileLock:
    return FileLock(path, fallback_to_soft=False, preserve_lock_file=True)


def test_a_farmer_and_filelock_keep_each_other_out(tmp_path: Path) -> None:
    lock = _lock(tmp_path)
    other = _filelock(lock.paths[0])
    for _ in range(2):  # also where the file is there already
        with other:
            assert not lock.try_acquire()
        with lock.held(5.0), pytest.raises(Timeout):
            other.acquire(timeout=0)
        with other:
            pass
    with other, pytest.raises(LockBusyError, match="no lock within"), lock.held(0.1):
        pass


_COUNT = """\
import shutil
import socket
import sys
from pathlib import Path
{prepare}
path = Path(sys.argv[1])
for _ in range(200):
    with lock:
        path.write_text(str(int(path.read_text()) + 1))
"""
_OURS = """\
import os
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.locks import WorkLock
workdir = Workdir(os.path.dirname(sys.argv[2]))
workdir.create()
held = WorkLock(workdir, [Path(sys.argv[2])], "a test").held
class lock:
    def __enter__(self): self.block = held(60.0); self.block.__enter__()
    def __exit__(self, *error): self.block.__exit__(*error)
lock = lock()"""
_THEIRS = """\
from filelock import FileLock
lock = FileLock(sys.argv[2], poll_interval=0.001, fallback_to_soft=False, preserve_lock_file=True)"""


def test_processes_of_both_kinds_count_together_without_a_loss(site: Site) -> None:
    number, lock = site.path / "number", site.path / "lock"
    number.write_text("0")
    codes = [_COUNT.format(prepare=prepare) for prepare in (_OURS, _THEIRS, _OURS, _THEIRS)]
    counters = [site.start(sys.executable, "-c", code, str(number), str(lock)) for code in codes]
    for counter in counters:
        counter.succeed(60)
    assert number.read_text() == "800"


@pytest.mark.parametrize("what", ["another name", "another user's"])
def test_a_lock_file_that_others_planted_is_refused(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a directory that others can write to, they could replace it while it is held, or have a farmer write elsewhere."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    folder.chmod(0o1777)
    mine = folder / "mine"
    mine.write_text("precious\n")
    if what == "another name":
        (folder / "lock").hardlink_to(mine)
    else:
        mine.rename(folder / "lock")
        me = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: me + 1)
        monkeypatch.setattr(Path, "stat", lambda _path: os.stat_result((0o41777, 0, 0, 0, me + 2, 0, 0, 0, 0, 0)))
    with pytest.raises(PermissionError):
        LockFile(folder / "lock", 0o600).try_acquire()
    monkeypatch.undo()
    assert (folder / "lock").read_text() == "precious\n"


def test_a_lock_file_that_is_removed_this_moment_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lock"
    path.touch()
    flock = fcntl.flock

    def remove_and_lock(fd: int, operation: int) -> None:
        path.unlink()
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", remove_and_lock)
    lock = LockFile(path, 0o600)
    assert not lock.try_acquire()
    monkeypatch.undo()
    assert lock.try_acquire()
    assert path.exists()
