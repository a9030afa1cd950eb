"""The stacks of tasks that farmers share."""

import errno
import fcntl
import os
import random
from pathlib import Path

import pytest
from fakes import take_tasks, unasked

from taskfarmer_mpi.errors import FarmError, ShortageError
from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.workdir.lists import append_tasks, encode_task, ids_in, parse_task
from taskfarmer_mpi.workdir.stack import open_stack


def text_of(task_id: int) -> str:
    return f"command {task_id}"


def is_known(task: Task) -> bool:
    return task.text == text_of(task.id)


def write(path: Path, ids: list[int]) -> None:
    path.write_bytes(b"".join(encode_task(Task(i, text_of(i))) for i in ids))


def take(path: Path, count: int) -> list[int]:
    return [task.id for task in take_tasks(path, count, is_known)]


def listed(path: Path) -> list[int]:
    return [int(line.split()[0]) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("text", ["a", "a  b", "1 2", "caf\udcff", "x" * 100_000, "\u2028"])
def test_a_line_survives_encoding_and_parsing(text: str) -> None:
    line = encode_task(Task(12, text))
    assert parse_task(line[:-1]) == Task(12, text)


@pytest.mark.parametrize("line", [b"", b"x 1", b"-1 a", b"1", b" 1 a", b"9" * 5000 + b" a"])
def test_a_line_of_another_form_is_no_task(line: bytes) -> None:
    assert parse_task(line) is None


def test_the_lowest_tasks_come_first(tmp_path: Path) -> None:
    path = tmp_path / "toprocess"
    write(path, list(range(9, -1, -1)))
    assert take(path, 3) == [0, 1, 2]
    assert take(path, 100) == [3, 4, 5, 6, 7, 8, 9]
    assert path.read_bytes() == b""
    assert take(path, 1) == []


def test_a_list_that_a_plain_farmer_rewrote_is_put_in_order(tmp_path: Path) -> None:
    path = tmp_path / "toprocess"
    write(path, list(range(10)))
    assert take(path, 2) == [0, 1]
    assert listed(path) == [9, 8, 7, 6, 5, 4, 3, 2]


def test_a_large_list_is_taken_from_its_end_whatever_its_order(tmp_path: Path) -> None:
    path = tmp_path / "toprocess"
    write(path, list(range(100_000)))
    size = path.stat().st_size
    assert take(path, 3) == [99_999, 99_998, 99_997]
    assert path.stat().st_size == size - 3 * len(encode_task(Task(99_999, text_of(99_999))))


def test_taking_reads_further_back_until_it_has_enough(tmp_path: Path) -> None:
    path = tmp_path / "toprocess"
    write(path, list(range(49_999, -1, -1)))
    assert take(path, 20_000) == list(range(20_000))
    assert take(path, 1) == [20_000]


def test_a_task_longer_than_a_block_is_taken_whole(tmp_path: Path) -> None:
    path = tmp_path / "toprocess"
    texts = {0: "x" * 200_000, 1: "short", 2: "y" * 150_000}
    path.write_bytes(b"".join(encode_task(Task(i, texts[i])) for i in (2, 1, 0)))
    for expected in range(3):
        taken = take_tasks(path, 1, lambda task: texts[task.id] == task.text)
        assert taken == [Task(expected, texts[expected])]


def test_the_number_of_tasks_is_told_for_short_lists(tmp_path: Path) -> None:
    path = tmp_path / "toprocess"
    write(path, list(range(99, -1, -1)))
    told = []
    with open_stack(path, is_known, unasked) as stack:
        stack.peek(lambda remaining: told.append(remaining) or 0, is_known)  # type: ignore[func-returns-value]
    assert told == [100]


@pytest.mark.parametrize("torn", [b"1", b"12 comm", b"12"])
def test_a_torn_last_line_is_cut_off_and_not_read_as_another_number(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "toprocess"
    write(path, [5, 4])
    with path.open("ab") as file:
        file.write(torn)
    assert take(path, 5) == [4, 5]


def test_appending_after_a_torn_line_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "finished"
    path.write_bytes(b"3 command 3\n1")
    append_tasks(path, [Task(7, "command 7")], unasked)
    assert path.read_bytes() == b"3 command 3\n7 command 7\n"


def test_a_file_that_is_one_torn_line_becomes_empty(tmp_path: Path) -> None:
    path = tmp_path / "finished"
    path.write_bytes(b"1" * 200_000)
    append_tasks(path, [Task(7, "a")], unasked)
    assert path.read_bytes() == b"7 a\n"


@pytest.mark.parametrize("line", [b"x\n", b"5 another text\n"])
def test_garbage_on_top_is_an_error_and_stays(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "toprocess"
    path.write_bytes(b"6 command 6\n" + line)
    with pytest.raises(FarmError, match="toprocess"):
        take(path, 2)
    assert path.read_bytes() == b"6 command 6\n" + line


def test_a_link_in_place_of_a_list_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "finished").symlink_to(victim)
    with pytest.raises(FarmError):
        append_tasks(tmp_path / "finished", [Task(1, "a")], unasked)
    assert victim.read_bytes() == b"precious"


def test_any_mixture_of_taking_and_giving_back_keeps_every_task(tmp_path: Path) -> None:
    rng = random.Random(3)
    path = tmp_path / "toprocess"
    write(path, list(range(299, -1, -1)))
    held: list[int] = []
    for _ in range(400):
        if held and rng.random() < 0.5:
            rng.shuffle(held)
            back = [held.pop() for _ in range(rng.randint(1, len(held)))]
            append_tasks(path, [Task(i, text_of(i)) for i in back], unasked)
        else:
            held += take(path, rng.randrange(40))
        if rng.random() < 0.1:
            write(path, sorted(listed(path)))  # a plain farmer's turn
        assert sorted(held + listed(path)) == list(range(300))


def test_ids_are_found_in_whole_lines_only() -> None:
    assert list(ids_in(b"1 a\n22 1 b\nx 5\n3 c\n4 d")) == [1, 22, 3]


@pytest.mark.parametrize("length", [0, 1, 7, 70_000, 200_000])
def test_ids_are_found_wherever_lines_lie_in_blocks(length: int) -> None:
    lines = [f"{i} {'x' * (i * 37 % 101)}\n" for i in range(5000)]
    lines[2500] = f"2500 {'8 9 ' * (length // 4)}{'y' * length}\n"
    assert list(ids_in("".join(lines).encode() + b"5000 torn")) == list(range(5000))


class LostError(Exception):
    """The work lock was lost."""


def _lose() -> None:
    raise LostError


def test_a_list_is_not_changed_once_the_work_lock_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "toprocess"
    path.write_bytes(encode_task(Task(2, text_of(2))) + b"1 torn")
    with pytest.raises(LostError):
        append_tasks(path, [Task(7, "a")], _lose)
    with pytest.raises(LostError):
        open_stack(path, is_known, _lose).__enter__()
    assert path.read_bytes() == encode_task(Task(2, text_of(2))) + b"1 torn"


def test_a_list_is_locked_before_the_work_lock_is_confirmed_and_written_after_that(tmp_path: Path) -> None:
    path = tmp_path / "finished"
    write(path, [1])
    seen = []

    def confirm() -> None:
        with path.open("r+b") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        seen.append(path.read_bytes())

    append_tasks(path, [Task(7, "a")], confirm)
    assert seen == [b"1 command 1\n"]
    assert path.read_bytes() == b"1 command 1\n7 a\n"


def test_a_list_that_another_process_writes_to_is_tried_again_later(tmp_path: Path) -> None:
    path = tmp_path / "finished"
    write(path, [1])
    with path.open("r+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ShortageError):
            append_tasks(path, [Task(7, "a")], unasked)
    assert listed(path) == [1]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, 524])
def test_where_the_lists_file_system_has_no_locks_the_work_lock_has_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    append_tasks(tmp_path / "finished", [Task(7, "a")], unasked)
    assert listed(tmp_path / "finished") == [7]


def test_an_append_that_cannot_be_undone_is_left_to_recovery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "lost")

    monkeypatch.setattr(os, "fdatasync", refuse)
    monkeypatch.setattr(os, "ftruncate", refuse)
    with pytest.raises(FarmError, match="not known") as caught:
        append_tasks(tmp_path / "finished", [Task(7, "a")], unasked)
    assert not isinstance(caught.value, ShortageError)  # which would be tried again, and could write the lines twice
