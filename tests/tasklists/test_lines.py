"""What a tasklist file means."""

import random
from pathlib import Path

import pytest

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.tasklists.lines import ListTaskList, TaskLines, read_task_lines


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


# -- long lists -----------------------------------------------------------------------------------


def write(folder: Path, data: bytes) -> Path:
    path = folder / "tasks"
    path.write_bytes(data)
    return path


def long_list(rng: random.Random) -> bytes:
    """Return a list of several chunks, some of which have lines that are no tasks."""
    ends = [b"\n", b"\n", b"\n", b"\r\n"]
    odd = [b"# comment", b"", b"  ", b" indented", b"blank at its end\t", "é".encode()]
    lines = [rng.choice(odd) if 20_000 < i < 30_000 and i % 5 == 0 else b"command %d" % i for i in range(60_000)]
    return b"".join(line + (rng.choice(ends) if i > 50_000 else b"\n") for i, line in enumerate(lines))


def test_a_long_list_is_read_as_a_short_one(tmp_path: Path) -> None:
    data = long_list(random.Random(5))
    expected = as_plain_farmers_count(data)
    tasks = read_task_lines(write(tmp_path, data))
    assert list(tasks) == expected
    assert tasks.raws(19_990, 31_000) == [text.encode() for text in expected[19_990:31_000]]
    whole = TaskLines(data.replace(b"\r\n", b"\n"))
    assert tasks.digest(len(tasks)) == whole.digest(len(expected))
    lines = data.decode().replace("\r\n", "\n").split("\n")
    for index in (0, 19_000, 21_111, 25_000, len(expected) - 1):
        assert lines[tasks.line_number(index) - 1].strip() == expected[index]
        assert tasks.line_number(index) == whole.line_number(index)


def test_directives_in_a_long_list_are_those_of_their_tasks(tmp_path: Path) -> None:
    lines = [f"command {i}" for i in range(60_000)]
    lines[45_000:45_000] = ["#TF retries=2", "# other", "#TF name=late"]
    tasks = read_task_lines(write(tmp_path, "\n".join(lines).encode()))
    assert [index for index, _ in tasks.directives] == [45_000]
    assert set(tasks.directives[0][1].split()) == {"retries=2", "name=late"}
    lines[59_000] = "#TF nonsense"
    with pytest.raises(UserError, match=":59001: "):
        read_task_lines(write(tmp_path, "\n".join(lines).encode()))


@pytest.mark.parametrize("how", ["in place", "cut", "gone"])
def test_who_edits_a_long_list_does_not_change_what_was_read(how: str, tmp_path: Path) -> None:
    path = write(tmp_path, b"".join(b"command with some words %d\n" % i for i in range(100_000)))
    tasks = ListTaskList(path, tmp_path)
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(b"another\n" * 300_000 if how == "in place" else b"")
    assert [tasks[i] for i in (0, 1, 50_000, 99_999)] == [f"command with some words {i}" for i in (0, 1, 50_000, 99_999)]
