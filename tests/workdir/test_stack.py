"""Tasks that are taken from below others: what stays on the stack, and where."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import ids_in

from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.workdir import stack as stacks
from taskfarmer_mpi.workdir.stack import Top, open_stack


def _confirm() -> None:
    pass


def _pick(path: Path, wanted: int, odd: bool | None) -> Top:
    """Take tasks with even IDs; `odd` is the verdict on the others."""
    with open_stack(path, lambda _: True, _confirm) as stack:
        top = stack.pick(lambda _: wanted, lambda _: True, lambda task: True if task % 2 == 0 else odd)
        if top.tasks:
            stack.cut(top)
        return top


def _stack(tmp_path: Path, count: int) -> Path:
    path = tmp_path / "toprocess"
    path.write_text("".join(f"{task} task {task}\n" for task in range(count - 1, -1, -1)))
    return path


def test_tasks_that_may_not_be_taken_stay_where_they_are(tmp_path: Path) -> None:
    path = _stack(tmp_path, 8)
    top = _pick(path, 3, False)
    assert [task.id for task in top.tasks] == [0, 2, 4]
    assert path.read_text() == "7 task 7\n6 task 6\n5 task 5\n3 task 3\n1 task 1\n"
    assert not top.is_last
    assert [task.id for task in _pick(path, 9, False).tasks] == [6]
    assert ids_in(path) == [7, 5, 3, 1]
    top = _pick(path, 9, False)
    assert top.tasks == []
    assert not top.is_last
    assert ids_in(path) == [7, 5, 3, 1]


def test_what_needs_no_search_is_cut_off_in_place(tmp_path: Path) -> None:
    path = _stack(tmp_path, 3)
    inode = path.stat().st_ino
    assert [task.id for task in _pick(path, 1, False).tasks] == [0]
    assert (ids_in(path), path.stat().st_ino) == ([2, 1], inode)


def test_a_verdict_can_end_the_search(tmp_path: Path) -> None:
    path = _stack(tmp_path, 5)
    assert [task.id for task in _pick(path, 5, None).tasks] == [0]
    assert ids_in(path) == [4, 3, 2, 1]


@pytest.mark.parametrize("depth", [10, 10_000])
def test_the_search_goes_on_before_the_last_block_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: int
) -> None:
    monkeypatch.setattr(stacks, "_BLOCK", 64)
    monkeypatch.setattr(stacks, "_DEPTH", depth)
    path = tmp_path / "toprocess"
    tasks = [Task(2 * number + 1, f"task {number}") for number in range(200, 0, -1)]
    path.write_text("1000 the first\n" + "".join(f"{task.id} {task.text}\n" for task in tasks))
    top = _pick(path, 1, False)
    assert [task.id for task in top.tasks] == ([1000] if depth > 200 else [])
    assert ids_in(path) == [1000] * (depth < 200) + [task.id for task in tasks]
