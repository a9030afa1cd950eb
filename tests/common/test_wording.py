"""Numbers, times, causes and foreign text as people read them."""

import pytest

from taskfarmer_mpi.common.causes import describe_cause
from taskfarmer_mpi.common.wording import count_of, last_lines, make_printable, say_duration, say_memory, say_rate, shorten


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 ms"),
        (0.00042, "0.42 ms"),
        (0.02, "20 ms"),
        (0.25, "0.25 s"),
        (0.999, "1 s"),
        (3.54, "3.5 s"),
        (9.99, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (724.0, "12 min 4 s"),
        (3599.6, "1 h"),
        (7500.0, "2 h 5 min"),
        (86400.0 * 2 + 3600 * 3, "2 d 3 h"),
        (86400.0 * 4000, "4,000 d"),
    ],
)
def test_a_duration_is_said_in_the_units_in_which_it_is_easy_to_read(seconds: float, words: str) -> None:
    assert say_duration(seconds) == words


@pytest.mark.parametrize(
    ("rate", "words"), [(1234.0, "1,234/s"), (8.724, "8.72/s"), (0.5, "30/min"), (0.001, "3.6/h"), (0.0001, "0.36/h")]
)
def test_a_rate_is_said_in_the_unit_in_which_it_is_easy_to_read(rate: float, words: str) -> None:
    assert say_rate(rate) == words


@pytest.mark.parametrize(
    ("code", "log", "words"),
    [
        (3, b"", "exit code 3"),
        (-9, b"", "killed by SIGKILL (out of memory?)"),
        (-200, b"", "killed by signal 200"),
        (139, b"", "exit code 139: SIGSEGV in a shell"),
        (255, b"", "exit code 255"),
        (126, b"", "exit code 126: cannot be executed"),
        (127, b"bash: nope: command not found\n", "exit code 127: command not found"),
        (
            126,
            b"taskfarmer_mpi: cannot make a command of 'x': KeyError: 1\n",
            "could not be started: cannot make a command of 'x': KeyError: 1",
        ),
        (127, b"taskfarmer_mpi: cannot start nope: No such file\nx", "could not be started: nope: No such file"),
        (None, b"", "not known"),
    ],
)
def test_a_cause_is_said_in_words(code: int | None, log: bytes, words: str) -> None:
    assert describe_cause(code, log) == words


@pytest.mark.parametrize(
    ("kib", "words"),
    [
        (0, "0 KiB"),
        (1023, "1,023 KiB"),
        (1024, "1 MiB"),
        (9800, "9.6 MiB"),
        (2**30, "1,024 GiB"),
        (2**20 * 3 + 200_000, "3.2 GiB"),
    ],
)
def test_memory_is_said_in_the_unit_in_which_it_is_easy_to_read(kib: int, words: str) -> None:
    assert say_memory(kib) == words


def test_what_a_terminal_would_obey_is_shown_instead() -> None:
    assert make_printable("a\x1b[2Jb\tc\n\x9b\u202eé") == "a\\x1b[2Jb c\\x0a\\x9b\N{REPLACEMENT CHARACTER}é"


def test_the_last_lines_of_a_log_are_whole_printable_and_short() -> None:
    log = b"first\n\n10 %\r20 %\r100 %\nbad \xff byte\n" + b"x" * 300 + b"\n\n"
    assert last_lines(log, 3, 20) == ["100 %", "bad \N{REPLACEMENT CHARACTER} byte", "x" * 19 + "…"]
    assert last_lines(log, 0) == []


def test_one_thing_is_not_plural() -> None:
    assert [count_of(1, "task"), count_of(0, "task"), count_of(1200, "task")] == ["1 task", "0 tasks", "1,200 tasks"]
    assert shorten("abc", 3) == "abc"
