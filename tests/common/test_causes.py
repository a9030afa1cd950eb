"""Why runs ended: decided in one place, kept in journals, and read from those of older versions, too."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import pytest
from helpers import Site

from taskfarmer_mpi.common.causes import Cause, cause_of, describe_cause
from taskfarmer_mpi.history.runs import read_histories
from taskfarmer_mpi.workdir.files import Workdir

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")


@pytest.mark.parametrize(
    ("code", "told", "cause"),
    [
        (0, None, None),
        (None, None, None),
        (3, None, Cause.EXIT),
        (-9, None, Cause.SIGNAL),
        (127, "could not be started", Cause.NOT_STARTED),
        (-9, "time limit", Cause.TIME_LIMIT),
        (-9, "a word of a newer version", Cause.SIGNAL),
    ],
)
def test_what_the_farmer_noted_counts_more_than_the_code(code: int | None, told: str | None, cause: Cause | None) -> None:
    assert cause_of(code, told) is cause


@pytest.mark.parametrize(
    ("code", "cause", "words"),
    [
        (-15, Cause.TIME_LIMIT, "over its time limit: killed by SIGTERM"),
        (-9, Cause.MEMORY, "out of memory: killed by SIGKILL"),
        (1, Cause.CANCELLED, "cancelled"),
        (3, Cause.EXIT, "exit code 3"),
        (-11, None, "killed by SIGSEGV"),
    ],
)
def test_a_cause_in_words(code: int, cause: Cause | None, words: str) -> None:
    assert describe_cause(code, cause=cause) == words


@pytest.mark.parametrize(
    ("code", "cause", "words"),
    [
        (-9, None, "killed by SIGKILL (out of memory? peak 3.1 GiB)"),
        (137, Cause.EXIT, "exit code 137: SIGKILL in a shell (out of memory? peak 3.1 GiB)"),
        (-9, Cause.MEMORY, "out of memory: killed by SIGKILL (peak 3.1 GiB)"),
        (-9, Cause.TIME_LIMIT, "over its time limit: killed by SIGKILL"),
        (-15, None, "killed by SIGTERM"),
        (1, Cause.EXIT, "exit code 1"),
    ],
)
def test_the_peak_is_said_where_memory_may_be_the_cause(code: int, cause: Cause | None, words: str) -> None:
    assert describe_cause(code, cause=cause, peak=3_250_000) == words


def test_causes_and_usage_of_a_farm_are_in_its_tables(site: Site) -> None:
    burn = f"{sys.executable} -c 'sum(range(3000000)); raise SystemExit(3)'"
    tasks = site.tasklist(["true", burn, "no-such-program-xyz", "kill -SEGV $$"])
    site.farm("-r", "exec", "--proc", "2", "--progress", "none", tasks).succeed(60, code=1)
    workdir = Workdir(f"{tasks}_workdir")
    said = subprocess.run([*CTL, "export", str(workdir.path), "--csv", "-"], capture_output=True, text=True, check=True)
    rows = list(csv.DictReader(io.StringIO(said.stdout)))
    assert [row["kind"] for row in rows] == ["", "exit code", "could not be started", "exit code"]
    assert float(rows[1]["cpu"]) > 0
    status = subprocess.run([*CTL, "status", "--json", str(workdir.path)], capture_output=True, text=True, check=True)
    failures = {failure["task"]: failure for failure in json.loads(status.stdout)["failures"]}
    assert failures[1]["kind"] == "exit code"
    assert failures[1]["cpu"] > 0


def test_a_journal_without_causes_is_read_as_ever(site: Site) -> None:
    tasks = site.tasklist(["exit 4", "true"])
    site.farm("--progress", "none", tasks).succeed(60, code=1)
    workdir = Workdir(f"{tasks}_workdir")
    (path,) = workdir.farmers.glob("*.closed")
    assert b',"cause":"exit code"' in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(b',"cause":"exit code"', b""))
    (history,) = read_histories(workdir)[0]
    assert {run.task_id: run.cause for run in history.attempts()} == {0: Cause.EXIT, 1: None}
