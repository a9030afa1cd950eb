"""Real farms with so many tasks that their logs are in folders."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from helpers import Site, wait_for

from taskfarmer_mpi.workdir.files import Workdir, node_name

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")
QUIET = ("--progress", "none")
MANY = 10_001


def ctl(site: Site, *words: str | Path, code: int = 0) -> str:
    process = site.start(*CTL, *words)
    process.succeed(120, code=code)
    return process.stdout


def few_to_do(site: Site, lines: dict[int, str], *options: str) -> Path:
    """Return the work directory of a farm with many tasks, all of which but some are off the list."""
    tasks = site.tasklist([lines.get(task, "true") for task in range(MANY)])
    site.farm(*QUIET, "--mpi", "off", "--timeout", "0.01", *options, tasks).succeed(60, code=75)
    workdir = Path(f"{tasks}_workdir")
    (workdir / "toprocess").write_text("".join(f"{task} {lines[task]}\n" for task in sorted(lines, reverse=True)))
    return workdir


def test_logs_are_in_folders_by_thousands_and_found_there(site: Site) -> None:
    line = "echo attempt $TASKFARMER_ATTEMPT; exit 3"
    workdir = few_to_do(site, {7: "echo seven", 5123: line, 10000: "echo last"}, "--retries", "1")
    farm = site.farm(*QUIET, "--workdir", workdir)
    farm.wait(60)
    logs = workdir / "logs"
    assert (logs / "0" / "log_7").read_text() == "seven\n"
    assert (logs / "10" / "log_10000").read_text() == "last\n"
    assert not [path for path in logs.iterdir() if path.is_file()]
    assert f"see {logs}/5/log_5123" in farm.stdout
    assert ctl(site, "log", workdir, "5123") == "attempt 2\n"
    assert ctl(site, "log", workdir, "5123", "--attempt", "1") == "attempt 1\n"
    shown = ctl(site, "show", workdir, "5123")
    assert f"log: {logs}/5/log_5123\n" in shown
    assert f"log: {logs}/5/log_5123.1\n" in shown
    (failure,) = json.loads(ctl(site, "status", "--json", workdir))["failures"]
    assert failure["log"] == f"{logs}/5/log_5123"
    assert '"log":"logs/5/log_5123"' in (workdir / "timeline.json").read_text()
    ctl(site, "retry", workdir, "5123")
    assert sorted(path.name for path in (logs / "5").glob("log_5123*")) == ["log_5123.1", "log_5123.2"]


def test_only_logs_of_failures_are_kept_in_folders_too(site: Site) -> None:
    workdir = few_to_do(site, {7: "echo seven", 5123: "echo five; exit 3"}, "--logs", "failed")
    site.farm(*QUIET, "--workdir", workdir).wait(60)
    assert [path.name for path in (workdir / "logs").glob("*/log_*")] == ["log_5123"]


def test_a_log_that_a_pytaskfarmer_wrote_later_is_found(site: Site) -> None:
    workdir = few_to_do(site, {7: "echo ours", 8: "echo ours"})
    site.farm(*QUIET, "--workdir", workdir).wait(60)
    plain = workdir / "logs" / "log_8"
    plain.write_text("theirs\n")
    os.utime(plain, (2e9, 2e9))
    assert [ctl(site, "log", workdir, task) for task in ("7", "8")] == ["ours\n", "theirs\n"]


@pytest.mark.parametrize("kind", ["few", "packed", "earlier"])
def test_other_work_directories_have_none(site: Site, kind: str) -> None:
    tasks = site.tasklist(["true"] * (10 if kind == "few" else MANY))
    workdir = Workdir(f"{tasks}_workdir")
    if kind == "earlier":
        workdir.create()
        workdir.toprocess.write_text("0 true\n")
    words = ("--logs", "packed") if kind == "packed" else ()
    site.farm(*QUIET, "--mpi", "off", "--timeout", "1", *words, tasks).wait(60)
    assert not [path for path in workdir.logs.iterdir() if path.is_dir()]


def test_ranks_agree_and_what_cleared_its_environment_is_found_by_its_log(site: Site) -> None:
    escape = "echo pid $$; exec env -i /bin/sh -c 'exec 3>&-; while :; do sleep 0.1; done'"
    workdir = few_to_do(site, {7: escape, **dict.fromkeys(range(9000, 9050), "true")})
    farm = site.farm(*QUIET, "-n", "2", "--workdir", workdir, ranks=2)
    path = workdir / "logs" / "0" / "log_7"
    wait_for(lambda: path.exists() and path.read_text().endswith("\n"), deadline=60, what="the task")
    pid = int(path.read_text().split()[1])
    wait_for(lambda: len(list((workdir / "logs" / "9").glob("log_*"))) == 50, deadline=60, what="the others")
    farm.kill(signal.SIGTERM)
    farm.wait(60)
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), deadline=30, what=f"the end of the task on {node_name()}")
    assert not (workdir / "logs" / "log_7").exists()
