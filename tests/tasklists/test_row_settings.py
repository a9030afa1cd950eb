"""Tables whose columns say what the tasks of their rows have."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.tasklists.table import TableTaskList


def _table(tmp_path: Path, *lines: str, command: str = "fit {mass}") -> TableTaskList:
    path = tmp_path / "points.csv"
    path.write_text("".join(f"{line}\n" for line in lines))
    return TableTaskList(path, tmp_path / "work", command)


def test_columns_say_what_tasks_have_and_go_before_lines(tmp_path: Path) -> None:
    table = _table(
        tmp_path, "mass,TF:cpus,TF:mem", "1,4,8G", "2,,", "#TF retries=2 cpus=3", "3,,1G", "4,2,", "#TF", "5,,", '"6",2,'
    )
    assert table.tasks.directives == (
        (0, "cpus=4 mem=8G"),
        (1, ""),
        (2, "retries=2 cpus=3 mem=1G"),
        (3, "retries=2 cpus=2"),
        (4, ""),
        (5, "cpus=2"),
    )
    assert [table[task] for task in range(2)] == ["fit 1", "fit 2"]


def test_a_table_without_such_columns_is_as_it_was(tmp_path: Path) -> None:
    table = _table(tmp_path, "mass,cpus,TFx", "1,4,a", "#TF name=b", "2,4,a")
    assert table.tasks.directives == ((1, "name=b"),)
    assert list(table.costs) == []
    assert table.settings_of(((1, "name=c"),), [b"3,4,b", b"4,4,b"]) == ((1, "name=c"),)


def test_rows_that_are_added_bring_theirs(tmp_path: Path) -> None:
    table = _table(tmp_path, "mass,TF:timeout,TF:name", "1,4,a")
    assert table.settings_of(((1, "retries=1"),), [b"2,5,b", b"3,,", b"4,,"]) == ((0, "timeout=5 name=b"), (1, "retries=1"))
    with pytest.raises(UserError, match="'9,soon,b': TF:timeout: 'soon' is not a time in seconds"):
        table.settings_of((), [b"9,soon,b"])
    assert list(table.costs) == []


def test_a_column_says_what_tasks_are_expected_to_last(tmp_path: Path) -> None:
    table = _table(tmp_path, "mass,TF:cost", "1,30", "2,", "3,7.5")
    assert [str(cost) for cost in table.costs] == ["30.0", "nan", "7.5"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["mass,TF:colour", "1,red"], r":1: column TF:colour: allowed: TF:timeout, .*TF:cpus, .*TF:cost"),
        (["mass,TF:cpus", "1,2", "2,0"], r":3: TF:cpus: '0' is not a number of CPUs: 1 or more; allowed: timeout=SECONDS"),
        (["mass,TF:name", "1,a b"], r":2: TF:name: 'a b' is not a name"),
        (["mass,TF:cost", "1,-1"], r":2: TF:cost: '-1' is not a time in seconds: 0 or more"),
        (["mass,TF:cpus,TF:cpus", "1,1,1"], r":1: two columns are named 'TF:cpus'"),
    ],
)
def test_what_means_nothing_is_said_with_its_line(tmp_path: Path, lines: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        _table(tmp_path, *lines)


def test_no_field_of_a_command_can_be_meant(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no field"):
        _table(tmp_path, "mass,TF:cpus", "1,2", command="fit {mass} {TF:cpus}")
