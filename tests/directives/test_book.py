"""The file with the settings of tasks, and how it comes to what the tasklist says."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import Hand, make_farm, stored_as

from taskfarmer_mpi.directives.book import SettingsBook, encode_parts, parse_part
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.policies.settings import Settings
from taskfarmer_mpi.tasklists.lines import ListTaskList
from taskfarmer_mpi.upkeep.added_tasks import add_all_appended, add_tasks
from taskfarmer_mpi.upkeep.preparation import prepare
from taskfarmer_mpi.workdir.catalog import Origin
from taskfarmer_mpi.workdir.farm import Farm

LINES = ["a", "#TF retries=2", "b", "c", "#TF", "d"]


def _settings(farm: Farm) -> list[str]:
    book = SettingsBook(farm.workdir.settings)
    book.advance()
    return [book.text_of(task) for task in range(len(farm.catalog))]


def _reread(farm: Farm, lines: list[str]) -> Farm:
    """Return the farm as a later start finds it, with these lines in the tasklist."""
    path = Path(farm.handler.path)
    path.write_text("".join(f"{line}\n" for line in lines))
    return prepare(Farm.of(farm.workdir, farm.lock, ListTaskList(path, farm.workdir.path)), stored_as(str(path)), 5.0)


def test_lines_are_encoded_and_parsed() -> None:
    parts = [(0, 9, "timeout=600 retries=2"), (10, 10, "")]
    lines = encode_parts(parts).split(b"\n")[:-1]
    assert [parse_part(line) for line in lines] == parts
    assert parse_part(b"1 x name=a") is None
    assert parse_part(b"1" * 5000 + b" 2 name=a") is None


def test_a_line_counts_from_its_first_task_on(tmp_path: Path) -> None:
    path = tmp_path / "book"
    path.write_bytes(encode_parts([(0, 3, "retries=1"), (5, 9, "retries=2"), (7, 7, "retries=3"), (2, 2, "name=a")]))
    book = SettingsBook(path)
    book.advance()
    assert [book.text_of(task) for task in range(10)] == ["retries=1"] * 2 + ["name=a"] + [""] * 7
    path.write_bytes(encode_parts([(0, 0, "name=b")]))
    book.advance()
    assert (book.of(0), book.of(1)) == (Settings(name="b"), Settings())


def test_a_farm_without_directives_has_no_such_file(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a", "b"])
    with farm.lock.held(5):
        add_tasks(farm, [b"c"], Origin.USER)
    assert not farm.workdir.settings.exists()


def test_appended_and_added_tasks_have_theirs(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, LINES)
    with farm.lock.held(5):
        add_tasks(farm, [b"u", b"v"], Origin.USER, ((1, "name=v"),))
    farm = _reread(farm, [*LINES, "#TF name=e", "e", "f"])
    assert list(farm.catalog) == ["a", "b", "c", "d", "u", "v", "e", "f"]
    assert _settings(farm) == ["", "retries=2", "retries=2", "", "", "name=v", "name=e", "name=e"]


def test_an_addition_that_was_cut_short_leaves_nothing_for_others(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, LINES)
    with farm.workdir.settings.open("ab") as file:
        file.write(encode_parts([(4, 6, "retries=9")]))
    with farm.lock.held(5):
        add_tasks(farm, [b"u", b"v"], Origin.USER)
    assert _settings(farm) == ["", "retries=2", "retries=2", "", "", ""]


def test_changed_directives_are_taken_over_at_a_start_without_those_of_added_tasks(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, LINES)
    with farm.lock.held(5):
        add_tasks(farm, [b"u"], Origin.USER, ((0, "name=u"),))
    farm = _reread(farm, [*LINES, "#TF retries=7", "e"])
    farm = _reread(farm, ["#TF timeout=9", "a", "b", "c", "d", "#TF", "e"])
    assert _settings(farm) == ["timeout=9"] * 4 + ["name=u", ""]
    before = farm.workdir.settings.stat().st_ino
    _reread(farm, ["#TF timeout=9", "a", "b", "c", "d", "#TF", "e"])
    assert farm.workdir.settings.stat().st_ino == before, "what is right is left alone"


def test_changed_directives_are_refused_while_farmers_are_at_work(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, LINES)
    hand = Hand(farm, "busy")
    _reread(farm, LINES)
    with pytest.raises(UserError, match="#TF lines changed, but farmers are at work"):
        _reread(farm, ["#TF retries=3", "a", "b", "c", "d"])
    assert _settings(farm) == ["", "retries=2", "retries=2", ""]
    hand.die()
    assert _settings(_reread(farm, ["#TF retries=3", "a", "b", "c", "d"])) == ["retries=3"] * 4


def test_lines_that_are_appended_while_farmers_work_bring_theirs(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["a"])
    Hand(farm, "busy")
    Path(farm.handler.path).write_text("a\n#TF name=b\nb\n")
    assert add_all_appended(farm, ListTaskList(farm.handler.path, farm.workdir.path).tasks, 5) == 1
    assert _settings(farm) == ["", "name=b"]
