"""`taskfarmer-ctl trace`: at any time, after a crash, without MPI, with what there is."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest
from fakes import Hand, make_farm, stored_as
from helpers import Process, Site, contents, slices, wait_for

from taskfarmer_mpi.runners.registry import Definition
from taskfarmer_mpi.workdir.configuration import encode_config
from taskfarmer_mpi.workdir.farm import Farm

DEADLINE = 60
PLAIN = {"cat": "task", "name": "x", "pid": 7, "tid": 8, "ts": 1.5e15, "dur": 2.5, "ph": "X", "args": {}}


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    farm = make_farm(tmp_path, ["echo a", "echo b", "echo c"])
    hand = Hand(farm, "1-a")
    hand.end(0, 0)
    hand.end(1, 3)
    return farm


def trace(site: Site, *arguments: str | Path, python: str | Path = sys.executable) -> Process:
    process = site.start(python, "-m", "taskfarmer_mpi.ctl", "trace", *arguments)
    process.wait(DEADLINE)
    return process


def test_the_trace_goes_to_the_work_directory_without_mpi(site: Site, farm: Farm, python_without_mpi: Path) -> None:
    farm.workdir.timeline.write_text(json.dumps([PLAIN]))
    process = trace(site, farm.workdir.path, python=python_without_mpi)
    assert [process.popen.returncode, process.stderr] == [0, ""]
    assert process.stdout.strip() == str(farm.workdir.timeline)
    assert [event["name"] for event in slices(farm.workdir.path)] == ["echo a", "! FAILED task 1", "x"]


def test_a_directory_in_which_only_pytaskfarmer_worked_has_a_trace_too(site: Site) -> None:
    workdir = site.path / "old"
    workdir.mkdir()
    (workdir / "toprocess").touch()
    (workdir / "finished").write_text("0 x\n")
    (workdir / "timeline.json").write_text(json.dumps([PLAIN, PLAIN | {"ts": 1.6e15}]))
    for arguments in ([workdir, "-o", site.path / "out.json"], [workdir]):
        process = trace(site, *arguments)
        assert [process.popen.returncode, process.stderr] == [0, ""]
    assert [event["name"] for event in slices(workdir)] == ["x", "x"]
    assert (site.path / "out.json").read_bytes() == (workdir / "timeline.json").read_bytes()
    assert not (workdir / "farmers").exists()


def test_it_needs_no_code_of_the_tasklist_handler(site: Site, farm: Farm) -> None:
    stored = stored_as(str(farm.handler.path))
    handler = Definition("mine", "gone.Handler", {}, "/gone/file.ini")
    farm.workdir.config.write_bytes(encode_config(type(stored)(stored.tasklist, handler, stored.runner, "/")))
    farm.workdir.finished.write_text("0 the task\n")
    process = trace(site, farm.workdir.path)
    assert [process.popen.returncode, process.stderr] == [0, ""]
    assert [event["name"] for event in slices(farm.workdir.path)] == ["the task", "! FAILED task 1"]


def test_another_file_is_never_replaced_unless_it_is_forced(site: Site, farm: Farm) -> None:
    before = contents(farm.workdir.farmers)
    output = site.path / "out.json"
    assert trace(site, farm.workdir.path, "-o", output).popen.returncode == 0
    assert len(json.loads(output.read_text())) > 2
    assert not farm.workdir.timeline.exists()
    output.write_text("mine")
    process = trace(site, farm.workdir.path, "-o", output)
    assert process.popen.returncode == 2
    assert process.stderr == f"taskfarmer-ctl: {output}: it exists; --force replaces it\n"
    assert output.read_text() == "mine"
    assert trace(site, farm.workdir.path, "-o", output, "--force").popen.returncode == 0
    assert len(json.loads(output.read_text())) > 2
    assert contents(farm.workdir.farmers) == before


def test_a_compressed_trace_has_the_same_bytes(site: Site, farm: Farm) -> None:
    assert trace(site, farm.workdir.path).popen.returncode == 0
    process = trace(site, farm.workdir.path, "--gzip")
    packed = farm.workdir.path / "timeline.json.gz"
    assert process.stdout.strip() == str(packed)
    assert gzip.decompress(packed.read_bytes()) == farm.workdir.timeline.read_bytes()
    first = packed.read_bytes()
    assert trace(site, farm.workdir.path, "--gzip").popen.returncode == 2
    assert trace(site, farm.workdir.path, "--gzip", "--force").popen.returncode == 0
    assert packed.read_bytes() == first


def test_a_farmer_that_was_killed_is_seen_and_so_is_one_that_works(site: Site) -> None:
    tasklist = site.tasklist([f"sleep {100 + number}" for number in range(4)])
    workdir = Path(f"{tasklist}_workdir")
    farmers = [site.farm("-n", "2", tasklist) for _ in range(2)]
    wait_for(lambda: _begun(workdir) == 4, deadline=DEADLINE, what="all tasks run")
    farmers[0].kill()
    farmers[0].wait(DEADLINE)
    process = trace(site, workdir, "-o", site.path / "out.json")
    assert [process.popen.returncode, process.stderr] == [0, ""]
    events = json.loads((site.path / "out.json").read_text())
    assert sorted(event["name"].split()[0] for event in events if event.get("cat") in ("lost", "running")) == [
        "LOST",
        "LOST",
        "RUNNING",
        "RUNNING",
    ]


def test_pytaskfarmers_take_their_turns_while_traces_are_made_and_lose_no_event(site: Site, pytaskfarmer: Path) -> None:
    tasks = [f"sleep 0.0{number % 10} {number / 1000}" for number in range(120)]
    tasklist = site.tasklist(tasks)
    workdir = Path(f"{tasklist}_workdir")
    farmers = [site.plain_0_1_0(pytaskfarmer, "-n", "2", tasklist) for _ in range(2)]
    wait_for(lambda: (workdir / "timeline.json").exists(), deadline=DEADLINE, what="a PyTaskFarmer writes the timeline")
    makers = [[site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", "trace", workdir) for _ in range(2)]]
    while any(farmer.is_running() for farmer in farmers):
        for maker in makers[-1]:
            maker.succeed(DEADLINE)
        makers.append([site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", "trace", workdir) for _ in range(2)])
    for process in (*farmers, *makers[-1]):
        process.succeed(DEADLINE)
    assert len(makers) > 1
    assert sorted(event["name"] for event in slices(workdir)) == sorted(tasks)


def _begun(workdir: Path) -> int:
    return sum(path.read_bytes().count(b'"ev":"begin"') for path in workdir.glob("farmers/*.journal"))


def test_what_cannot_be_read_is_one_line_each_and_the_rest_is_shown(site: Site, farm: Farm) -> None:
    farm.workdir.config.write_text("[farm]\nformat = 99\n")
    farm.workdir.timeline.write_text('[{"cat": "task"')
    newer = farm.workdir.farmers / "0-new.closed"
    newer.write_text('{"ev":"farmer","t":1,"format":99}\n')
    with (farm.workdir.farmers / "1-a.journal").open("a") as journal:
        journal.write('{"ev":"begin","t":17')  # half a line is what a writer has not ended yet
    process = trace(site, farm.workdir.path)
    assert process.popen.returncode == 0
    config, journal_line, timeline = process.stderr.splitlines()
    assert config.startswith(f"taskfarmer-ctl: {farm.workdir.config}: ")
    assert journal_line == f"taskfarmer-ctl: {newer}: not a journal of format 1: written by a newer version?"
    assert timeline == (
        f"taskfarmer-ctl: {farm.workdir.timeline}: its JSON is damaged behind element 0; read up to there;"
        " the old file is now timeline.json.damaged"
    )
    assert len(slices(farm.workdir.path)) == 2


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_what_is_no_work_directory_is_left_alone(site: Site, name: str) -> None:
    (site.path / "empty").mkdir()
    process = trace(site, site.path / name)
    assert process.popen.returncode == 2
    assert len(process.stderr.splitlines()) == 1
    assert "not a work directory" in process.stderr
    assert list((site.path / "empty").iterdir()) == []


def test_an_output_that_cannot_be_written_is_one_line(site: Site, farm: Farm) -> None:
    for output, reason in (
        (site.path / "no" / "x.json", "no such directory"),
        (site.path, "not a regular file"),
        ("/dev/null", "not a regular file"),
    ):
        process = trace(site, farm.workdir.path, "--force", "-o", output)
        assert process.popen.returncode == 2
        assert process.stderr.startswith(f"taskfarmer-ctl: {output}: ")
        assert reason in process.stderr
        assert len(process.stderr.splitlines()) == 1
