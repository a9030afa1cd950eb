"""The form of packs, and how readers find a log in them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from taskfarmer_mpi.logs.earlier import keep_log, keep_packed
from taskfarmer_mpi.logs.packs import PackWriter, Place, encode_earlier, encode_place, parse_earlier, parse_places
from taskfarmer_mpi.logs.reading import Logs
from taskfarmer_mpi.workdir.files import Workdir


@pytest.fixture
def workdir(tmp_path: Path) -> Workdir:
    workdir = Workdir(tmp_path / "w")
    workdir.create()
    return workdir


def test_an_index_is_read_as_it_was_written_and_a_torn_end_is_left_out() -> None:
    places = [Place(3, 1, 0, 17, is_last=False), Place(3, 2, 17, 0, is_last=True), Place(4, 1, 17, 5, True, 900)]
    data = b"".join(map(encode_place, places))
    assert list(parse_places(data, range(10))) == places
    assert list(parse_places(data, {4})) == places[2:]
    for size in range(len(data)):
        assert list(parse_places(data[:size], range(10))) == places[: data[:size].count(b"\n")]
    assert parse_earlier(encode_earlier([(3, 1), (20, 4)]) + b"7 1") == {(3, 1), (20, 4)}


def test_a_log_is_found_by_task_and_attempt_whoever_packed_it(workdir: Workdir) -> None:
    first, second = PackWriter(workdir, "20260101-a"), PackWriter(workdir, "20260102-b")
    first.add([(0, 1, b"zero\n", True), (1, 1, b"one, first\n", False)])
    second.add([(1, 2, b"one, second\n", True), (2, 1, b"", True)])
    first.add([(5, 1, b"x" * 100_000 + b"\nlast\n", True)])
    logs = Logs(workdir, range(7))
    assert [logs.ends(task)[1] for task in (0, 1, 2, 6)] == [b"zero\n", b"one, second\n", b"", b""]
    head, tail = logs.ends(5)
    assert (len(head), len(tail), tail[-6:]) == (512, 8192, b"\nlast\n")
    assert {number: log.read() for number, log in logs.packed(1).items()} == {1: b"one, first\n", 2: b"one, second\n"}
    assert logs.packed(1)[2].read(5, 3) == b"sec"
    assert logs.where(6) == "there is no log"
    assert logs.where(0).endswith(f"taskfarmer-ctl log {workdir.path} 0")
    assert logs.name(0) == str(workdir.packs / "20260101-a.pack")


def test_compressed_logs_are_read_as_others_and_by_gzip(workdir: Workdir) -> None:
    long = b"x" * 100_000 + b"\nlast\n"
    plain, writer = PackWriter(workdir, "1-a"), PackWriter(workdir, "2-b", is_compressed=True)
    plain.add([(3, 1, b"plain\n", True)])
    writer.add([(0, 1, b"zero\n", True), (1, 1, long, False)])
    writer.add([(1, 2, b"", True)])
    logs = Logs(workdir, range(4))
    assert [logs.ends(task)[1] for task in (0, 1, 3)] == [b"zero\n", b"", b"plain\n"]
    first = logs.packed(1)[1]
    assert (first.length, first.read(), first.read(100_001, 4)) == (len(long), long, b"last")
    pack = workdir.packs / "2-b.pack"
    assert pack.stat().st_size < 1000
    assert gzip.decompress(pack.read_bytes()) == b"zero\n" + long
    pack.write_bytes(pack.read_bytes()[:30])
    assert (logs.ends(0)[1], logs.packed(1)[1].read()) == (b"zero\n", b"")


def test_a_file_comes_before_a_pack(workdir: Workdir) -> None:
    PackWriter(workdir, "a").add([(0, 1, b"packed\n", True)])
    workdir.log(0).write_text("file\n")
    logs = Logs(workdir, [0])
    assert logs.ends(0)[1] == b"file\n"
    assert logs.name(0) == str(workdir.log(0))


def test_what_is_run_again_has_no_last_log(workdir: Workdir) -> None:
    PackWriter(workdir, "a").add([(0, 1, b"packed\n", True), (1, 1, b"other\n", True)])
    keep_packed(workdir, [0, 9], lambda: None)
    logs = Logs(workdir, [0, 1])
    assert logs.last_packed(0) is None
    assert logs.ends(0) == (b"", b"")
    assert logs.packed(0)[1].read() == b"packed\n"
    assert logs.ends(1)[1] == b"other\n"
    workdir.log(0).write_text("a file of the next run\n")
    kept = keep_log(workdir, 0)
    assert kept is not None
    assert kept.name == "log_0.2"  # 1 is packed


def test_a_pack_that_is_shorter_than_its_index_says_is_read_as_far_as_it_is_there(workdir: Workdir) -> None:
    writer = PackWriter(workdir, "a")
    writer.add([(0, 1, b"one\n", True), (1, 1, b"two\n", True)])
    pack = workdir.packs / "a.pack"
    pack.write_bytes(pack.read_bytes()[:6])
    logs = Logs(workdir, [0, 1])
    assert (logs.ends(0)[1], logs.ends(1)[1]) == (b"one\n", b"tw")
