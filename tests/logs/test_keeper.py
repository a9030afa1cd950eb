"""What a farmer does with logs, run by run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taskfarmer_mpi.logs import limit as limits
from taskfarmer_mpi.logs.keeper import LogKeeper
from taskfarmer_mpi.logs.limit import HolePuncher, dispensable, read_within
from taskfarmer_mpi.logs.reading import Logs
from taskfarmer_mpi.policies.rules import read_rules
from taskfarmer_mpi.tasklists.task import Run, Task
from taskfarmer_mpi.workdir.files import Workdir


@pytest.fixture
def workdir(tmp_path: Path) -> Workdir:
    workdir = Workdir(tmp_path / "w")
    workdir.create()
    return workdir


def keeper_of(workdir: Workdir, **rules: str) -> LogKeeper:
    return LogKeeper(workdir, read_rules({name.replace("_", "-"): text for name, text in rules.items()}), "farmer")


def ended(task: int, code: int = 0) -> Run:
    return Run(Task(task, "a task"), 0, 1.0, 2.0, code)


def test_logs_of_finished_tasks_go_once_they_are_recorded(workdir: Workdir) -> None:
    keeper = keeper_of(workdir, logs="failed")
    runs = [ended(0), ended(1, 3), ended(2)]
    for run in runs:
        workdir.log(run.task.id).write_text("output\n")
        keeper.note_end(run, 1)
    keeper.settle(runs[2:])
    assert sorted(os.listdir(workdir.logs)) == ["log_1", "log_2"]
    keeper.settle([])
    assert sorted(os.listdir(workdir.logs)) == ["log_1"]


def test_the_log_of_a_run_that_followed_is_left_alone(workdir: Workdir) -> None:
    for form in ("failed", "packed"):
        keeper = keeper_of(workdir, logs=form)
        workdir.log(0).write_text("first\n")
        keeper.note_end(ended(0), 1)
        workdir.log(0).rename(workdir.logs / f"log_0.{form}")
        workdir.log(0).write_text("second\n")
        keeper.settle([])
        assert workdir.log(0).read_text() == "second\n"
        assert (workdir.logs / f"log_0.{form}").read_text() == "first\n"


def test_logs_are_packed_and_their_files_go(workdir: Workdir) -> None:
    keeper = keeper_of(workdir, logs="packed", log_limit="1K")
    workdir.log(0).write_text("short\n")
    workdir.log(1).write_bytes(b"a" * 5000)
    workdir.log(2).write_text("an attempt\n")
    keeper.note_end(ended(0), 1)
    keeper.note_end(ended(1, 1), 3)
    keeper.keep_attempt(2, 1)
    keeper.settle([])
    assert os.listdir(workdir.logs) == []
    logs = Logs(workdir, range(3))
    assert logs.ends(0)[1] == b"short\n"
    assert (
        logs.packed(1)[3].read()
        == b"a" * 512 + b"\n[taskfarmer_mpi: 3976 bytes are missing here: --log-limit]\n" + b"a" * 512
    )
    assert logs.last_packed(2) is None
    assert logs.packed(2)[1].read() == b"an attempt\n"


def test_a_large_log_stays_a_file(workdir: Workdir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskfarmer_mpi.logs.keeper.LARGEST", 10)
    keeper = keeper_of(workdir, logs="packed")
    workdir.log(0).write_text("more than ten bytes\n")
    keeper.note_end(ended(0), 1)
    keeper.settle([])
    assert workdir.log(0).read_text() == "more than ten bytes\n"


def test_where_nothing_can_be_packed_the_files_stay(workdir: Workdir, caplog: pytest.LogCaptureFixture) -> None:
    keeper = keeper_of(workdir, logs="packed")
    workdir.packs.write_text("no folder")
    for task in range(2):
        workdir.log(task).write_text("output\n")
        keeper.note_end(ended(task), 1)
        keeper.settle([])
    assert sorted(os.listdir(workdir.logs)) == ["log_0", "log_1"]
    assert caplog.text.count("logs stay as they are") == 1


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 5000])
def test_head_and_tail_are_kept_and_the_bytes_between_are_counted(tmp_path: Path, size: int) -> None:
    content = bytes(i % 251 for i in range(size))
    path = tmp_path / "log"
    path.write_bytes(content)
    fd = os.open(path, os.O_RDONLY)
    kept = read_within(fd, 1024)
    os.close(fd)
    if size <= 1024:
        assert kept == content
    else:
        middle = f"\n[taskfarmer_mpi: {size - 1024} bytes are missing here: --log-limit]\n".encode()
        assert kept == content[:512] + middle + content[-512:]


def test_a_log_that_grows_gives_back_what_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"h" * 4096 + b"m" * (8 << 20) + b"t" * 4096)
    puncher = HolePuncher(8192)
    before = path.stat()
    puncher.look([str(path), str(tmp_path / "not there yet")])
    after = path.stat()
    assert after.st_size == before.st_size
    if not puncher.is_able:
        pytest.skip("this file system cannot punch holes")
    assert after.st_blocks * 512 < 100_000
    fd = os.open(path, os.O_RDONLY)
    assert read_within(fd, 8192).startswith(b"h" * 4096 + b"\n")
    assert read_within(fd, 8192).endswith(b"\n" + b"t" * 4096)
    os.close(fd)


def test_what_is_given_back_is_never_of_the_head_or_the_tail() -> None:
    for size in range(limits._WORTH, limits._WORTH * 4, 123_457):
        for limit in (1024, 65537, 1 << 20):
            start, length = dispensable(size, limit)
            assert length == 0 or (start >= limit // 2 and start + length <= size - limit // 2)
