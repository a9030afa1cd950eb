"""Tables whose rows fill a command."""

from __future__ import annotations

import csv
import io
import random
import shlex
import subprocess
import tracemalloc
from pathlib import Path

import pytest

from taskfarmer_mpi.errors import OptionError, UserError
from taskfarmer_mpi.tasklists.lines import TaskLines
from taskfarmer_mpi.tasklists.table import TableTaskList


def table(tmp_path: Path, data: str | bytes, command: str, name: str = "jobs.csv", **options: str) -> TableTaskList:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return TableTaskList(path, tmp_path / "work", command=command, **options)


def commands(handler: TableTaskList) -> list[str]:
    return [handler[i] for i in range(len(handler))]


def test_each_row_is_a_task(tmp_path: Path) -> None:
    handler = table(tmp_path, "mass,seed\n100,1\n200,2\n", "sim --mass {mass} --seed={seed} {mass}.out")
    assert commands(handler) == ["sim --mass 100 --seed=1 100.out", "sim --mass 200 --seed=2 200.out"]
    assert list(handler.tasks) == ["100,1", "200,2"]
    assert not (tmp_path / "work").exists()


def test_lines_count_as_in_every_tasklist_and_the_first_one_is_the_header(tmp_path: Path) -> None:
    data = "# jobs\n\n  mass , name\r\n# more\n100, a b\n   \n # x, 2\n"
    handler = table(tmp_path, data, "sim {mass} {name}")
    assert commands(handler) == ["sim 100 'a b'", "sim '# x' 2"]
    assert list(handler.tasks) == ["100, a b", "# x, 2"]


@pytest.mark.parametrize(
    "value",
    [
        "a b",
        "it's",
        '"',
        "$HOME",
        "`x`",
        "; rm x",
        "&& y",
        "*",
        "-x",
        "",
        "#",
        "{mass}",
        "100%",
        "é ü",
        "\\",
        "a,b",
        "~",
        "\udcff",
    ],
)
def test_a_value_reaches_the_program_as_it_is(tmp_path: Path, value: str) -> None:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([["name", "other"], [value, "x"]])
    handler = table(tmp_path, text.getvalue().encode("utf-8", "surrogateescape"), "printf %s {name} ''")
    result = subprocess.run(
        ["/bin/bash", "-c", handler[0].encode("utf-8", "surrogateescape")], capture_output=True, check=True
    )
    assert result.stdout == value.encode("utf-8", "surrogateescape")


def test_raw_values_and_braces_stand_as_they_are(tmp_path: Path) -> None:
    handler = table(tmp_path, "options,n\n--a 1 --b,2\n", "x {options:raw} ${{HOME}} | awk '{{print $1}}' > 100%{n}%s")
    assert handler[0] == "x --a 1 --b ${HOME} | awk '{print $1}' > 100%2%s"


@pytest.mark.parametrize(
    ("name", "data", "options"),
    [
        ("jobs.tsv", "a\tb c\n1,5\tx\n", {}),
        ("jobs.TSV", "a\tb c\n1,5\tx\n", {}),
        ("jobs.tab", "a\tb c\n1,5\tx\n", {}),
        ("jobs", "a\tb c\n1,5\tx\n", {}),
        ("jobs", 'a,b c\n"1,5",x\n', {}),
        ("jobs.csv", "a;b c\n1,5;x\n", {"delimiter": ";"}),
        ("jobs.csv", "a;b c\n1,5;x\n", {"delimiter": "semicolon"}),
        ("jobs.csv", "a\tb c\n1,5\tx\n", {"delimiter": "tab"}),
        ("jobs.tsv", "a§b c\n1,5§x\n", {"delimiter": "§"}),
        ("jobs", 'a "b c"\n1,5   x\n', {"delimiter": "blank"}),
    ],
)
def test_the_delimiter_is_that_of_the_file(tmp_path: Path, name: str, data: str, options: dict[str, str]) -> None:
    assert commands(table(tmp_path, data, "run {a} {b c}", name, **options)) == ["run 1,5 x"]


def test_random_tables_mean_what_the_csv_module_says(tmp_path: Path) -> None:
    rng = random.Random(5)
    for _ in range(300):
        rows = [["".join(rng.choices("ab ,\"'x%{", k=rng.randrange(5))).strip() for _ in range(3)] for _ in range(4)]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([["p", "q", "r"], *rows])
        handler = table(tmp_path, text.getvalue(), "run {r} {p} {q}")
        assert [shlex.split(command)[1:] for command in commands(handler)] == [[r, p, q] for p, q, r in rows]


def test_a_mark_of_the_encoding_is_no_part_of_the_header(tmp_path: Path) -> None:
    assert commands(table(tmp_path, b"\xef\xbb\xbfa,b\n1,2\n", "x {a}")) == ["x 1"]


def test_columns_without_a_name_or_a_field_do_no_harm(tmp_path: Path) -> None:
    assert commands(table(tmp_path, ",a,,b\n0,1,2,3\n", "x {b}")) == ["x 3"]


def test_a_task_is_made_of_its_row_alone(tmp_path: Path) -> None:
    handler = table(tmp_path, "a,b\n1,2\n", "x {b}")
    handler.tasks = TaskLines(b"1,2\n3,4\n5\n")
    assert (len(handler), handler[1]) == (3, "x 4")
    with pytest.raises(UserError, match=r"jobs.csv: task 2: the row has 1 column, the header 2$"):
        handler[2]
    assert handler.takes_lines


@pytest.mark.parametrize(
    ("data", "command", "message"),
    [
        ("", "x {a}", ": no header; the first line of a table names its columns"),
        ("# a\n\n", "x {a}", ": no header"),
        ("\na,b\n1,2\n", "x {c}", ":2: nothing is named 'c', a field of the command; known: a, b"),
        ("a,b\n1,2\n", "x $HOME ${HOME}", ":1: nothing is named 'HOME'"),
        ("#\na,b,a\n1,2,3\n", "x {b}", ":2: two columns are named 'a'"),
        ('a,"b\n1,2\n', "x {a}", ":1: a quote is not closed on its line"),
        ("a,b\n1,2\n\n3\n", "x {a}", ":4: the row has 1 column, the header 2"),
        ("a,b\n1,2\n3,4,5\n", "x {a}", ":3: the row has 3 columns, the header 2"),
        ('a,b\n1,"2\n3"\n', "x {a}", ":2: a quote is not closed on its line; a value cannot go on to the next one"),
        ('a,b\n1,"2"3\n', "x {a}", ":2: ',' expected after '\"'"),
        ('a,b\n"1,2",3\n"4,5"\n', "x {a}", ":3: the row has 1 column, the header 2"),
        (f"a,b\n1,2\n{'x' * 140_000},4\n", "x {a}", ":3: field larger than field limit"),
    ],
)
def test_a_table_in_error_is_named_with_its_line(tmp_path: Path, data: str, command: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        table(tmp_path, data, command)
    assert str(caught.value).startswith(f"{tmp_path}/jobs.csv{message}")


def test_an_empty_value_at_the_end_of_a_row_needs_quotes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'jobs\.tsv:3: the row has 1 column, the header 2; write "" for an empty value'):
        table(tmp_path, "a\tb\n1\t2\n3\t\n", "x {a} {b}", "jobs.tsv")
    assert commands(table(tmp_path, 'a\tb\n3\t""\n', "x {a} {b}", "jobs.tsv")) == ["x 3 ''"]
    assert commands(table(tmp_path, "a,b\n3,\n", "x {a} {b}")) == ["x 3 ''"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"command": "x {a"}, "command: expected '}' before end of string"),
        ({"command": "x }"}, "command: Single '}' encountered in format string"),
        ({"command": "x {}"}, "command: {} is no field"),
        ({"command": "x {a!r}"}, "command: {a!r} is no field"),
        ({"command": "x {a:>5}"}, "command: {a:>5} is no field; write {name} or {name:raw}, and {{ for a brace"),
        ({"command": "x"}, "command: has no field like {name}"),
        ({"command": " "}, "command: is empty"),
        ({"command": "x {a}\ny {a}"}, "command: has more than one line"),
        ({"command": "{a}", "delimiter": "||"}, "delimiter: '||' is neither one character nor one of tab, comma"),
        ({"command": "{a}", "delimiter": '"'}, "delimiter: '\"' is neither one character"),
    ],
)
def test_an_option_with_a_bad_value_is_named(tmp_path: Path, options: dict[str, str], message: str) -> None:
    (tmp_path / "t").write_text("a,b\n1,2\n")
    with pytest.raises(OptionError) as caught:
        TableTaskList(tmp_path / "t", tmp_path, **options)
    assert str(caught.value).startswith(message)


def test_a_long_table_costs_its_text_and_no_commands(tmp_path: Path) -> None:
    data = "a,b\n" + "".join(f"{i},x\n" for i in range(50_000))
    tracemalloc.start()
    handler = table(tmp_path, data, "echo {a} " + "x" * 1000)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(handler) == 50_000
    assert handler[49_999].startswith("echo 49999 xxx")
    assert size < 5_000_000  # the commands would be 50 MB
