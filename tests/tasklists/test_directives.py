"""`#TF` lines of tasklists: they are comments for IDs, and say something about the tasks after them."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.tasklists.directives import cut_directives
from taskfarmer_mpi.tasklists.lines import ListTaskList, read_task_lines
from taskfarmer_mpi.tasklists.table import TableTaskList
from taskfarmer_mpi.tasklists.template import TemplateTaskList


def _write(tmp_path: Path, text: str, name: str = "tasks") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_directives_are_comments_for_ids_and_hold_for_the_lines_after_them(tmp_path: Path, end: str) -> None:
    lines = ["a", "#TF retries=2", "b", "# no", "", "#TF timeout=5", "#TF  name=x", "c", "d", "#TF", "e", "#TF name=last"]
    tasks = ListTaskList(_write(tmp_path, end.join(lines) + end), tmp_path).tasks
    assert list(tasks) == ["a", "b", "c", "d", "e"]
    assert tasks.directives == ((1, "retries=2"), (2, "timeout=5 retries=2 name=x"), (4, ""), (5, "name=last"))
    whole = [(1, 1, "retries=2"), (2, 3, "timeout=5 retries=2 name=x")]
    assert cut_directives(tasks.directives, 0, 5) == whole
    assert cut_directives(tasks.directives, 3, 7) == [(3, 3, whole[1][2]), (5, 6, "name=last")]
    assert cut_directives((), 0, 5) == []


@pytest.mark.parametrize(
    "comment", ["#TFx", "# TF retries", "#tf is not retries=2", "##TF retries=2", "# TF barrier island", "a #TF retries=2"]
)
def test_other_comments_stay_comments(tmp_path: Path, comment: str) -> None:
    assert read_task_lines(_write(tmp_path, f"{comment}\na\n")).directives == ()


def test_rows_of_a_table_have_them_as_lines_do(tmp_path: Path) -> None:
    path = _write(tmp_path, "#TF name=all\nx,y\n1,2\n#TF retries=3\n3,4\n", "points.csv")
    table = TableTaskList(path, tmp_path, command="echo {x} {y}")
    assert cut_directives(table.tasks.directives, 0, 2) == [(0, 0, "name=all"), (1, 1, "retries=3 name=all")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n\n#TF colour=red\nb\n", ":3: #TF colour=red: no such word; allowed: timeout=SECONDS, "),
        ("\ufeff#TF retries=2\nb\n", ":1: #TF after a byte order mark"),
        ("a\n#TFcpus=2\nb\n", ":2: '#TFcpus=2' looks like a #TF line, which begins with '#TF ' in the first column"),
        ("  #TF mem = 4G\nb\n", ":1: '#TF mem = 4G' looks like"),
        ("# tf Name=x\nb\n", ":1: '# tf Name=x' looks like"),
        ("a\n# TF barrier  check \nb\n", ":2: '# TF barrier  check' looks like"),
    ],
)
def test_what_means_nothing_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(UserError) as refusal:
        ListTaskList(path, tmp_path)
    assert str(refusal.value).startswith(f"{path}{said}")


def test_a_file_whose_lines_are_no_tasks_can_have_none(tmp_path: Path) -> None:
    path = _write(tmp_path, "command = echo {x}\n#TF retries=2\nx = 1..3\n")
    with pytest.raises(UserError, match=r":2: #TF: the lines of this file are no tasks"):
        TemplateTaskList(path, tmp_path)
