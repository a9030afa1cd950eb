"""A tasklist that was edited: what is shown, what is taken over, and what is refused."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from fakes import Hand, ids_in, make_farm, stored_as
from helpers import Site, Witness, wait_for

from taskfarmer_mpi.changes.line_edit import SHOWN, compare_lines
from taskfarmer_mpi.directives.book import read_book
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.tasklists.lines import ListTaskList
from taskfarmer_mpi.upkeep.added_tasks import add_appended, add_tasks
from taskfarmer_mpi.upkeep.census import take_census
from taskfarmer_mpi.upkeep.preparation import prepare
from taskfarmer_mpi.upkeep.recovery import recover
from taskfarmer_mpi.workdir.catalog import Origin
from taskfarmer_mpi.workdir.configuration import read_config
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.locks import WorkLock

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")


def edited(before: str, now: str) -> list[str]:
    old = [(task, text.encode()) for task, text in enumerate(before.split())]
    return list(compare_lines(old, now.encode().split()).show())


@pytest.mark.parametrize(
    ("before", "now", "shown"),
    [
        ("a b c", "a b c", []),
        ("a b c", "a x b c", ["+ x"]),
        ("a b c", "a c", ["- 1: b"]),
        ("a b c", "a x c", ["~ 1: b -> x"]),
        ("a b c d", "b c d a", ["> 0: a: moved"]),
        ("a b c d", "x b y d z", ["+ z", "~ 0: a -> x", "~ 2: c -> y"]),
        ("a a a", "a a", ["- 2: a"]),
        ("", "a", ["+ a"]),
        ("a b", "", ["- 0: a", "- 1: b"]),
    ],
)
def test_an_edit_is_shown_as_lines(before: str, now: str, shown: list[str]) -> None:
    assert edited(before, now) == shown


def test_what_is_shown_is_bounded() -> None:
    shown = edited("", " ".join(map(str, range(100))))
    assert len(shown) == SHOWN + 1
    assert shown[-1] == f"+ ... {100 - SHOWN} more"


def again(tmp_path: Path, lines: str, *, accepts: bool = True) -> Farm:
    """Start once more with another content of the tasklist."""
    path = tmp_path / "tasks"
    path.write_text("".join(f"{line}\n" for line in lines.split()))
    workdir = Workdir(tmp_path / "work")
    farm = Farm.of(workdir, WorkLock(workdir, [workdir.path / "lock"], "a test"), ListTaskList(path, workdir.path))
    return prepare(farm, stored_as(str(path)), 5.0, accepts=accepts)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def to_do(farm: Farm) -> list[tuple[int, str]]:
    return sorted((task, farm.catalog[task]) for task in ids_in(farm.workdir.toprocess) + ids_in(farm.workdir.added))


def test_without_the_option_the_refusal_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    make_farm(tmp_path, ["a", "b", "c"])
    with pytest.raises(UserError, match=r"^[^\n]*--accept-changes[^\n]*$"):
        again(tmp_path, "a c", accepts=False)


def test_new_lines_are_new_tasks_and_gone_ones_leave_the_list(tmp_path: Path) -> None:
    make_farm(tmp_path, ["a", "b", "c"])
    farm = again(tmp_path, "x c a y")
    assert to_do(farm) == [(0, "a"), (2, "c"), (3, "x"), (4, "y")]
    assert farm.workdir.removed.read_text() == "1 removed b\n"
    assert ids_in(farm.workdir.toprocess) == []  # no plain farmer is to see an ID that means another line for it
    census = take_census(farm, 5.0)
    assert (census.total, census.to_do, census.removed, census.lost) == (5, 4, 1, [])


def test_accepted_changes_are_the_list_from_then_on(tmp_path: Path) -> None:
    make_farm(tmp_path, ["a", "b", "c"])
    again(tmp_path, "c x")
    before = tree(tmp_path / "work")
    for accepts in (False, True):
        farm = again(tmp_path, "c x", accepts=accepts)
        assert tree(tmp_path / "work") == before
    farm = again(tmp_path, "c x d e", accepts=False)  # appended
    assert to_do(farm) == [(2, "c"), (3, "x"), (4, "d"), (5, "e")]
    with pytest.raises(UserError, match="--accept-changes"):
        again(tmp_path, "c x e", accepts=False)
    farm = again(tmp_path, "e f c")
    assert to_do(farm) == [(2, "c"), (5, "e"), (6, "f")]
    assert [farm.catalog[task] for task in range(7)] == ["a", "b", "c", "x", "d", "e", "f"]


def test_tasks_that_ended_run_or_were_added_stay(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "b", "c", "d"])
    farm.workdir.toprocess.write_text("3 d\n")
    farm.workdir.finished.write_text("0 a\n")
    hand = Hand(farm, "one")
    hand.note("taken", ids=[1, 2])
    with farm.lock.held(5.0):
        add_tasks(farm, [b"mine"], Origin.USER)
    farm = again(tmp_path, "b x c")  # what 1 and 2 are is told by the tasklist alone
    assert to_do(farm) == [(4, "mine"), (5, "x")]
    assert [farm.catalog[task] for task in (1, 2)] == ["b", "c"]
    hand.die()
    recover(farm, (), 5.0)
    assert to_do(farm) == [(1, "b"), (2, "c"), (4, "mine"), (5, "x")]
    assert ids_in(farm.workdir.toprocess) == []


def test_a_line_that_runs_and_was_edited_is_refused(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "b", "c"])
    farm.workdir.toprocess.write_text("2 c\n1 b\n")
    Hand(farm, "one").note("taken", ids=[0])
    before = tree(tmp_path / "work")
    with pytest.raises(UserError, match=r"the lines of tasks that farmers have \(0\) were changed, too"):
        again(tmp_path, "x b c")
    assert tree(tmp_path / "work") == before


def test_where_a_plain_farmer_could_be_at_work_it_is_refused(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "b", "c"])
    farm.workdir.timeline.write_text('[{"name": "a"}]')
    with pytest.raises(UserError, match="a PyTaskFarmer works here"):
        again(tmp_path, "a c")
    farm.workdir.timeline.unlink()
    farm.workdir.toprocess.write_text("2 c\n1 b\n")
    with pytest.raises(UserError, match=r"tasks are in nobody's hands \(0\)"):
        again(tmp_path, "a c")


def test_a_farmer_at_work_follows(tmp_path: Path) -> None:
    working = make_farm(tmp_path, ["a", "b", "c"])
    with working.lock.held(5.0):
        add_tasks(working, [b"mine"], Origin.USER)
    again(tmp_path, "a x c")
    with working.lock.held(5.0):
        working.catalog.advance()
        assert add_tasks(working, [b"more"], Origin.USER) == range(5, 6)
    assert [working.catalog[task] for task in range(6)] == ["a", "b", "c", "mine", "x", "more"]
    assert working.catalog.listed == 0
    assert [task for task, _ in to_do(working)] == [0, 2, 3, 4, 5]


def test_a_change_that_was_cut_short_is_refused_until_it_is_accepted(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "b"])
    config = farm.workdir.config.read_bytes()
    again(tmp_path, "a x")
    farm.workdir.config.write_bytes(config)
    with pytest.raises(UserError, match="not taken over to the end: --accept-changes does it"):
        again(tmp_path, "a b", accepts=False)
    farm = again(tmp_path, "a x")
    assert to_do(farm) == [(0, "a"), (2, "x")]
    stored = read_config(farm.workdir)
    assert stored is not None
    assert (stored.listed, stored.accepted) == (0, 2)
    with farm.lock.held(5.0):
        assert add_appended(farm, farm.catalog.lines) == range(3, 3)


def test_tf_lines_are_about_the_lines_after_them_wherever_those_are_now(tmp_path: Path) -> None:
    make_farm(tmp_path, ["a", "#TF timeout=5", "b", "c"])
    path = tmp_path / "tasks"
    path.write_text("#TF timeout=7\nc\nx\n#TF\nb\na\n")
    workdir = Workdir(tmp_path / "work")
    farm = Farm.of(workdir, WorkLock(workdir, [workdir.path / "lock"], "a test"), ListTaskList(path, workdir.path))
    prepare(farm, stored_as(str(path)), 5.0, accepts=True)
    book = read_book(workdir)
    assert [book.text_of(task) for task in range(4)] == ["", "", "timeout=7", "timeout=7"]


def test_a_job_takes_over_beside_another_one_that_dies(site: Site, witness: Witness) -> None:
    lines = witness.tasks(22, 0.5)
    tasklist = site.tasklist(lines[:20])
    workdir = Path(f"{tasklist}_workdir")
    first = site.farm("-n", "2", tasklist)
    wait_for(lambda: len(witness.runs()) >= 4, deadline=30, what="some tasks")
    site.tasklist([lines[20], *lines[:18], lines[21]])  # two new ones, 18 and 19 are gone
    check = site.start(*CTL, "check", tasklist)
    second = site.farm("-n", "8", "--accept-changes", tasklist)
    check.succeed(30, code=2)
    assert "~ 18: " in check.stdout
    assert "--accept-changes" in check.stderr
    wait_for(lambda: (workdir / "removed").exists(), deadline=30, what="the change")
    first.kill(signal.SIGKILL)
    second.succeed(60)
    assert set(witness.runs()) == {*range(18), 20, 21}
    assert [line.split()[0] for line in (workdir / "removed").read_text().splitlines()] == ["18", "19"]
    site.farm(tasklist).succeed(30)
