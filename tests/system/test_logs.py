"""Real farms that keep the output of their tasks in each of the forms, also with farmers that are killed."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from helpers import Site, settled, wait_for

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")
QUIET = ("--progress", "none", "--mpi", "off")


def log_of(site: Site, workdir: Path, task: int, *options: str, code: int = 0) -> str:
    process = site.start(*CTL, "log", workdir, str(task), *options)
    process.succeed(60, code=code)
    return process.stdout


def files_in(workdir: Path) -> list[str]:
    return sorted(str(path.relative_to(workdir)) for path in workdir.rglob("*") if path.is_file())


def test_each_form_keeps_what_it_says(site: Site) -> None:
    lines = ["echo one", "echo two: $TASKFARMER_ATTEMPT; exit 3", "no-such-program-anywhere x"]
    for form in ("files", "failed", "packed", "packed-gzip", "none"):
        tasks = site.tasklist(lines, name=form)
        workdir = Path(f"{tasks}_workdir")
        farm = site.farm(*QUIET, "--logs", form, "--retries", "1", "--retry-on", "3", tasks)
        farm.succeed(60, code=1)
        logs = sorted(os.listdir(workdir / "logs"))
        assert (
            logs
            == {
                "files": ["log_0", "log_1", "log_1.1", "log_2"],
                "failed": ["log_1", "log_1.1", "log_2"],
                "packed": [],
                "packed-gzip": [],
                "none": [],
            }[form]
        )
        if form == "none":
            assert "there is no log" in farm.stdout
            assert "there is no log" not in log_of(site, workdir, 1, code=2)
            continue
        assert log_of(site, workdir, 1) == "two: 2\n"
        assert log_of(site, workdir, 1, "--attempt", "1") == "two: 1\n"
        assert log_of(site, workdir, 0, code=2 if form == "failed" else 0) == ("" if form == "failed" else "one\n")
        assert '"two: 2"' in farm.stdout
        assert "could not be started" in farm.stdout or "command not found" in farm.stdout
        status = site.start(*CTL, "status", workdir, "--json")
        status.succeed(60)
        assert {tuple(failure["log_tail"]) for failure in json.loads(status.stdout)["failures"]} >= {("two: 2",)}


def test_a_packed_task_that_is_tried_again_keeps_its_first_log(site: Site) -> None:
    tasks = site.tasklist([f"echo run; test -e {site.path}/mended"])
    workdir = Path(f"{tasks}_workdir")
    site.farm(*QUIET, "--logs", "packed", tasks).succeed(60, code=1)
    site.start(*CTL, "retry", workdir, "--match", "run").succeed(60)
    assert log_of(site, workdir, 0, code=2) == ""
    assert log_of(site, workdir, 0, "--attempt", "1") == "run\n"
    (site.path / "mended").touch()
    site.farm(*QUIET, "--workdir", workdir).succeed(60)
    assert log_of(site, workdir, 0) == "run\n"
    shown = site.start(*CTL, "show", workdir, "0")
    shown.succeed(60)
    assert "log of attempt 1, 4 bytes" in shown.stdout
    assert "log of attempt 2, 4 bytes" in shown.stdout
    assert len([name for name in files_in(workdir) if name.startswith("packs/")]) == 5  # two farmers, and `earlier`


def test_output_can_be_followed_also_when_it_is_packed_in_the_end(site: Site) -> None:
    go = site.path / "go"
    tasks = site.tasklist([f"echo begun; while [ ! -e {go} ]; do sleep 0.05; done; echo ended"])
    workdir = Path(f"{tasks}_workdir")
    farm = site.farm(*QUIET, "--logs", "packed", tasks)
    wait_for(lambda: (workdir / "logs" / "log_0").exists(), deadline=60, what="the log")
    follower = site.start(*CTL, "log", workdir, "0", "-f")
    wait_for(lambda: follower.stdout == "begun\n", deadline=60, what="what a running task wrote")
    go.touch()
    farm.succeed(60)
    follower.succeed(60)
    assert follower.stdout == "begun\nended\n"
    assert not (workdir / "logs" / "log_0").exists()


@pytest.mark.parametrize("form", ["packed", "packed-gzip"])
def test_every_log_is_there_after_kills_of_farmers_that_pack(form: str, site: Site) -> None:
    lines = [f"echo output of {i}; sleep 0.02" for i in range(300)]
    tasks = site.tasklist(lines)
    workdir = Path(f"{tasks}_workdir")
    options = (*QUIET, "--proc", "3", "--logs", form)
    farms = [site.farm(*options, tasks) for _ in range(2)]
    finished = workdir / "finished"
    wait_for(lambda: finished.exists() and finished.read_text().count("\n") > 60, deadline=60, what="60 tasks")
    (pid,) = farms[0].farmers()
    os.kill(pid, signal.SIGKILL)
    farms[0].wait(20)
    site.farm(*QUIET, "--workdir", workdir).wait(90)
    farms[1].wait(90)
    lists = settled(workdir, lines)
    assert (sorted(lists.finished), lists.failed) == (list(range(300)), [])
    from taskfarmer_mpi.logs.reading import Logs
    from taskfarmer_mpi.workdir.files import Workdir

    logs = Logs(Workdir(workdir), range(300))
    assert [logs.ends(task)[1].decode() for task in range(300)] == [f"output of {i}\n" for i in range(300)]
    assert len(files_in(workdir)) < 150  # those that the killed farmer had not packed are files


def test_a_long_log_has_its_head_and_its_tail(site: Site) -> None:
    tasks = site.tasklist(["echo first; head -c 3000000 /dev/zero | tr '\\0' x; echo; echo last; exit 1"])
    for form in ("files", "packed"):
        workdir = site.path / form
        site.farm(*QUIET, "--logs", form, "--log-limit", "4K", "--workdir", workdir, tasks).succeed(60, code=1)
        text = log_of(site, workdir, 0)
        assert text.startswith("first\nxxx")
        assert text.endswith("xxx\nlast\n")
        assert "bytes are missing here: --log-limit]\n" in text
        assert len(text) < 4096 + 100


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--logs", "packd"), "--logs: 'packd' is not one of files, failed, packed, packed-gzip, none"),
        (("--log-limit", "ten"), "--log-limit: 'ten' is not a size like 64K or 10M: 1024 bytes or more, or 0 for no limit"),
        (("--log-limit", "1"), "--log-limit: '1' is not a size like 64K"),
    ],
)
def test_a_wrong_value_is_one_line_before_anything_is_touched(site: Site, words: tuple[str, str], reason: str) -> None:
    tasks = site.tasklist(["true"])
    farm = site.farm(*QUIET, *words, tasks)
    farm.succeed(60, code=2)
    assert reason in farm.stderr
    assert farm.stderr.count("\n") == 1
    assert not Path(f"{tasks}_workdir").exists()
