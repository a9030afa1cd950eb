"""Tasks that a user ends, wherever they are."""

import os
import signal
import sys
import time
from pathlib import Path

from fakes import Hand, ids_in, make_farm
from helpers import Site, processes_with, wait_for

from taskfarmer_mpi.changes.cancellation import (
    CancelRequest,
    CancelRequests,
    encode_requests,
    parse_requests,
    request_cancels,
    withdraw_cancels,
)
from taskfarmer_mpi.upkeep.recovery import recover

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")
COMMANDS = [f"true {i}" for i in range(4)]


def test_requests_survive_encoding_and_parsing_and_other_lines_do_not_count() -> None:
    requests = [CancelRequest(3, "20260101T000000-node-1-abc", 1234.5), CancelRequest(4, "b", 7.0)]
    assert parse_requests(encode_requests(requests) + b"x y z\n1 b\n\xff") == requests


def test_each_farmer_heeds_its_own_requests_once(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    own = CancelRequests(farm.workdir, "own")
    assert own.news() == set()
    with farm.lock.held(5.0):
        first = request_cancels(farm.workdir, farm.lock, {(1, "own"), (2, "other")})
    assert own.news() == {1}
    with farm.lock.held(5.0):
        second = request_cancels(farm.workdir, farm.lock, {(3, "own")})
    assert own.news() == {3}
    with farm.lock.held(5.0):
        withdraw_cancels(farm.workdir, farm.lock, first)
    assert own.news() == set()
    with farm.lock.held(5.0):
        withdraw_cancels(farm.workdir, farm.lock, second)
    assert not farm.workdir.cancels.exists()


def test_what_a_farmer_could_not_cancel_before_it_died_is_cancelled_by_recovery(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    farm.workdir.toprocess.write_bytes(b"")
    hand = Hand(farm, "dead")
    hand.note("taken", ids=[0, 1, 2, 3])
    hand.journal.note_begin(1, 0)
    hand.journal.flush()
    with farm.lock.held(5.0):
        request_cancels(farm.workdir, farm.lock, {(0, "dead"), (1, "dead"), (2, "another")})
    hand.journal.note_begin(3, 0)
    hand.journal.flush()
    hand.die()
    recover(farm, (), 5.0)
    assert ids_in(farm.workdir.toprocess) == [3, 2]
    assert farm.workdir.removed.read_text() == "0 cancelled true 0\n1 cancelled true 1\n"


def test_a_request_of_before_a_run_does_not_end_it_in_recovery(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    farm.workdir.toprocess.write_bytes(b"")
    farm.workdir.cancels.write_bytes(encode_requests([CancelRequest(1, "dead", time.time() - 5)]))
    hand = Hand(farm, "dead")
    hand.note("taken", ids=[0, 1, 2, 3])
    hand.journal.note_begin(1, 0)
    hand.journal.flush()
    hand.die()
    recover(farm, (), 5.0)
    assert ids_in(farm.workdir.toprocess) == [3, 2, 1, 0]


def _runs(site: Site, count: int) -> None:
    wait_for(lambda: len(list(site.path.glob("up.*"))) >= count, deadline=60, what=f"{count} tasks run")


def test_tasks_are_ended_where_they_run_and_others_go_on(site: Site) -> None:
    lines = [
        f"touch {site.path}/up.0; sleep 600",
        f"touch {site.path}/up.1; trap '' TERM; setsid sleep 600 & sleep 600; wait",
        f"touch {site.path}/up.2; trap 'exit 0' TERM; while :; do sleep 0.1; done",
        f"touch {site.path}/up.3; until test -e {site.path}/end; do sleep 0.1; done",
        "sleep 700",
        "sleep 700",
    ]
    tasklist = site.tasklist(lines)
    workdir = Path(f"{tasklist}_workdir")
    options = ("-n", "2", "--retries", "3", "--task-timeout", "3000", "--task-grace", "1", "--progress", "none")
    farm = site.farm(*options, tasklist, ranks=2)
    _runs(site, 4)
    begin = time.monotonic()
    cancel = site.start(*CTL, "cancel", workdir, "0-2", "4", "5")
    cancel.succeed(60)
    assert cancel.stdout == "cancelled: 5 tasks: 0, 1, 2, 4, 5 (3 of them ran)\n"
    assert time.monotonic() - begin < 40
    assert not (workdir / "cancels").exists()
    (site.path / "end").touch()
    farm.succeed(60, code=1)
    assert "6 tasks: 1 finished, 3 failed, 2 removed, 0 left" in farm.stdout
    assert ": cancelled; see " in farm.stdout
    assert sorted(ids_in(workdir / "failed")) == [0, 1, 2]
    assert sorted(ids_in(workdir / "removed")) == [4, 5]
    assert processes_with(site.mark) == []
    again = site.start(*CTL, "cancel", workdir, "--match", "sleep 600")
    again.succeed(30)
    assert again.stdout == "cancelled: 0 tasks\n"
    other = site.start(*CTL, "cancel", workdir, "1")
    other.succeed(30, code=2)
    assert "left alone, as they have ended: 1" in other.stdout


def test_a_task_whose_farmer_is_killed_meanwhile_does_not_run_again(site: Site) -> None:
    lines = [f"touch {site.path}/up.$TASKFARMER_TASK.$$; trap '' TERM; while :; do sleep 0.1; done"] * 2
    tasklist = site.tasklist(lines)
    workdir = Path(f"{tasklist}_workdir")
    farm = site.farm("-n", "2", "--task-timeout", "3000", "--task-grace", "10", "--progress", "none", tasklist)
    _runs(site, 2)
    cancel = site.start(*CTL, "cancel", workdir, "0", "--wait", "0")
    cancel.succeed(30, code=75)
    assert "told to end, and not at their end yet: 0" in cancel.stdout
    os.kill(farm.farmers()[0], signal.SIGKILL)
    farm.wait(30)
    before = len(list(site.path.glob("up.0.*")))
    second = site.farm("-n", "2", "--progress", "none", "-w", workdir)
    _runs(site, before + 2)
    assert ids_in(workdir / "removed") == [0]
    site.start(*CTL, "cancel", workdir, "1").succeed(60)
    second.succeed(30, code=1)
    assert len(list(site.path.glob("up.0.*"))) == before
