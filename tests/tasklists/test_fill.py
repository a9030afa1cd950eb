"""Commands that are filled by lines: as GNU parallel does it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from taskfarmer_mpi.errors import OptionError, UserError
from taskfarmer_mpi.tasklists.fill import FillTaskList, fill

VALUES = [
    "a.png",
    "dir/b.tar.gz",
    "/abs/dir.d/noending",
    "plain",
    ".hidden",
    "dir/.hidden",
    "end.",
    "two words.txt",
    'it\'s "quoted" $HOME `x` \\ *.txt',
    "semi;colon&pipe|",
    "a//b.c",
    "trail/",
    "/root",
    "~user/x.y",
    "-n",
    "{}",
    "{.}x",
    "ünïcode.ß",
    "!bang #hash",
]
PLACES = [
    "{}",
    "{.}",
    "{/}",
    "{//}",
    "{/.}",
    "{1}",
    "{1.}",
    "{1/}",
    "{1//}",
    "{1/.}",
    "{#}",
    "x{}y",
    "{.}.jpg {}",
    "${HOME} {}",
]


def shown(command: str) -> bytes:
    return subprocess.run(["/bin/bash", "-c", command], capture_output=True, check=True).stdout


@pytest.mark.parametrize("place", PLACES)
def test_each_place_is_filled_as_gnu_parallel_fills_it(place: str, tmp_path: Path) -> None:
    if shutil.which("parallel") is None:
        pytest.skip("GNU parallel is not installed")
    values = [value for value in VALUES if not (place.startswith("{1") and " " in value)]  # its columns are not ours
    command = f"printf '[%s]' {place}"
    (tmp_path / "list").write_text("".join(f"{value}\n" for value in values))
    parallel = ["parallel", "--will-cite", "-k", "-j1", "-a", str(tmp_path / "list"), command]
    theirs = subprocess.run(parallel, capture_output=True, check=True).stdout
    ours = b"".join(shown(fill(command, value, number)) for number, value in enumerate(values, 1))
    assert ours == theirs


@pytest.mark.parametrize("value", VALUES)
def test_a_line_is_one_word_of_the_command_whatever_it_holds(value: str, tmp_path: Path) -> None:
    (tmp_path / "list").write_text(f"{value}\n")
    handler = FillTaskList(tmp_path / "list", tmp_path, "printf '[%s]'")
    assert shown(handler[0]) == f"[{value}]".encode()


@pytest.mark.parametrize(
    ("line", "columns"), [("a b  c", ["a", "b", "c"]), ("a b\tc d\t", ["a b", "c d", ""]), ("x\t\ty", ["x", "", "y"])]
)
def test_columns_are_separated_by_tabs_or_else_by_white_space(line: str, columns: list[str]) -> None:
    assert shown(fill("printf '[%s]' {1} {2} {3}", line, 1)) == "".join(f"[{column}]" for column in columns).encode()


def test_other_braces_stay_as_they_are() -> None:
    assert fill("awk '{print $1}' {} ${x} {a,b} {0} {99999}", "f", 1) == "awk '{print $1}' f ${x} {a,b} {0} {99999}"


def test_a_line_with_too_few_columns_is_named_before_anything_starts(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("a b\n# none\nc\n")
    with pytest.raises(UserError, match=rf"{path}:3: the line has 1 column, and the command \{{2\}}"):
        FillTaskList(path, tmp_path, "echo {2}")


@pytest.mark.parametrize("command", ["", "  ", "a\nb", "a\0b"])
def test_what_is_no_command_is_refused(command: str, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("a\n")
    with pytest.raises(OptionError):
        FillTaskList(tmp_path / "list", tmp_path, command)
