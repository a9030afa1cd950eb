"""Templates: a command, and values for its fields."""

from __future__ import annotations

import itertools
import re
import subprocess
from pathlib import Path

import pytest

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.runners.shell import ExecRunner
from taskfarmer_mpi.tasklists.template import TemplateTaskList
from taskfarmer_mpi.tasklists.value_lists import parse_values


def template(tmp_path: Path, text: str) -> TemplateTaskList:
    path = tmp_path / "scan"
    path.write_text(text)
    return TemplateTaskList(path, tmp_path / "work")


def test_the_tasks_are_all_combinations_and_the_last_field_changes_fastest(tmp_path: Path) -> None:
    text = "# a scan\ncommand = sim --mass {mass} --seed {seed} -o {mass}.{seed}\n\nmass = 100 200\nseed = 1..3\n"
    handler = template(tmp_path, text)
    expected = [f"sim --mass {mass} --seed {seed} -o {mass}.{seed}" for mass in (100, 200) for seed in (1, 2, 3)]
    assert [handler[i] for i in range(len(handler))] == expected
    assert list(handler.tasks) == expected
    assert handler.tasks[-1] == expected[-1]
    assert handler.tasks[1:3] == expected[1:3]
    assert not (tmp_path / "work").exists()
    assert not handler.takes_lines


def test_the_order_of_the_fields_is_that_of_their_lines(tmp_path: Path) -> None:
    handler = template(tmp_path, "b = x y\nc = 1 2\ncommand = run {c} {a} {b}\na = p q\n")
    assert list(handler.tasks) == [f"run {c} {a} {b}" for b, c, a in itertools.product("xy", "12", "pq")]


def test_a_template_without_fields_is_one_task(tmp_path: Path) -> None:
    assert list(template(tmp_path, "command = make all\n").tasks) == ["make all"]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a", ["a"]),
        ("a  b\tc", ["a", "b", "c"]),
        ("\"a b\" 'c \"d' \"it's\" ''", ["a b", 'c "d', "it's", ""]),
        ("1..4", ["1", "2", "3", "4"]),
        ("3..1", ["3", "2", "1"]),
        ("5..5", ["5"]),
        ("0..10..4", ["0", "4", "8"]),
        ("10..1..-4", ["10", "6", "2"]),
        ("-2..2", ["-2", "-1", "0", "1", "2"]),
        ("+1..+2", ["1", "2"]),
        ("08..10", ["08", "09", "10"]),
        ("1..010..3", ["001", "004", "007", "010"]),
        ("-01..1", ["-01", "000", "001"]),
        ("0.0..1.0..0.25", ["0.00", "0.25", "0.50", "0.75", "1.00"]),
        ("0..0.3..0.1", ["0.0", "0.1", "0.2", "0.3"]),
        ("-0.5..0.5..0.5", ["-0.5", "0.0", "0.5"]),
        ("1.0..0.8..-0.1", ["1.0", "0.9", "0.8"]),
        ("00.5..10.0..5", ["00.5", "05.5"]),
        ("9007199254740993..9007199254740994", ["9007199254740993", "9007199254740994"]),
        ("1e-3 .5 ../x x..y a/1..2/b 1/..", ["1e-3", ".5", "../x", "x..y", "a/1..2/b", "1/.."]),
        ("'1..3' \"2..4\"", ["1..3", "2..4"]),
        ("a 1..2 b 3..4 c", ["a", "1", "2", "b", "3", "4", "c"]),
    ],
)
def test_values_are_words_and_ranges(text: str, values: list[str]) -> None:
    parsed = parse_values(text)
    assert list(parsed) == values
    assert len(parsed) == len(values)
    assert parsed[-1] == values[-1]
    assert parsed[::2] == values[::2]


def test_a_range_of_decimals_is_exact_to_its_end() -> None:
    values = parse_values("0.0..1000.0..0.1")
    assert len(values) == 10_001
    assert (values[1], values[3], values[9_999], values[10_000]) == ("0.1", "0.3", "999.9", "1000.0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1..", "1.. is no range like 1..10 or 0.0..1.0..0.1; put it in quotes if it is meant as it stands"),
        ("1..b", "1..b is no range"),
        ("1..2..3..4", "1..2..3..4 is no range"),
        ("1...5", "1...5 is no range"),
        ("1..10..0", "1..10..0 never gets from its first number to its last one"),
        ("1..10..-1", "1..10..-1 never gets"),
        ("10..1..1", "10..1..1 never gets"),
        ("0.5..1.5", "0.5..1.5 needs a step: 0.5..1.5..0.1, for example"),
        ("a'b'", "quotes must be around a whole value: a'b'"),
        ("x 'b", "quotes must be around a whole value: 'b"),
        ("'a'b", "quotes must be around a whole value: 'a'b"),
    ],
)
def test_values_in_error_say_why(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"range|step|never|quotes") as caught:
        parse_values(text)
    assert str(caught.value).startswith(message)


def test_values_are_quoted_for_the_shell(tmp_path: Path) -> None:
    handler = template(tmp_path, "command = printf '%s|' {a} {b:raw} 100%{{}}\na = \"it's\" '$HOME' ''\nb = '1 2'\n")
    ran = [
        subprocess.run(["/bin/bash", "-c", task], capture_output=True, text=True, check=True).stdout
        for task in handler.tasks
    ]
    assert ran == ["it's|1|2|100%{}|", "$HOME|1|2|100%{}|", "|1|2|100%{}|"]


def test_simple_commands_are_run_by_plain_farmers_too(tmp_path: Path) -> None:
    handler = template(tmp_path, "command = sim --mass {mass}\nmass = 0.5..1.5..0.5\n")
    assert ExecRunner().launch(handler[2]).argv == ["sim", "--mass", "1.5"]


def test_a_text_is_one_stripped_line_that_is_not_blank(tmp_path: Path) -> None:
    handler = template(tmp_path, "command = {a:raw} {b:raw}\na = ' x' y\nb = 'z '\n")
    assert list(handler.tasks) == ["x z", "y z"]


def test_millions_of_combinations_are_made_only_when_they_are_asked_for(tmp_path: Path) -> None:
    handler = template(tmp_path, "command = x {a} {b} {c}\na = 1..100000\nb = 1..100\nc = 0.0..0.9..0.1\n")
    assert len(handler) == 100_000_000
    assert handler[0] == "x 1 1 0.0"
    assert handler[12_345_678] == "x 12346 68 0.8"
    assert handler[99_999_999] == "x 100000 100 0.9"
    with pytest.raises(IndexError):
        handler[100_000_000]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": no command; a line is `command = ...` or `name = values`"),
        ("a = 1\n", ": no command"),
        ("\ncommand x\n", ":2: 'command x': a line is `command = ...` or `name = values`"),
        ("1a = 2\n", ":1: '1a = 2': a line is"),
        ("command = x {a}\n\na =\n", ":3: a has no value"),
        ("command =\n", ":1: command has no value"),
        ("command = x {a}\na = 1\n#\na = 2\n", ":4: a was defined in line 2 already"),
        ("a = 1\ncommand = x {a} {b}\n", ":2: nothing is named 'b', a field of the command; known: a"),
        ("command = x {a}\na = 1\nb = 1\n", ":3: the command has no field {b}"),
        ("command = x {a\na = 1\n", ":1: expected '}' before end of string"),
        ("command = x {}\n", ":1: {} is no field"),
        ("command = x {a}\na = 1..b\n", ":2: 1..b is no range"),
        ("command = {a:raw}\na = b ' '\n", ":2: a blank value for {a:raw}"),
        ("command = x {a} {b}\na = 1..100000\nb = 1..100000\n", ": 10000000000 combinations; a template can have 134217728"),
    ],
)
def test_a_template_in_error_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        template(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/scan{message}")


@pytest.mark.parametrize("braces", ["{print $1}", "{ print }", "{a b}"])
def test_braces_of_another_language_are_told_how_to_be_written(tmp_path: Path, braces: str) -> None:
    path = tmp_path / "t"
    path.write_text(f"command = awk '{braces}' {{x}}\nx = 1 2\n")
    with pytest.raises(UserError, match=re.escape(f"braces that are no field are doubled: {{{braces}}}")):
        TemplateTaskList(path, tmp_path)
