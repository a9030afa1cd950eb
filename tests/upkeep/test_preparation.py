"""The first look at a work directory: what is checked, and what is made."""

from pathlib import Path

import pytest
from fakes import Hand, ids_in, make_farm, stored_as

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.runners.registry import Definition
from taskfarmer_mpi.upkeep.preparation import prepare
from taskfarmer_mpi.workdir.configuration import Stored, encode_config, parse_config, read_config
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import Workdir

COMMANDS = ["a", "b", "c", "d"]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def again(tmp_path: Path, commands: list[str]) -> Farm:
    return make_farm(tmp_path, commands)


@pytest.mark.parametrize("path", ["/a/b", "/a b/%x/caf\udcff", "/=;#[x]"])
def test_the_configuration_survives_encoding_and_parsing(path: str) -> None:
    options = {"Key": "a\nb = c", "percent": "100 %", "key": "", "é": "'\\"}
    handler = Definition("my [handler]", "package.Class", options, "/home/x y/a.ini")
    stored = Stored(path, handler, Definition("exec", "package.Runner"), "/a b", None, 12, "ab" * 32, lease=45.0)
    assert parse_config(encode_config(stored), Path("farm.ini")) == stored


@pytest.mark.parametrize("name", ["blank ", "\n # line\n", "%s", '"', "\udcff", "\x85", "[a]"])
def test_a_configuration_keeps_odd_paths(name: str) -> None:
    handler = Definition("scan", "package.Class", {}, f"/ini/{name}")
    stored = Stored(f"/tasks/{name}", handler, Definition("exec", "package.Runner"), f"/in/{name}")
    assert parse_config(encode_config(stored), Path("farm.ini")) == stored


def test_a_damaged_configuration_is_refused() -> None:
    with pytest.raises(UserError, match=r"farm\.ini"):
        parse_config(b"[tasklist]\npath = x\n", Path("farm.ini"))


def test_a_new_work_directory_has_all_tasks_with_the_first_one_on_top(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    assert farm.workdir.toprocess.read_text() == "3 d\n2 c\n1 b\n0 a\n"
    stored = read_config(farm.workdir)
    assert stored is not None
    assert (stored.listed, stored.slots) == (4, 8)


def test_preparing_again_changes_nothing(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    before = tree(farm.workdir.path)
    again(tmp_path, COMMANDS)
    assert tree(farm.workdir.path) == before


def test_a_missing_list_is_made_of_what_has_no_outcome_and_is_in_nobodys_hands(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    farm.workdir.toprocess.unlink()
    farm.workdir.finished.write_text("1 b\n")
    Hand(farm, "alive").note("taken", ids=[2])
    again(tmp_path, COMMANDS)
    assert ids_in(farm.workdir.toprocess) == [3, 0]


def test_tasks_that_a_plain_farmer_put_back_although_they_are_done_are_dropped(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    farm.workdir.toprocess.write_text("1 b\n2 c\n3 d\n3 d\n")
    farm.workdir.finished.write_text("1 b\n")
    again(tmp_path, COMMANDS)
    assert ids_in(farm.workdir.toprocess) == [3, 2]


def test_appended_lines_are_new_tasks_on_a_stack_that_plain_farmers_never_see(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    before = farm.workdir.toprocess.read_bytes()
    farm = again(tmp_path, [*COMMANDS, "e", "f"])
    assert farm.catalog.listed == 4
    assert farm.workdir.toprocess.read_bytes() == before
    assert farm.workdir.added.read_text() == "5 f\n4 e\n"
    again(tmp_path, [*COMMANDS, "e", "f"])
    assert farm.workdir.added.read_text() == "5 f\n4 e\n"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("toprocess", b"2 c\nrubbish\n", "toprocess:2: 'rubbish'"),
        ("toprocess", b"-1 a\n", "toprocess:1"),
        ("toprocess", b"4 e\n", "task 4 is not in .*4 tasks"),
        ("toprocess", b"9" * 5000 + b" a\n", "toprocess:1"),
        ("finished", b"x\n", "finished:1"),
        ("failed", b"77 b\n", "failed:1: task 77"),
    ],
)
def test_a_damaged_list_is_refused_by_line_and_stays(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    (farm.workdir.path / name).write_bytes(content)
    before = tree(farm.workdir.path)
    with pytest.raises(UserError, match=words):
        again(tmp_path, COMMANDS)
    assert tree(farm.workdir.path) == before


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        (["a", "B", "c", "d"], "task 1 is 'B', but .*toprocess:3 has 'b'"),
        (["b", "c", "d"], "toprocess:1: task 3 is not in"),
        (["x", "a", "b", "c", "d"], "task 3 is 'c', but .*toprocess:1 has 'd'"),
    ],
)
def test_a_changed_tasklist_is_refused_by_its_first_difference(tmp_path: Path, commands: list[str], words: str) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    before = tree(farm.workdir.path)
    with pytest.raises(UserError, match=words):
        again(tmp_path, commands)
    assert tree(farm.workdir.path) == before


def test_a_change_to_a_task_in_a_farmers_hands_is_noticed(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    farm.workdir.toprocess.write_text("3 d\n2 c\n1 b\n")
    with pytest.raises(UserError, match="its first 4 tasks are not those"):
        again(tmp_path, ["A", "b", "c", "d"])


def test_a_work_directory_of_a_plain_farmer_is_taken_over(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS, is_prepared=False)
    farm.workdir.toprocess.write_text("2 c\n3 d\n")
    farm.workdir.finished.write_text("0 a\n")
    farm = prepare(farm, stored_as("x"), 5.0)
    assert ids_in(farm.workdir.toprocess) == [2, 3]
    with pytest.raises(UserError, match="task 0"):
        again(tmp_path, ["A", "b", "c", "d"])


def test_a_file_in_place_of_the_work_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("")
    with pytest.raises(UserError, match="work"):
        Workdir(tmp_path / "work").create()
    with pytest.raises(UserError, match="not a directory"):
        read_config(Workdir(tmp_path / "work"))


@pytest.mark.parametrize(
    ("edited", "words"),
    [
        ("3 d\n2 C\n1 b\n0 a\n", r"toprocess:2: task 2 is 'C' here, but it is 'c': put the line back as it was"),
        ("3 d\n2 c\n1 b\n0 a extra\n", r"toprocess:4: task 0 is 'a extra' here, but it is 'a'"),
        ("3 \n2 c\n", r"toprocess:1: task 3 is '' here, but it is 'd'"),
    ],
)
def test_a_list_whose_texts_were_edited_is_refused_at_the_start(tmp_path: Path, edited: str, words: str) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    farm.workdir.toprocess.write_text(edited)
    before = tree(farm.workdir.path)
    with pytest.raises(UserError, match=words):
        again(tmp_path, COMMANDS)
    assert tree(farm.workdir.path) == before


def test_a_changed_tasklist_is_refused_with_the_remedy(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    assert farm.workdir.toprocess.exists()
    with pytest.raises(UserError, match="put it back as it was, take it over with --accept-changes"):
        again(tmp_path, ["a", "x", "c", "d"])


def test_a_farmer_that_joins_a_complete_work_directory_holds_the_lock_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = make_farm(tmp_path, ["true", "false"])
    before = tree(farm.workdir.path)
    holds: list[bool] = []
    release = farm.lock.release

    def note() -> None:
        holds.append(farm.lock.is_held)
        release()

    monkeypatch.setattr(farm.lock, "release", note)
    prepare(farm, stored_as(farm.handler.path), 5.0)
    assert holds.count(True) == 1
    assert tree(farm.workdir.path) == before
