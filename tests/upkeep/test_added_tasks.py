"""Tasks that come to a work directory after it was made."""

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes import Clock, Hand, ids_in, make_farm
from helpers import Site, Witness, accounted, settled, wait_for

from taskfarmer_mpi.errors import FarmError, UserError
from taskfarmer_mpi.tasklists.lines import ListTaskList
from taskfarmer_mpi.upkeep.added_tasks import SETTLE_TIME, TasklistWatch, add_tasks, check_texts, file_state
from taskfarmer_mpi.workdir.catalog import Catalog, Origin, encode_added, parse_added
from taskfarmer_mpi.workdir.farm import Farm

COMMANDS = ["a", "b", "c"]
CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")


def append(farm: Farm, text: str) -> None:
    with Path(farm.handler.path).open("a") as file:
        file.write(text)


@pytest.mark.parametrize("text", [b"x", b"added line 7", b"caf\xff  y", b"# z"])
@pytest.mark.parametrize("origin", Origin)
def test_a_line_of_added_tasks_survives_encoding_and_parsing(text: bytes, origin: Origin) -> None:
    assert parse_added(encode_added(12, [text], origin)[:-1]) == (12, origin, text)


@pytest.mark.parametrize("line", [b"", b"12", b"x line a", b"12 other a", b"12 line "])
def test_another_line_is_no_added_task(line: bytes) -> None:
    assert parse_added(line) is None


@pytest.mark.parametrize("damage", [b"5 line x\n", b"rubbish\n"])
def test_a_damaged_file_of_added_tasks_is_told_by_its_line(tmp_path: Path, damage: bytes) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    farm.workdir.tasks_added.write_bytes(damage)
    with pytest.raises(FarmError, match=r"tasks\.added: .* is not the line of task 3"):
        farm.catalog.advance()


def test_many_lines_are_added_in_parts_so_that_others_get_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    parts: list[int] = []

    def add(farm: Farm, texts: list[bytes], origin: Origin, *more: Any) -> range:
        parts.append(len(texts))
        return add_tasks(farm, texts, origin, *more)

    monkeypatch.setattr("taskfarmer_mpi.upkeep.added_tasks.BATCH", 2)
    monkeypatch.setattr("taskfarmer_mpi.upkeep.added_tasks.add_tasks", add)
    clock = Clock()
    watcher = watch(farm, clock)
    append(farm, "d\ne\nf\ng\n")
    watcher.look()
    clock.now += SETTLE_TIME
    assert watcher.look()
    assert parts == [2, 2]
    farm = make_farm(tmp_path, [*farm.catalog, *"hij"])
    assert parts == [2, 2, 2, 1]
    assert list(farm.catalog) == list("abcdefghij")


def test_a_torn_line_is_no_task_yet_and_is_cut_off_by_the_next_addition(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    farm.workdir.tasks_added.write_bytes(b"3 added d\n4 added e")
    farm.catalog.advance()
    assert list(farm.catalog) == ["a", "b", "c", "d"]
    with farm.lock.held(5.0):
        assert add_tasks(farm, [b"f"], Origin.USER) == range(4, 5)
    assert farm.workdir.tasks_added.read_bytes() == b"3 added d\n4 added f\n"


def test_added_tasks_go_to_a_stack_of_their_own(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    before = farm.workdir.toprocess.read_bytes()
    with farm.lock.held(5.0):
        assert add_tasks(farm, [b"d", b"a"], Origin.USER) == range(3, 5)
    assert farm.workdir.toprocess.read_bytes() == before
    assert farm.workdir.added.read_text() == "4 a\n3 d\n"
    assert [farm.handler[task_id] for task_id in range(5)] == ["a", "b", "c", "d", "a"]


def test_an_addition_that_was_cut_short_is_completed_by_the_next_start(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    farm.workdir.tasks_added.write_bytes(b"3 added d\n4 added e\n5 added f\n")
    farm.workdir.added.write_text("4 e\n")
    Hand(farm, "alive").note("taken", ids=[5])
    make_farm(tmp_path, COMMANDS)
    assert ids_in(farm.workdir.added) == [4, 3]


def test_appended_lines_and_added_tasks_have_ids_of_their_own(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    with farm.lock.held(5.0):
        add_tasks(farm, [b"added"], Origin.USER)
    farm = make_farm(tmp_path, [*COMMANDS, "line"])
    with farm.lock.held(5.0):
        add_tasks(farm, [b"added"], Origin.USER)
    farm = make_farm(tmp_path, [*COMMANDS, "line", "line"])
    assert list(farm.catalog) == ["a", "b", "c", "added", "line", "added", "line"]
    assert ids_in(farm.workdir.added) == [3, 4, 5, 6]


@pytest.mark.parametrize("lines", [["other"], []], ids=["changed", "gone"])
def test_a_change_to_an_appended_line_is_refused(tmp_path: Path, lines: list[str]) -> None:
    make_farm(tmp_path, [*COMMANDS])
    make_farm(tmp_path, [*COMMANDS, "line"])
    with pytest.raises(UserError, match=r"the appended line 'line' is (gone|'other' now)"):
        make_farm(tmp_path, [*COMMANDS, *lines])


def watch(farm: Farm, clock: Clock) -> TasklistWatch:
    path = Path(farm.handler.path)
    return TasklistWatch(
        farm,
        farm.catalog.lines.digest(farm.catalog.listed),
        lambda: ListTaskList(path, farm.workdir.path).tasks,
        state=file_state(path),
        clock=clock,
    )


def test_the_watch_takes_new_lines_once_nobody_writes_any_more(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    clock = Clock()
    watcher = watch(farm, clock)
    assert watcher.is_quiet
    append(farm, "d\ne")
    assert not watcher.is_quiet
    assert not watcher.look()
    clock.now += SETTLE_TIME / 2
    append(farm, "e\n")
    assert not watcher.look()
    clock.now += SETTLE_TIME / 2
    assert not watcher.look()
    clock.now += SETTLE_TIME / 2
    assert watcher.look()
    assert watcher.is_quiet
    assert list(farm.catalog)[3:] == ["d", "ee"]


@pytest.mark.parametrize("text", ["a\nb\nC\n", "a\n", "a\nb\nc\nd", ""], ids=["changed", "shorter", "no_end", "directory"])
def test_the_watch_leaves_any_other_change_alone_and_says_so(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    clock = Clock()
    watcher = watch(farm, clock)
    path = Path(farm.handler.path)
    if text:
        path.write_text(text)
    else:
        path.unlink()
        path.mkdir()
    watcher.look()
    clock.now += SETTLE_TIME
    assert not watcher.look()
    assert watcher.is_quiet
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"{path}: ")
    assert len(farm.catalog) == 3


def test_a_tasklist_that_is_removed_ends_the_watch(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    watcher = watch(farm, Clock())
    Path(farm.handler.path).unlink()
    assert not watcher.look()
    assert watcher.is_quiet


@pytest.mark.parametrize("text", [b"", b"a\nb", b"a\0b"])
def test_a_text_that_is_no_line_is_refused_before_anything_is_added(tmp_path: Path, text: bytes) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    with pytest.raises(UserError, match="no task"):
        check_texts(farm, [b"good", text])
    assert farm.handler.tasks is farm.catalog
    assert isinstance(farm.catalog, Catalog)


def test_commands_added_and_lines_appended_during_a_run_are_run_beside_a_plain_farmer(
    site: Site, witness: Witness, pytaskfarmer: Path
) -> None:
    tasks = witness.tasks(350, 0.15)
    tasklist = site.tasklist(tasks[:200])
    workdir = site.path / "tasks_workdir"
    farm = site.farm("-n", "2", tasklist, ranks=2)
    wait_for(lambda: len(witness.runs()) > 2, deadline=60, what="tasks run")
    plain = site.plain_0_1_0(pytaskfarmer, "-n", "1", tasklist)
    wait_for(
        lambda: any(run[0].farmer == "-" for run in witness.runs().values()), deadline=60, what="the plain farmer works"
    )
    more = site.tasklist(tasks[202:300], "more")
    site.start(*CTL, "add", workdir, "--file", more, *tasks[200:202]).succeed(30)
    with tasklist.open("a") as file:
        file.write("".join(f"{task}\n" for task in tasks[300:]))
    farm.succeed(120)
    plain.succeed(60)
    assert settled(workdir, tasks).failed == []
    witness.once_each(350)
    assert (workdir / "toprocess.added").read_text() == ""


def test_tasks_added_to_a_farm_that_ended_wait_for_the_next_start(site: Site) -> None:
    tasklist = site.tasklist(["true", "true"])
    site.farm(tasklist).succeed(30)
    workdir = site.path / "tasks_workdir"
    added = site.start(*CTL, "add", workdir, "true", "echo later")
    added.succeed(30)
    assert "added 2 tasks: 2 to 3" in added.stdout
    assert "wait for the next start" in added.stdout
    again = site.farm("-w", workdir)
    again.succeed(30)
    assert "4 tasks: 4 finished" in again.stdout
    assert (workdir / "logs" / "log_3").read_text() == "later\n"
    assert accounted(workdir, ["true", "true", "true", "echo later"]).failed == []


@pytest.mark.parametrize("typed", [("-",), ("--file", "-"), ("-f-",)])
def test_tasks_are_read_from_standard_input(typed: tuple[str, ...], site: Site) -> None:
    site.farm(site.tasklist(["true"])).succeed(30)
    workdir = site.path / "tasks_workdir"
    lines = 'printf "# two\\necho a\\necho b\\n" | "$@"'
    process = site.start("bash", "-c", lines, "bash", *CTL, "add", "--parsable", workdir, *typed)
    process.succeed(30)
    assert process.stdout == "1-2\n"
    site.farm("-w", workdir).succeed(30)
    assert [(workdir / "logs" / f"log_{task}").read_text() for task in (1, 2)] == ["a\n", "b\n"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nothing to add"),
        (("--file", "missing"), "missing: cannot read"),
        (("a\nb",), "one line"),
    ],
)
def test_what_cannot_be_added_is_told_in_one_line(site: Site, arguments: tuple[str, ...], words: str) -> None:
    site.farm(site.tasklist(["true"])).succeed(30)
    process = site.start(*CTL, "add", site.path / "tasks_workdir", *arguments)
    process.succeed(30, code=2)
    assert words in process.stderr
    assert process.stderr.count("\n") == 1
    assert not (site.path / "tasks_workdir" / "tasks.added").exists()


@pytest.mark.parametrize("call", ["open", "fstat"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_tasklist_that_cannot_be_looked_at_for_a_moment_changes_nothing(
    call: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    clock = Clock()
    watcher = watch(farm, clock)

    def refuse(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as trouble:
        trouble.setattr(os, call, refuse)
        assert not watcher.is_quiet
        assert not watcher.look()
    append(farm, "d\n")
    watcher.look()
    clock.now += SETTLE_TIME
    assert watcher.look()
    assert list(farm.catalog)[3:] == ["d"]
