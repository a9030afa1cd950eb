"""The order of a new work directory: what it is made of, how it is kept, and what it brings."""

from __future__ import annotations

import heapq
import math
import random
from pathlib import Path

import pytest
from fakes import Hand, stored_as, unasked

from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.ordering.arrangement import arrange
from taskfarmer_mpi.ordering.durations import read_durations
from taskfarmer_mpi.ordering.guesses import guess_durations, program_of
from taskfarmer_mpi.ordering.order_file import KeptOrder, encode_order, parse_order, read_order
from taskfarmer_mpi.policies.rules import read_rules
from taskfarmer_mpi.tasklists.lines import ListTaskList
from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.upkeep.preparation import prepare
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.lists import encode_task
from taskfarmer_mpi.workdir.locks import WorkLock
from taskfarmer_mpi.workdir.stack import open_stack

JOBLOG = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"


def joblog(path: Path, seconds: dict[str, float], code: int = 0) -> Path:
    lines = [f"{i}\t:\t1.0\t{time:10.3f}\t0\t0\t{code}\t0\t{command}\n" for i, (command, time) in enumerate(seconds.items())]
    path.write_text(JOBLOG + "".join(lines))
    return path


def begin(tmp_path: Path, commands: list[str], rules: dict[str, str]) -> Farm:
    """Make the work directory as rank 0 does."""
    tasklist = tmp_path / "tasks"
    tasklist.write_text("".join(f"{command}\n" for command in commands))
    workdir = Workdir(tmp_path / "new")
    workdir.create()
    lock = WorkLock(workdir, [workdir.path / "lock"], "test")
    farm = Farm.of(workdir, lock, ListTaskList(tasklist, workdir.path), rules=read_rules(rules))
    return prepare(farm, replace(stored_as(str(tasklist)), rules=rules), 5.0)


def take(farm: Farm, count: int) -> list[int]:
    """Take tasks off the list as a farmer does."""
    place = KeptOrder(farm.workdir).place
    with open_stack(farm.workdir.toprocess, lambda _: True, unasked, place) as stack:
        top = stack.peek(lambda _: count, lambda _: True)
        stack.cut(top)
    return [task.id for task in top.tasks]


def tail(taken: list[float], slots: int) -> float:
    """Return when the last slot is free if each takes the next task once it is free."""
    ends = [0.0] * slots
    for seconds in taken:
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


@pytest.mark.parametrize("seed", range(3))
def test_longest_first_ends_within_5_percent_of_the_lower_bound(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    seconds = [round(generator.lognormvariate(0, 1), 3) for _ in range(400)]
    commands = [f"fit {i}" for i in range(400)]
    source = joblog(tmp_path / "joblog", dict(zip(commands, seconds, strict=True)))
    farm = begin(tmp_path, commands, {"order": "longest", "durations": str(source)})
    taken: list[int] = []
    while ids := take(farm, 1):  # by one slot after the other
        taken += ids
    assert sorted(taken) == list(range(400))
    bound = max(max(seconds), sum(seconds) / 8)
    longest, as_listed = tail([seconds[task] for task in taken], 8), tail(seconds, 8)
    assert bound <= longest <= 1.05 * bound
    assert longest <= as_listed


def test_the_ids_stay_those_of_the_list(tmp_path: Path) -> None:
    source = joblog(tmp_path / "joblog", {"fit a": 1.0, "fit b": 30.5, "fit c": 4.0})
    farm = begin(tmp_path, ["fit a", "fit b", "fit c"], {"order": "longest", "durations": str(source)})
    assert farm.workdir.toprocess.read_text() == "0 fit a\n2 fit c\n1 fit b\n"
    assert read_order(farm.workdir) == {1: 30.5, 2: 4.0, 0: 1.0}


def test_a_shuffled_list_has_all_tasks(tmp_path: Path) -> None:
    farm = begin(tmp_path, [f"fit {i}" for i in range(300)], {"order": "shuffle"})
    ids = take(farm, 300)
    assert sorted(ids) == list(range(300)) != ids
    assert list(read_order(farm.workdir)) == ids


def test_an_order_comes_back_after_a_plain_farmer_rewrote_the_list(tmp_path: Path) -> None:
    path, workdir = tmp_path / "toprocess", Workdir(tmp_path)
    order = arrange("shuffle", [math.nan] * 3000)
    workdir.order.write_bytes(encode_order((task, math.nan) for task in order))
    path.write_bytes(b"".join(encode_task(Task(i, f"fit {i}")) for i in range(1000, 3000)))
    with open_stack(path, lambda _: True, unasked, KeptOrder(workdir).place) as stack:
        top = stack.peek(lambda _: 2000, lambda _: True)
    assert [task.id for task in top.tasks] == [task for task in order if task >= 1000]
    inode = path.stat().st_ino
    with open_stack(path, lambda _: True, unasked, KeptOrder(workdir).place) as stack:
        assert stack.peek(lambda _: 1, lambda _: True).tasks[0].id == top.tasks[0].id
    assert path.stat().st_ino == inode


def test_the_file_survives_encoding_and_parsing() -> None:
    assert parse_order(encode_order([(7, 1.25), (0, 0.0)])) == {7: 1.25, 0: 0.0}
    assert [*map(math.isnan, parse_order(encode_order([(7, math.nan)])).values())] == [True]


def test_unknown_commands_last_as_those_alike_else_as_the_mean_of_all() -> None:
    known = {"fit 1": 10.0, "fit 2": 20.0, "python plot.py 1": 1.0}
    texts = ["fit 1", "A=1 /usr/bin/fit 3", "python3 plot.py 9", "python plot.py 9", "other"]
    guesses = guess_durations(texts, lambda i: texts[i], known, program_of)
    assert guesses.seconds == pytest.approx([10, 15, 31 / 3, 1, 31 / 3])
    assert (guesses.known, guesses.alike, guesses.others) == (1, 2, 2)
    assert guesses.describe() == (
        "durations of 5 tasks: 1 by an earlier run, 2 by the mean of those with the same program, 2 by the mean of all"
    )


def test_an_earlier_work_directory_tells_what_its_tasks_took(tmp_path: Path) -> None:
    farm = begin(tmp_path, ["fit a", "fit b", "fit c"], {})
    hand = Hand(farm, "one")
    for task, code, seconds in ((0, 0, 7.0), (1, 1, 3.0)):
        hand.note("taken", ids=[task])
        hand.note("end", id=task, slot=0, begin=2.0, end=2.0 + seconds, rc=code, cpu=0.0, rss=0)
    assert read_durations(farm.workdir.path) == pytest.approx({"fit a": 7.0, "fit b": 3.0})


def test_runs_that_failed_count_where_none_finished(tmp_path: Path) -> None:
    path = joblog(tmp_path / "joblog", {"fit a": 9.0, "fit b": 2.0}, code=1)
    with path.open("a") as file:
        file.write("9\t:\t1.0\t5.0\t0\t0\t0\t0\tfit a\n")
    assert read_durations(path) == {"fit a": 5.0, "fit b": 2.0}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot read"),
        ("true\n", "neither a work directory nor a joblog"),
        (JOBLOG, "no task has ended there"),
        (JOBLOG + "1\t:\tx\n", "joblog:2: not a line of a joblog"),
    ],
)
def test_what_tells_no_durations_is_refused(tmp_path: Path, content: str | None, reason: str) -> None:
    path = tmp_path / "joblog"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=reason):
        read_durations(path)
