"""Tasks that leave the list by a user's wish."""

import sys
from pathlib import Path

import pytest
from fakes import Hand, ids_in, make_farm, unasked
from helpers import Site, contents, wait_for

from taskfarmer_mpi.changes.removal import choose, record_removed, remove_tasks
from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.history.task_states import Place, TaskStates
from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.upkeep.added_tasks import add_tasks
from taskfarmer_mpi.upkeep.census import take_census
from taskfarmer_mpi.upkeep.recovery import recover
from taskfarmer_mpi.upkeep.reopening import hands
from taskfarmer_mpi.upkeep.retry import retry_tasks
from taskfarmer_mpi.workdir.catalog import Origin
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.lists import append_tasks, encode_removed, split_removed

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")
COMMANDS = [f"true {i}" for i in range(6)]


def farm_with_more(tmp_path: Path) -> Farm:
    """Return a farm of tasks 0 to 5 and of 6 and 7, which came later."""
    farm = make_farm(tmp_path, COMMANDS)
    with farm.lock.held(5.0):
        add_tasks(farm, [b"more 6", b"more 7"], Origin.USER)
    return farm


def remove(farm: Farm, ids: set[int] | None, text: str = "") -> list[int]:
    with hands(farm.workdir, farm.lock) as journal:
        return remove_tasks(farm.workdir, farm.lock, journal, choose(ids, text), Cause.REMOVED, 5.0)


@pytest.mark.parametrize("cause", [Cause.REMOVED, Cause.CANCELLED])
@pytest.mark.parametrize("text", ["x", "removed y", "caf\udcff  z"])
def test_a_line_of_removed_tasks_survives_encoding_and_parsing(text: str, cause: Cause) -> None:
    line = encode_removed(Task(12, text), cause)
    assert split_removed(line[:-1]) == (12, text.encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("line", [b"", b"12", b"12 true", b"x removed true"])
def test_another_line_is_no_removed_task(line: bytes) -> None:
    assert split_removed(line)[0] is None


def test_tasks_leave_both_stacks_and_are_known_as_removed(tmp_path: Path) -> None:
    farm = farm_with_more(tmp_path)
    assert remove(farm, {1, 4, 7}) == [1, 4, 7]
    assert ids_in(farm.workdir.toprocess) == [5, 3, 2, 0]
    assert ids_in(farm.workdir.added) == [6]
    assert farm.workdir.removed.read_text() == "1 removed true 1\n4 removed true 4\n7 removed more 7\n"
    assert list(farm.workdir.farmers.iterdir()) == []
    census = take_census(farm, 5.0)
    assert (census.total, census.to_do, census.removed, census.lost) == (8, 5, 3, [])
    states = TaskStates(farm.workdir)
    states.look(8)
    assert states.at(Place.REMOVED) == [1, 4, 7]
    assert states.at(Place.NOWHERE) == []


def test_a_text_chooses_among_all_tasks_or_among_given_ones(tmp_path: Path) -> None:
    farm = farm_with_more(tmp_path)
    assert remove(farm, {0, 1, 6}, "more") == [6]
    assert remove(farm, None, "true") == list(range(6))


def test_tasks_in_the_hands_of_a_farmer_are_left_alone(tmp_path: Path) -> None:
    farm = farm_with_more(tmp_path)
    farm.workdir.toprocess.write_text("".join(f"{i} true {i}\n" for i in (5, 4, 3)))
    Hand(farm, "alive").note("taken", ids=[0, 1, 2])
    assert remove(farm, {1, 3}) == [3]


def test_what_ended_or_is_in_hands_although_it_is_on_the_list_is_left_alone(tmp_path: Path) -> None:
    farm = farm_with_more(tmp_path)
    append_tasks(farm.workdir.finished, [Task(0, "true 0")], unasked)  # its cut was lost with the power
    append_tasks(farm.workdir.failed, [Task(1, "true 1")], unasked)
    hand = Hand(farm, "dead")
    hand.note("taken", ids=[2])
    hand.die()
    assert remove(farm, {0, 1, 2, 3}) == [3]
    assert ids_in(farm.workdir.toprocess) == [5, 4, 2, 1, 0]


def test_the_next_start_leaves_removed_tasks_alone_and_checks_them(tmp_path: Path) -> None:
    farm = farm_with_more(tmp_path)
    remove(farm, {0, 7})
    farm.workdir.toprocess.unlink()
    farm = make_farm(tmp_path, COMMANDS)
    assert ids_in(farm.workdir.toprocess) == [5, 4, 3, 2, 1]
    assert ids_in(farm.workdir.added) == [6]
    farm.workdir.removed.write_text("nonsense\n")
    with pytest.raises(UserError, match=r"removed:1: 'nonsense' is not a task"):
        make_farm(tmp_path, COMMANDS)


def test_a_retry_puts_removed_tasks_back_with_their_own_text(tmp_path: Path) -> None:
    farm = farm_with_more(tmp_path)
    remove(farm, {2, 7})
    with hands(farm.workdir, farm.lock) as journal:
        assert retry_tasks(farm.workdir, farm.lock, journal, 6, {2, 7}, 5.0).tasks == [2, 7]
    assert "2 true 2\n" in farm.workdir.toprocess.read_text()
    assert "7 more 7\n" in farm.workdir.added.read_text()
    assert farm.workdir.removed.read_bytes() == b""


def test_a_dead_farmer_gives_no_removed_task_back(tmp_path: Path) -> None:
    farm = farm_with_more(tmp_path)
    farm.workdir.toprocess.write_text("5 true 5\n")
    hand = Hand(farm, "dead")
    hand.note("taken", ids=[0, 1, 2, 3, 4])
    record_removed(farm.workdir, [Task(1, "true 1")], Cause.CANCELLED, unasked)
    hand.die()
    recover(farm, (), 5.0)
    assert ids_in(farm.workdir.toprocess) == [5, 4, 3, 2, 0]


def test_a_farm_ends_well_without_its_removed_tasks_and_all_commands_know_them(site: Site) -> None:
    tasklist = site.tasklist(["sleep 0.1", "false", "exit 3 # unwanted", "true"])
    workdir = Path(f"{tasklist}_workdir")
    site.farm("--task-time", "1000", "--timeout", "10", "--progress", "none", tasklist).succeed(60, code=75)
    removed = site.start(*CTL, "remove", workdir, "1", "--match", "false")
    removed.succeed(30)
    assert removed.stdout == "removed: 1 task: 1\n"
    site.start(*CTL, "remove", tasklist, "--match", "unwanted").succeed(30)
    farm = site.farm("--progress", "none", tasklist)
    farm.succeed(60)
    assert "4 tasks: 2 finished, 0 failed, 2 removed, 0 left" in farm.stdout
    status = site.start(*CTL, "status", workdir)
    status.succeed(30)
    assert "100 % done" in status.stdout
    assert "0 in nobody’s hands, 2 removed" in status.stdout
    site.start(*CTL, "wait", workdir).succeed(30)
    show = site.start(*CTL, "show", workdir, "2")
    show.succeed(30)
    assert show.stdout.startswith(
        "task 2: removed\ncommand: exit 3 # unwanted\nwhy it does not run: it was taken off the list"
    )
    assert len(show.stdout.splitlines()) == 3
    site.start(*CTL, "repair", workdir).succeed(30)
    site.start(*CTL, "export", workdir, "--csv", "tasks.csv").succeed(30)
    assert ",removed," in (site.path / "tasks.csv").read_text()
    site.start(*CTL, "retry", workdir, "1").succeed(30)
    site.farm("--progress", "none", tasklist).succeed(60, code=1)


def test_what_cannot_be_removed_is_named_and_nothing_is_touched(site: Site) -> None:
    tasklist = site.tasklist(["true", "true"])
    site.farm("--progress", "none", tasklist).succeed(60)
    workdir = Path(f"{tasklist}_workdir")
    before = contents(workdir)
    for words, code, text in (
        ((), 2, "which tasks? give IDs, or --match TEXT"),
        (("7",), 2, "there is no task 7; it has 2 tasks, from 0 on"),
        (("x",), 2, "'x' is not the ID of a task"),
        (("0",), 2, "left alone, as they are not on the list: 0"),
    ):
        for command in ("remove", "cancel") if code == 2 and words != ("0",) else ("remove",):
            process = site.start(*CTL, command, workdir, *words)
            process.succeed(30, code=code)
            assert text in process.stdout + process.stderr
    after = contents(workdir)
    assert [name for name in {*before, *after} if name != "lock" and before.get(name, 3 * [None])[2] != after[name][2]] == []


def test_a_plain_farmer_goes_on_beside_a_removal(site: Site, pytaskfarmer: Path) -> None:
    lines = [f"sleep 0.5{i}" for i in range(40)]
    tasklist = site.tasklist(lines)
    workdir = Path(f"{tasklist}_workdir")
    plain = site.plain_0_1_0(pytaskfarmer, "-n", "1", tasklist)
    wait_for(lambda: (workdir / "finished").exists(), deadline=60, what="the plain farmer works")
    site.farm("-n", "1", "--task-time", "1000", "--timeout", "10", "--progress", "none", tasklist).succeed(60, code=75)
    removed = site.start(*CTL, "remove", workdir, "20-39")
    removed.succeed(30)
    plain.succeed(60)
    assert sorted(ids_in(workdir / "finished")) == list(range(20))
    assert sorted(ids_in(workdir / "removed")) == list(range(20, 40))
