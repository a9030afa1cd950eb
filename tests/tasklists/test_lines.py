"""What a tasklist file means."""

import random
from pathlib import Path

import pytest

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.tasklists.lines import ListTaskList


def tasks_of(tmp_path: Path, data: bytes) -> list[str]:
    path = tmp_path / "tasks"
    path.write_bytes(data)
    tasklist = ListTaskList(path, tmp_path / "work")
    assert [tasklist[i] for i in range(len(tasklist))] == [text.removeprefix("\ufeff") for text in tasklist.tasks]
    return list(tasklist.tasks)


def as_plain_farmers_count(data: bytes) -> list[str]:
    """Return the tasks by the rule as it is written down: universal newlines, `#` in column 0, blank after strip."""
    text = data.decode("utf-8", "surrogateescape").replace("\r\n", "\n").replace("\r", "\n")
    return [line.strip() for line in text.split("\n") if not line.startswith("#") and line.strip()]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\n\n", []),
        (b"a\nb", ["a", "b"]),
        (b"a\r\nb\rc\n", ["a", "b", "c"]),
        (b"# no\n  # yes\n", ["# yes"]),
        (b"#no", []),
        (b"  a b \t\n", ["a b"]),
        (b"a\na\n", ["a", "a"]),
        ("\u00a0é\u2003\n".encode(), ["é"]),
        (b"\x1c\n\x85\nx\x1f\n", ["\udc85", "x"]),
        (b"caf\xff\n", ["caf\udcff"]),
        (b"\xef\xbb\xbfa\n", ["\ufeffa"]),
        (b"\xef\xbb\xbf#a\n", ["\ufeff#a"]),
        ("a\u2028b\x0bc\n".encode(), ["a\u2028b\x0bc"]),
    ],
)
def test_lines_become_tasks_as_plain_farmers_count_them(tmp_path: Path, data: bytes, expected: list[str]) -> None:
    assert tasks_of(tmp_path, data) == expected


def test_random_text_becomes_the_tasks_of_the_written_rule(tmp_path: Path) -> None:
    rng = random.Random(7)
    pieces = [b"a", b"#", b" ", b"\t", b"\n", b"\r", b"\r\n", b"\xff", "é".encode(), "\u3000".encode(), b"\x1d", b"0 x"]
    for _ in range(2000):
        data = b"".join(rng.choices(pieces, k=rng.randrange(12)))
        assert tasks_of(tmp_path, data) == as_plain_farmers_count(data), data


def test_the_bytes_of_a_task_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tasks"
    path.write_bytes(b" x\xfey \n")
    assert ListTaskList(path, tmp_path).tasks.raw(0) == b"x\xfey"


def test_a_digest_covers_the_first_tasks_only(tmp_path: Path) -> None:
    def digest(data: bytes, count: int) -> str:
        path = tmp_path / "tasks"
        path.write_bytes(data)
        return ListTaskList(path, tmp_path).tasks.digest(count)

    assert digest(b"a\nb\n", 2) == digest(b"#x\n a\nb\nc\n", 2)
    assert digest(b"a\nb\n", 2) != digest(b"a\nc\n", 2)
    assert digest(b"ab\n", 1) != digest(b"a\nb\n", 2)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a\nb\0c\n", ":2: a NUL byte"),
        ("a\n".encode("utf-16"), "UTF-16"),
        ("a\n".encode("utf-32"), "UTF-32"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(UserError, match=words):
        tasks_of(tmp_path, data)


def test_a_directory_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Is a directory"):
        ListTaskList(tmp_path, tmp_path)
    with pytest.raises(UserError, match="No such file"):
        ListTaskList(tmp_path / "none", tmp_path)
