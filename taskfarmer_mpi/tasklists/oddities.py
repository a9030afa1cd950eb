"""Lines that a shell runs, but not as their author may have meant them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from taskfarmer_mpi.common.wording import count_of
from taskfarmer_mpi.tasklists.lines import PART, Handler, Lines, ListTaskList

_BACKGROUND = re.compile(rb"(?<![&\\<>|])&[\s;)}]*(?:(?:(?:disown|exit|true)\b|:)[^&|]*)?(?:\s#.*)?\Z")
"""An ``&`` after which nothing comes that lasts: the ends of groups, ``disown``, ``exit 0``, a comment."""
_OTHER_TOOLS = {b"#DISBATCH": "disBatch", b"LAUNCHER_JID": "launcher", b":::": "GNU parallel"}
_SAMPLE = 100


def has_shell_lines(handler: Handler) -> bool:
    """Whether each line of the tasklist is a command as it stands."""
    return type(handler) is ListTaskList


def describe_background(lines: Lines) -> str | None:
    """Say how many lines end in ``&``, if any do: bash does not wait for what such a line starts."""
    return _describe(
        lines,
        b"&",
        _is_background,
        "in '&': such a task ends at once, and is finished whatever becomes of what it started; leave the '&' out",
        "ends",
    )


def say_background(handler: Handler, lines: Lines, place: str) -> str | None:
    """Return the same of a handler's list, with its place; None also where no shell runs them."""
    sentence = describe_background(lines) if has_shell_lines(handler) else None
    return sentence and f"{place}: {sentence}"


def describe_oddities(path: Path, lines: Lines) -> list[str]:
    """Return a sentence on each kind of lines that may be meant in another way."""
    found = [
        describe_background(lines),
        _describe(lines, b"\\", _is_continued, "in '\\': lines are not joined, each of them is a task", "ends"),
        _describe(lines, b"'\"", _has_open_quote, "a quote that is not closed", "has"),
        _describe(
            lines,
            b"#",
            lambda line: line.startswith(b"#"),
            "an indented comment: it is a task that does nothing",
            "is",
            "are",
        ),
        _describe_table(lines),
        *_describe_other_tools(path),
    ]
    return [sentence for sentence in found if sentence is not None]


def _describe(
    lines: Lines, signs: bytes, is_odd: Callable[[bytes], bool], what: str, verb: str, plural: str | None = None
) -> str | None:
    """Say how many lines are odd, which only those can be that have one of the `signs`."""
    odd = [index for index, line in _lines_with(signs, lines) if is_odd(line)]
    if not odd:
        return None
    verb = verb if len(odd) == 1 else plural or {"ends": "end", "has": "have"}[verb]
    return f"{count_of(len(odd), 'line')} (the first is task {odd[0]}) {verb} {what}"


def _lines_with(signs: bytes, lines: Lines) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that have one of some characters, and others beside them, with their indices."""
    for first in range(0, len(lines), PART):
        texts = lines.raws(first, first + PART)
        part = b"\n".join(texts)
        if any(sign in part for sign in signs):
            yield from enumerate(texts, first)


def _is_background(line: bytes) -> bool:
    found = _BACKGROUND.search(line)
    if found is None or b"#" not in line[: found.start()]:
        return found is not None
    import shlex

    words = shlex.shlex(line.decode("utf-8", "surrogateescape"), posix=True, punctuation_chars=True)
    try:
        return "&" in words  # else it is in a comment, or quoted
    except ValueError:
        return True  # a quote is open


def _is_continued(line: bytes) -> bool:
    return (len(line) - len(line.rstrip(b"\\"))) % 2 == 1


def _has_open_quote(line: bytes) -> bool:
    if (b"'" not in line and b'"' not in line) or b"$'" in line or b"<<" in line:
        return False
    try:
        import shlex

        shlex.split(line.decode("utf-8", "surrogateescape"), comments=True)
    except ValueError as error:
        return "quotation" in str(error)
    return False


def _describe_table(lines: Lines) -> str | None:
    """Say that the lines look like the rows of a table, each of which would fail as a command."""
    rows = [lines.raw(index) for index in range(min(len(lines), _SAMPLE))]
    for separator in (b",", b"\t"):
        counts = {row.count(separator) for row in rows}
        if len(rows) > 1 and len(counts) == 1 and all(separator in _first_word(row) for row in rows):
            return "these look like the rows of a table: such a list needs a handler (TableTaskList, option -t)"
    return None


def _first_word(row: bytes) -> bytes:
    return row.split(b" ", 1)[0]


def _describe_other_tools(path: Path) -> list[str]:
    data = path.read_bytes()
    return [
        f"{mark.decode()!r} is in it: a list for {tool} means more than its lines say to a shell"
        for mark, tool in _OTHER_TOOLS.items()
        if mark in data
    ]
