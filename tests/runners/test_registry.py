"""Definitions of runners, handlers and monitors: from INI files to objects."""

import os
from pathlib import Path

import pytest

from taskfarmer_mpi.errors import OptionError, UserError
from taskfarmer_mpi.runners.pytaskfarmer import ForeignRunner, ListedLines, make_handler, make_runner
from taskfarmer_mpi.runners.registry import (
    HANDLER,
    RUNNER,
    Definition,
    Kind,
    build,
    check_options,
    find,
    ini_files,
    load_class,
)
from taskfarmer_mpi.runners.shell import BasicRunner, ExecRunner
from taskfarmer_mpi.tasklists.lines import ListTaskList

NAMES = """\
[DEFAULT]
shared = yes

[one]
Runner = package.One
CamelCase = a value
percent = 100%%
named = %(CamelCase)s twice

[list]
TaskList = package.List
"""


class Picky:
    """A runner with options."""

    def __init__(self, image: str, volumes: str = "") -> None:
        if volumes == "bad":
            raise OptionError("volumes", "'bad' is no list of volumes")
        if volumes == "odd":
            raise ValueError("odd\nvolumes")
        self.image = image

    def launch(self, command: str) -> str:
        return command


PICKY = Definition("mine", f"{__name__}.Picky", {"image": "x"}, "/home/me/a.ini")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current directory; the user's home is beside it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_built_in_names_need_no_file_and_say_whose_section_is_left_out(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(here / "a.ini", "[default]\nRunner = evil.Class\n")
    write(here / "broken.ini", "broken\n")
    assert isinstance(make_runner(find(RUNNER, "default")), BasicRunner)
    assert isinstance(make_runner(find(RUNNER, "exec")), ExecRunner)
    assert load_class(HANDLER, find(HANDLER, "default")) is ListTaskList
    assert len(caplog.messages) == 1
    assert "a.ini: [default] is left out: this name is built in" in caplog.messages[0]


def test_a_definition_has_its_options_with_their_case_and_defaults(here: Path) -> None:
    path = write(here / "a.ini", NAMES)
    options = {"CamelCase": "a value", "percent": "100%", "named": "a value twice", "shared": "yes"}
    assert find(RUNNER, "one") == Definition("one", "package.One", options, str(path))


@pytest.mark.parametrize(("kind", "folder"), [(RUNNER, "runners.d"), (HANDLER, "tasklists.d")])
def test_later_files_win_and_the_current_directory_is_last(
    here: Path, kind: Kind, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    home = here.parent / "home" / ".pytaskfarmer" / folder
    write(home / "a.ini", f"[x]\n{kind.key} = p.A\n[y]\n{kind.key} = p.A\n[z]\n{kind.key} = p.A\n")
    write(home / "b.ini", f"[y]\n{kind.key} = p.B\n[z]\n{kind.key} = p.B\n")
    write(here / "a.ini", f"[z]\n{kind.key} = p.C\n")
    assert [find(kind, name).class_path for name in "xyz"] == ["p.A", "p.B", "p.C"]
    assert caplog.messages[0] == f"{kind.label} 'x' is defined in {home / 'a.ini'}"
    assert caplog.messages[1] == f"{kind.label} 'y' is defined in {home / 'b.ini'}, which outweighs {home / 'a.ini'}"


def test_an_unknown_name_is_told_with_the_known_ones_and_the_files(here: Path) -> None:
    path = write(here / "a.ini", NAMES)
    with pytest.raises(UserError, match=f"unknown runner 'two'; known: default, exec, one; .*{path}"):
        find(RUNNER, "two")
    with pytest.raises(UserError, match="unknown tasklist handler 'one'; known: default, list"):
        find(HANDLER, "one")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = 1\n", r"b\.ini:1: no section header"),
        ("[one]\nRunner = a.B\n[one]\n", r"b\.ini:3: section \[one\] is there twice"),
        ("[one]\nRunner = a.B\nx = 1\nx = 2\n", r"b\.ini:4: option 'x' is there twice in section \[one\]"),
        ("[one]\nRunner = a.B\nwhat\n", r"b\.ini:3: neither a section header nor"),
        ("[two]\nRunner = a.B\ndate = %Y\n", r"b\.ini: \[two\] .*write %% for a percent sign"),
    ],
)
def test_a_broken_file_that_may_be_the_one_that_is_needed_is_told_by_its_line(here: Path, text: str, words: str) -> None:
    write(here / "b.ini", text)
    with pytest.raises(UserError, match=words):
        find(RUNNER, "two")


def test_an_unknown_name_is_told_also_where_files_are_broken(here: Path) -> None:
    write(here / "a.ini", NAMES)
    write(here / "b.ini", "broken\n")
    write(here / "c.ini", "[x]\nwhat\n")
    reasons = r"b\.ini:1: no section header.*c\.ini:2: neither .*: 'what'; unknown runner 'two'; known: default, exec, one; "
    with pytest.raises(UserError, match=reasons):
        find(RUNNER, "two")


def test_a_broken_file_that_is_not_needed_is_left_out_with_a_warning(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(here / "a.ini", NAMES)
    write(here / "b.ini", "broken\n")
    (here / "c.ini").write_bytes(b"[x]\ny = \xff\n")
    (here / "d.ini").mkdir()
    os.mkfifo(here / "e.ini")
    assert find(RUNNER, "one").class_path == "package.One"
    assert len(caplog.messages) == 4
    assert "b.ini:1:" in caplog.messages[0]


def test_a_file_that_others_could_have_written_is_refused_if_it_is_needed(here: Path) -> None:
    path = write(here / "a.ini", NAMES)
    path.chmod(0o646)
    with pytest.raises(UserError, match="everybody can write"):
        find(RUNNER, "one")
    path.chmod(0o644)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
        with pytest.raises(UserError, match="belongs to another user"):
            find(RUNNER, "one")


def test_classes_of_pytaskfarmer_mean_ours(here: Path) -> None:
    write(
        here / "a.ini", "[list]\nTaskList = taskfarmer.task.ListTaskList\n[basic]\nRunner = taskfarmer.runners.BasicRunner\n"
    )
    assert load_class(HANDLER, find(HANDLER, "list")) is ListTaskList
    assert load_class(RUNNER, find(RUNNER, "basic")) is BasicRunner
    write(here / "a.ini", "[list]\nTaskList = taskfarmer.tasks.ListTaskList\n")  # as its README has it
    assert load_class(HANDLER, find(HANDLER, "list")) is ListTaskList


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("Class", "not the path of a class"),
        ("no_such_package.Class", "cannot import no_such_package: ModuleNotFoundError"),
        ("json.NoClass", "module json has no class NoClass"),
        ("json.dumps", "module json has no class dumps"),
        ("json.JSONDecoder", "not a runner: it has no launch or run and terminate"),
    ],
)
def test_a_class_that_cannot_be_had_is_told_with_file_and_section(path: str, words: str) -> None:
    with pytest.raises(UserError, match=rf"^/x/a\.ini: \[mine\] Runner = {path}: {words}"):
        load_class(RUNNER, Definition("mine", path, {}, "/x/a.ini"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image": "x", "imag": "y"}, "imag: unknown option; Picky takes image, volumes"),
        ({"volumes": "y"}, "image: this option is missing; Picky takes image, volumes"),
        ({"image": "x", "volumes": "bad"}, "volumes: 'bad' is no list of volumes"),
        ({"image": "x", "volumes": "odd"}, "cannot make a Picky: ValueError: odd volumes"),
    ],
)
def test_a_bad_option_is_told_with_file_and_section(options: dict[str, str], words: str) -> None:
    definition = Definition("mine", PICKY.class_path, options, "/x/a.ini")
    with pytest.raises(UserError, match=rf"^/x/a\.ini: \[mine\]:? {words}$"):
        build(Picky, definition)


def test_the_first_arguments_of_a_handler_are_no_options() -> None:
    check_options(ListTaskList, Definition("x", "y"), given=2)
    with pytest.raises(UserError, match="path: unknown option; ListTaskList takes no options"):
        check_options(ListTaskList, Definition("x", "y", {"path": "z"}), given=2)


def test_a_runner_of_ours_is_made_with_its_options() -> None:
    runner = make_runner(PICKY)
    assert isinstance(runner, Picky)
    assert runner.image == "x"


class Old:
    """A runner as PyTaskFarmer has them."""

    def __init__(self, flag: str = "") -> None: ...
    def run(self, taskid: int, command: str, logfh: object) -> int:
        raise AssertionError(f"only a process of its own runs task {taskid}: {command}, {logfh}")

    def terminate(self) -> None: ...


def test_a_runner_for_pytaskfarmer_gets_a_process_per_task() -> None:
    runner = make_runner(Definition("old", f"{__name__}.Old", {"flag": "é"}, "a.ini"))
    assert isinstance(runner, ForeignRunner)
    launch = runner.launch("a  b | c")
    assert launch.argv[-3:] == [f"{__name__}.Old", '{"flag": "\\u00e9"}', "a  b | c"]
    assert launch.patience > 0
    with pytest.raises(UserError, match="flags: unknown option; Old takes flag"):
        make_runner(Definition("old", f"{__name__}.Old", {"flags": "x"}, "a.ini"))


class Lines2:
    """A handler without anything but its items."""

    def __init__(self, path: str, workdir: str, bad: str = "") -> None:
        self._items = ["one", bad or "two"]
        self.place = (path, workdir)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, taskid: int) -> str:
        return self._items[taskid]


class Pairs:
    """A handler whose tasks are not texts, made from a file when it is made."""

    def __init__(self, path: str, workdir: str) -> None:
        self.tasks = [tuple(line.split(",")) for line in Path(path).read_text().split()]
        self.place = workdir

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, taskid: int) -> str:
        first, second = self.tasks[taskid]
        return f"{first} and {second}"


class Upper(Pairs):
    """A handler that computes its list."""

    def __init__(self, path: str, workdir: str) -> None:
        self._lines = Path(path).read_text().split()
        self.place = workdir

    @property
    def tasks(self) -> list[tuple[str, ...]]:  # type: ignore[override]
        return [tuple(line.upper().split(",")) for line in self._lines]


@pytest.mark.parametrize(("cls", "commands"), [(Pairs, ["a and 1", "b and 2"]), (Upper, ["A and 1", "B and 2"])])
def test_a_handler_for_pytaskfarmer_keeps_its_own_kind_of_tasks(tmp_path: Path, cls: type, commands: list[str]) -> None:
    path = write(tmp_path / "pairs", "a,1\n")
    handler = make_handler(Definition("x", f"{__name__}.{cls.__name__}"), str(path), "/a/work")
    handler.tasks = ListedLines(["grown", "later"])
    assert handler[0] == commands[0]
    write(path, "a,1\nb,2\n")
    assert [handler[0], handler[1]] == commands
    assert not handler.takes_lines
    with pytest.raises(IndexError):
        handler[2]


def test_any_class_with_items_is_a_handler() -> None:
    handler = make_handler(Definition("x", f"{__name__}.Lines2"), "/a/tasks", "/a/work")
    assert list(handler.tasks) == ["one", "two"]
    assert (handler.path, handler.takes_lines) == ("/a/tasks", False)
    with pytest.raises(UserError, match=r"/a/tasks: Lines2 makes task 1 'a\\nb'; a task is one line"):
        make_handler(Definition("x", f"{__name__}.Lines2", {"bad": "a\nb"}), "/a/tasks", "/a/work")


def test_a_user_without_home_and_name_has_the_ini_files_of_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.ini").touch()
    assert ini_files(RUNNER) == [tmp_path / "here.ini"]
