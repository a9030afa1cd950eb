"""Which failed tasks `taskfarmer-ctl retry` means."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from fakes import Hand, ids_in, make_farm, run
from helpers import Site, settled

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.history.failure_filter import FailureFilter
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.journal import Journal

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")


def farm_with_failures(tmp_path: Path) -> Farm:
    """Return a farm where 0 to 2 failed on node7 and 3 to 5 on node8; of 6 no journal tells."""
    farm = make_farm(tmp_path, ["false"] * 8)
    for host, ends in (("node7", [(0, 1), (1, -9), (2, 137)]), ("node8", [(3, 1), (4, 2), (5, 130)])):
        hand = Hand(farm, host)
        journal = Journal(farm.workdir.farmers, replace(hand.identity, farmer=f"f-{host}", host=host))
        for task, code in ends:
            journal.note_run("end", replace(run(farm, task, code), ended=2000.0 + task))
        journal.close()
    for task in range(7):
        farm.workdir.log(task).write_text(f"begin\n{'No space left on device' if task % 2 == 0 else 'boom'}\nbye\n")
    return farm


@pytest.mark.parametrize(
    ("chosen", "tasks"),
    [
        (FailureFilter(), [0, 1, 2, 3, 4, 5, 6]),
        (FailureFilter(hosts=frozenset({"node7"})), [0, 1, 2]),
        (FailureFilter(hosts=frozenset({"node7", "node8"})), [0, 1, 2, 3, 4, 5]),
        (FailureFilter(codes=frozenset({1})), [0, 3]),
        (FailureFilter(codes=frozenset({-9})), [1, 2]),
        (FailureFilter(codes=frozenset({137, 2})), [2, 4]),
        (FailureFilter(since=2003.0), [3, 4, 5]),
        (FailureFilter(causes=frozenset({Cause.SIGNAL})), [1]),
        (FailureFilter(causes=frozenset({Cause.SIGNAL, Cause.EXIT}), since=2001.0), [1, 2, 3, 4, 5]),
        (FailureFilter(text="No space"), [0, 2, 4, 6]),
        (FailureFilter(text="no space"), []),
        (FailureFilter(frozenset({"node8"}), frozenset({1, 2}), 2004.0, "space left"), [4]),
    ],
)
def test_what_is_given_must_all_be_true(tmp_path: Path, chosen: FailureFilter, tasks: list[int]) -> None:
    farm = farm_with_failures(tmp_path)
    assert chosen.select(farm.workdir, range(7)) == tasks


def test_the_last_failed_run_of_a_task_counts(tmp_path: Path) -> None:
    farm = farm_with_failures(tmp_path)
    later = Hand(farm, "later")
    later.journal.note_run("end", replace(run(farm, 0, 5), ended=3000.0))
    later.journal.flush()
    assert FailureFilter(codes=frozenset({1})).select(farm.workdir, range(7)) == [3]
    assert FailureFilter(codes=frozenset({5})).select(farm.workdir, range(7)) == [0]


def _broken_farm(site: Site) -> Path:
    """Have one node fail what it gets, and another one finish the rest."""
    tasklist = site.tasklist(
        [f'[ "$SLURMD_NODENAME" = good ] || {{ echo broken {i}; exit {3 + i % 2}; }}' for i in range(6)]
    )
    first = site.farm("-n", "1", tasklist, environ=site.environ(SLURMD_NODENAME="bad"))
    first.succeed(60, code=1)
    return site.path / "tasks_workdir"


def test_tasks_of_one_node_are_retried_and_it_says_that_a_farmer_is_needed(site: Site) -> None:
    workdir = _broken_farm(site)
    process = site.start(*CTL, "retry", workdir, "--host", "bad", "--since", "1h")
    process.succeed(30)
    assert "back on the list: 6 tasks" in process.stdout
    assert f"no farmer is at work: start one with taskfarmer-mpi --workdir {workdir}" in process.stdout
    farm = site.farm("-n", "2", "--workdir", workdir, environ=site.environ(SLURMD_NODENAME="good"))
    farm.succeed(60)
    assert len(settled(workdir, (site.path / "tasks").read_text().splitlines()).finished) == 6


def test_filters_are_combined_with_ids_and_with_each_other(site: Site) -> None:
    workdir = _broken_farm(site)
    site.start(*CTL, "retry", workdir, "0-3", "--exit", "4", "--match", "broken 3").succeed(30)
    assert ids_in(workdir / "toprocess") == [3]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--host", "bat"), "no farmer worked on bat; nodes: bad"),
        (("--exit", "0"), "'0' is not an exit code from 1 to 255, or a signal like SIGKILL or -9"),
        (("--exit", "SIGNOPE"), "'SIGNOPE' is not an exit code"),
        (("--exit", "256"), "'256' is not an exit code"),
        (("--cause", "lost"), "'lost' is not a cause of failures: exit-code, signal, time-limit, out-of-memory, "),
        (("--all", "--cause", "signal"), "--all means every task that has ended: leave IDs and all other conditions away"),
        (("--since", "yesterday"), "'yesterday' is not a time like 2026-05-27T14:30, or how long ago like 90s"),
        (("--since", f"{time.gmtime().tm_year + 2}-01-01"), "is in the future"),
        (("--since", "9999999999d"), "is not a time"),
    ],
)
def test_a_bad_filter_says_what_is_allowed_and_changes_nothing(site: Site, options: tuple[str, ...], words: str) -> None:
    workdir = _broken_farm(site)
    process = site.start(*CTL, "retry", workdir, *options)
    process.succeed(30, code=2)
    assert words in process.stderr
    assert ids_in(workdir / "toprocess") == []


def test_one_command_starts_over_with_tasks_that_finished_and_failed(site: Site) -> None:
    tasklist = site.tasklist(["true", "exit 3"])
    workdir = Path(f"{tasklist}_workdir")
    site.farm(tasklist).succeed(30, code=1)
    site.start(*CTL, "retry", workdir, "--cause", "time-limit").succeed(30)
    assert ids_in(workdir / "toprocess") == []
    (workdir / "removed").write_text("1 removed exit 3\n")
    (workdir / "failed").write_text("")
    site.start(*CTL, "retry", workdir, "--all").succeed(30)
    assert ids_in(workdir / "toprocess") == [0]
    site.start(*CTL, "retry", workdir, "1").succeed(30)
    assert sorted(ids_in(workdir / "toprocess")) == [0, 1]
    site.farm(tasklist).succeed(30, code=1)
    assert len(list((workdir / "logs").iterdir())) == 4
