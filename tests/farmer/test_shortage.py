"""What is short for a while is waited out: the loop with a pool that refuses, and real farmers that the system refuses."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import Clock
from helpers import MPIEXEC, Site, Witness, settled, wait_for
from test_farmer import Stage

from taskfarmer_mpi.common.shortage import OWN_PATIENCE, SHORTAGE_PATIENCE, Shortage
from taskfarmer_mpi.errors import FarmError, ShortageError, farm_error
from taskfarmer_mpi.workdir.journal_reading import read_records


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE])
def test_what_may_come_back_is_a_shortage(number: int) -> None:
    assert isinstance(farm_error("a log", OSError(number, "short")), ShortageError)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EROFS, errno.ENOSPC, errno.EKEYEXPIRED])
def test_what_stays_as_it_is_is_no_shortage(number: int) -> None:
    assert not isinstance(farm_error("a log", OSError(number, "no")), ShortageError)


def test_a_shortage_is_said_once_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    shortage = Shortage("no task is started", clock)
    for _ in range(5):
        shortage.see(ShortageError("no more processes"), is_busy=True)
        clock.now += 8.0
    shortage.see_success()
    shortage.see_success()
    assert caplog.messages == [
        "no more processes; no task is started; trying again from time to time",
        "going on after a shortage of 40 s",
    ]


def test_the_pauses_of_a_shortage_grow_and_the_end_of_a_task_ends_one() -> None:
    clock = Clock()
    shortage = Shortage("no task is started", clock)
    pauses = [shortage.see(ShortageError("short"), is_busy=True) for _ in range(8)]
    assert pauses[0] < 1.0
    assert 7.0 < pauses[-1] < 13.0
    assert not shortage.is_time_to_try
    shortage.try_now()
    assert shortage.is_time_to_try


def test_a_shortage_is_trouble_only_after_long_and_while_nothing_runs() -> None:
    clock = Clock()
    shortage = Shortage("no task is started", clock)
    for is_busy in (True, False):
        for _ in range(10):
            shortage.see(ShortageError("short"), is_busy=is_busy)
            clock.now += SHORTAGE_PATIENCE / 10
    clock.now += 1.0
    with pytest.raises(FarmError, match=r"short, and that for 1\d\d\d s"):
        shortage.see(ShortageError("short"), is_busy=False)


def test_a_limit_of_its_own_is_not_waited_for_as_nobody_else_can_mend_it() -> None:
    clock = Clock()
    shortage = Shortage("the lists are not visited", clock)
    own = farm_error("a list", OSError(errno.EMFILE, "Too many open files"))
    own.__cause__ = OSError(errno.EMFILE, "Too many open files")
    for is_busy in (True, False):
        shortage.see(own, is_busy=is_busy)  # type: ignore[arg-type]
        clock.now += OWN_PATIENCE - 1.0
    clock.now += 2.0
    with pytest.raises(FarmError, match=r"a list: Too many open files, and that for 20 s; raise the limit \(ulimit -n\)"):
        shortage.see(own, is_busy=False)  # type: ignore[arg-type]


class _Refusing(Stage):
    """A farmer whose pool has no more processes for a while."""

    def __init__(self, tmp_path: Path, count: int, after: int) -> None:
        super().__init__(tmp_path, count)
        self.is_short = False
        self.refused = 0
        start = self.pool.start

        def refuse(task, launch):  # type: ignore[no-untyped-def]
            if self.is_short and len(self.pool.started) >= after:
                self.refused += 1
                raise ShortageError("cannot start a process: short")
            return start(task, launch)

        self.pool.start = refuse  # type: ignore[method-assign]


def test_a_task_that_is_not_started_for_a_shortage_comes_first_when_it_is_over(tmp_path: Path) -> None:
    stage = _Refusing(tmp_path, 4, after=1)
    stage.is_short = True
    stage.turn(0.5)
    assert stage.pool.started == [0]
    stage.is_short = False
    stage.turn(2.0)
    assert stage.pool.started == [0, 1]
    kinds = [record["ev"] for record in read_records(stage.hand.journal.path) if record["ev"] in ("begin", "killed")]
    assert kinds == ["begin", "begin"], "a start that was refused is no run"


def test_the_end_of_a_task_is_a_reason_to_try_again(tmp_path: Path) -> None:
    stage = _Refusing(tmp_path, 4, after=1)
    stage.is_short = True
    stage.turn(0.1)
    before = stage.refused
    stage.pool.end(0)
    stage.turn(0.05)
    assert stage.refused == before + 1


def test_while_a_shortage_lasts_waiting_tasks_go_to_the_others_and_none_is_taken(tmp_path: Path) -> None:
    stage = _Refusing(tmp_path, 20, after=1)
    stage.is_short = True
    stage.turn(5.0)
    assert not stage.farmer.is_idle
    assert len(stage.lists()[0]) >= 18
    assert stage.refused < 8
    stage.is_short = False
    stage.turn(12.0)
    assert len(stage.pool.started) == 2


def test_a_farmer_gives_up_if_nothing_runs_and_the_shortage_stays(tmp_path: Path) -> None:
    stage = _Refusing(tmp_path, 3, after=0)
    stage.is_short = True
    for _ in range(int(SHORTAGE_PATIENCE) // 10):
        stage.turn(0.1)
        assert stage.farmer.trouble is None
        stage.clock.now += 9.9
    stage.clock.now += 20.0
    stage.turn(0.5)
    assert "cannot start a process: short, and that for 6" in str(stage.farmer.trouble)
    assert stage.lists()[1:] == ([], [])


def test_a_stop_during_a_shortage_gives_all_back(tmp_path: Path) -> None:
    stage = _Refusing(tmp_path, 3, after=1)
    stage.is_short = True
    stage.turn(0.5)
    stage.farmer.stop("SIGTERM")
    stage.turn()
    assert stage.lists() == ([0, 1, 2], [], [])
    assert stage.farmer.is_idle


@pytest.mark.parametrize("name", ["failed", "toprocess", "toprocess.added", "finished"])
def test_a_visit_that_a_shortage_cut_short_is_made_again_and_nothing_is_recorded_twice(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, 6)
    stage.turn(0.1)
    stage.pool.end(0)
    stage.pool.end(1, 3)
    is_short = True
    real = os.open

    def refuse(path: str | Path, flags: int, *rest: int, **named: int) -> int:
        if is_short and Path(path).name == name and flags & os.O_RDWR:
            raise OSError(errno.ESTALE, "Stale file handle", str(path))
        return real(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", refuse)
    stage.turn(2.0)
    assert stage.farmer.trouble is None
    is_short = False
    stage.turn(12.0)
    while stage.pool.running:
        for task_id in list(stage.pool.running):
            stage.pool.end(task_id)
        stage.turn(12.0)
    assert stage.farmer.is_idle
    assert stage.lists() == ([], [0, 2, 3, 4, 5], [1])


# -- real farmers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["EAGAIN", "ENOMEM"])
def test_a_farmer_to_whom_fork_is_refused_for_a_while_runs_all_its_tasks_once(
    number: str, site: Site, witness: Witness, strace: str
) -> None:
    tasks = witness.tasks(30, 0.05)
    inject = f"{strace} -qq -o /dev/null -e trace=clone,clone3,vfork -e inject=clone,clone3,vfork:error={number}:when=9..11"
    farmer = site.farm("-n", "2", site.tasklist(tasks), prefix=inject)
    farmer.succeed(60)
    assert farmer.stderr.count("cannot start a process") == 1
    assert settled(site.path / "tasks_workdir", tasks).failed == []
    witness.once_each(30)


_REFUSE = (
    "{strace} -qq -o /dev/null -e trace=clone,clone3,vfork,fork -e inject=clone,clone3,vfork,fork:error={error}:when={when}"
)


@pytest.mark.parametrize(("error", "when"), [("EAGAIN", "1..3"), ("ENOMEM", "1..1"), ("EAGAIN", "1..9")])
def test_a_farmer_whose_first_process_is_refused_for_a_while_starts_all_the_same(
    error: str, when: str, site: Site, witness: Witness, strace: str
) -> None:
    tasks = witness.tasks(10, 0.05)
    farmer = site.farm("-n", "2", site.tasklist(tasks), prefix=_REFUSE.format(strace=strace, error=error, when=when))
    farmer.succeed(60)
    assert "cannot start the guardian of this farmer's tasks: " in farmer.stderr or when == "1..1"
    assert settled(site.path / "tasks_workdir", tasks).failed == []
    witness.once_each(10)


def test_ranks_whose_process_for_mpi_is_refused_for_a_while_come_together(site: Site, witness: Witness, strace: str) -> None:
    tasks = witness.tasks(10, 0.05)
    farm = [*_REFUSE.format(strace=strace, error="EAGAIN", when="1..3").split(), sys.executable, "-m", "taskfarmer_mpi"]
    job = site.start(MPIEXEC, "-n", "2", *farm, "-n", "1", site.tasklist(tasks))
    job.succeed(60)
    assert "2 x 1 slots" in job.stderr
    assert settled(site.path / "tasks_workdir", tasks).failed == []


def test_a_farmer_without_descriptors_for_a_while_goes_on_and_its_tasks_live(site: Site, witness: Witness) -> None:
    tasks = [*witness.tasks(2, 3.0), *(witness.task(number, 0.05) for number in range(2, 40))]
    farmer = site.farm("-n", "3", site.tasklist(tasks))
    workdir = site.path / "tasks_workdir"
    wait_for(lambda: (workdir / "finished").exists(), deadline=30, what="tasks end")
    soft, hard = resource.prlimit(farmer.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(farmer.pid, resource.RLIMIT_NOFILE, (3, hard))
    wait_for(lambda: "Too many open files" in farmer.stderr, deadline=30, what="the farmer says what is short")
    resource.prlimit(farmer.pid, resource.RLIMIT_NOFILE, (soft, hard))
    farmer.succeed(60)
    assert settled(workdir, tasks).failed == []
    witness.once_each(40)


def test_a_limit_of_open_files_that_is_too_low_ends_a_farmer_soon_and_in_one_line(site: Site) -> None:
    farms = {}
    for limit in range(7, 27):
        tasklist = site.tasklist(["true"] * 20, name=f"tasks{limit}")
        command = (sys.executable, "-m", "taskfarmer_mpi", "-n", "2", tasklist)
        farms[limit] = site.start("bash", "-c", f'ulimit -n {limit}; exec "$@"', "limited", *command)
    codes = {limit: farm.wait(120) for limit, farm in farms.items()}
    refused = {limit: farm.stderr for limit, farm in farms.items() if codes[limit] != 0}
    assert {*codes.values()} == {0, 75} or {*codes.values()} == {0, 2, 75}  # 2 if the work directory was not made yet
    assert sorted(codes, key=lambda limit: codes[limit] == 0) == list(farms), "more files are never worse"
    for limit, said in refused.items():
        assert "Traceback" not in said, said
        assert "Too many open files" in said.splitlines()[-1], f"{limit}: {said}"


def _by_a_file(logs: Path) -> None:
    logs.rename(logs.with_name("kept"))
    logs.write_text("")


def _by_a_loop(logs: Path) -> None:
    logs.rename(logs.with_name("kept"))
    logs.symlink_to(logs)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(_by_a_file, "Not a directory"), (_by_a_loop, "Too many levels of symbolic links")],
    ids=["a file", "a loop"],
)
def test_logs_that_cannot_be_written_are_the_trouble_of_the_farmer_and_fail_no_task(
    spoil: Callable[[Path], None], reason: str, site: Site, witness: Witness
) -> None:
    tasks = witness.tasks(60, 0.05)
    tasklist = site.tasklist(tasks)
    farmer = site.farm("-n", "2", tasklist)
    workdir = site.path / "tasks_workdir"
    wait_for(lambda: (workdir / "finished").exists(), deadline=30, what="tasks end")
    os.kill(farmer.pid, signal.SIGSTOP)  # else it may look while there is nothing
    spoil(workdir / "logs")
    os.kill(farmer.pid, signal.SIGCONT)
    farmer.succeed(60, code=75)
    assert farmer.stderr.count(f"cannot write the log: {reason}") == 1
    (workdir / "logs").unlink()
    (workdir / "kept").rename(workdir / "logs")
    site.farm("-n", "2", tasklist).succeed(60)
    assert settled(workdir, tasks).failed == []


@pytest.mark.parametrize("number", ["EACCES", "EPERM", "EROFS", "EKEYEXPIRED"])
def test_a_log_that_this_user_may_not_write_ends_the_farmer_with_one_line(
    number: str, site: Site, witness: Witness, strace: str
) -> None:
    tasks = witness.tasks(20, 0.02)
    tasklist = site.tasklist(tasks)
    log = site.path / "tasks_workdir" / "logs" / "log_7"
    inject = f"{strace} -qq -o /dev/null -P {log} -e trace=openat -e inject=openat:error={number}"
    farmer = site.farm("-n", "1", tasklist, prefix=inject)
    farmer.succeed(60, code=75)
    assert farmer.stderr.count(f"{log}: cannot write the log") == 1
    site.farm("-n", "1", tasklist).succeed(60)
    assert settled(site.path / "tasks_workdir", tasks).failed == []


def test_an_io_error_of_one_log_is_waited_out(site: Site, witness: Witness, strace: str) -> None:
    tasks = witness.tasks(20, 0.02)
    tasklist = site.tasklist(tasks)
    log = site.path / "tasks_workdir" / "logs" / "log_7"
    inject = f"{strace} -qq -o /dev/null -P {log} -e trace=openat -e inject=openat:error=EIO:when=1..2"
    farmer = site.farm("-n", "1", tasklist, prefix=inject)
    farmer.succeed(60)
    assert farmer.stderr.count(f"{log}: cannot write the log: Input/output error") == 1
    assert settled(site.path / "tasks_workdir", tasks).failed == []
    witness.once_each(20)
