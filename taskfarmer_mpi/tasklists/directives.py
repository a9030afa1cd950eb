"""Lines of a tasklist that begin with `#TF`: what the tasks after them have. For plain farmers they are comments."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.policies.settings import ALLOWED, WORDS, change_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.policies.rules import Rules

Directive = tuple[int, str]
"""The index of a task, and what the tasks from there on have, in the form of `change_settings`."""

_MARK = re.compile(rb"#[ \t]*TF", re.IGNORECASE)
_LINE = re.compile(rb"(\xef\xbb\xbf)?#TF(?![^ \t\n])([^\n]*)")
_NEAR = re.compile(
    rb"[ \t]*#[ \t]*TF[ \t]*((%s)[ \t]*=|barrier([ \t]+check)?[ \t]*$)[^\n]*" % "|".join(WORDS).encode(),
    re.IGNORECASE | re.MULTILINE,
)
"""What looks like one of these lines, and is none: without the blank, in small letters, or not in the first column."""


class DirectiveFinder:
    """Finds the directives of a tasklist, which is looked at in chunks of whole lines."""

    def __init__(self, path: Path, *, are_allowed: bool = True) -> None:
        """Begin.

        Parameters
        ----------
        path
            The tasklist.
        are_allowed
            Whether its lines are tasks.
        """
        self._path, self._are_allowed = path, are_allowed
        self._found: list[Directive] = []
        self._held = ""

    @property
    def found(self) -> tuple[Directive, ...]:
        """What was found, in the order of the tasks."""
        return tuple(self._found)

    def look(self, data: bytes, starts: Sequence[int], *, first: int, lines: int) -> None:
        """Look at a chunk.

        Parameters
        ----------
        data
            The chunk, with newlines at the ends of lines.
        starts
            Where the text of each task begins in it.
        first, lines
            How many tasks, and how many lines, are before it.

        Raises
        ------
        UserError
            If a directive means nothing.
        """
        for match in _lines_of(data):
            try:
                self._change(match)
            except UserError as error:
                line = lines + data.count(b"\n", 0, match.start()) + 1
                allowed = f"; allowed: {ALLOWED}" if self._are_allowed and match.re is _LINE and not match[1] else ""
                raise UserError(f"{self._path}:{line}: {error}{allowed}") from error
            index = first + bisect_left(starts, match.start())
            if self._found and self._found[-1][0] == index:
                self._found.pop()
            self._found.append((index, self._held))

    def _change(self, match: re.Match[bytes]) -> None:
        if match.re is _NEAR:
            raise UserError(f"{_shown(match[0])} looks like a #TF line, which begins with '#TF ' in the first column")
        if match[1]:
            raise UserError("#TF after a byte order mark is no comment for plain farmers; take the mark off")
        if not self._are_allowed:
            raise UserError("#TF: the lines of this file are no tasks, so there is nothing that it could be about")
        self._held = change_settings(self._held, match[2].decode("utf-8", "replace").split())


def _lines_of(data: bytes) -> Iterator[re.Match[bytes]]:
    """Return the lines that begin with `#TF`, and those that look so."""
    for mark in _MARK.finditer(data):
        start = data.rfind(b"\n", 0, mark.start()) + 1
        if match := _LINE.match(data, start) or _NEAR.match(data, start):
            yield match


def _shown(line: bytes) -> str:
    return repr(line.decode("utf-8", "replace").strip()[:60])


def refuse_unmet(
    path: str, directives: Sequence[Directive], rules: Rules, line_of: Callable[[int], int] | None = None
) -> None:
    """Refuse directives that name a limit which is none, or want GPUs where none are given.

    Parameters
    ----------
    path
        The file that they are from.
    directives
        What it says.
    rules
        Those of the farm.
    line_of
        Returns the line of the file where a task is, if it is known: columns of a table may say what it has.

    Raises
    ------
    UserError
        If one does.
    """
    limits = rules.limits
    has_gpus = rules.resources is not None and rules.resources.devices is not None
    for index, text in directives:
        for word in text.split():
            if word.startswith("limit=") and word.removeprefix("limit=") not in limits:
                known = f"; there is: {', '.join(sorted(limits))}" if limits else ""
                option = word.replace("=", " ")
                raise UserError(f"{_place_of(path, word, index, line_of)}: there is no --{option}=N{known}")
            if word.startswith("gpus=") and word != "gpus=0" and not has_gpus:
                place = _place_of(path, word, index, line_of)
                raise UserError(f"{place}: --gpus says which there are, like --gpus auto")


def _place_of(path: str, word: str, index: int, line_of: Callable[[int], int] | None) -> str:
    """Return file, line and word: of the first `#TF` line that has it, else of the row of a table."""
    with suppress(OSError), open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if line.startswith(b"#TF") and word.encode() in line.split():
                return f"{path}:{number}: #TF {word}"
    return f"{path}: #TF {word}" if line_of is None else f"{path}:{line_of(index)}: column TF:{word.replace('=', ': ')}"


def cut_directives(directives: Sequence[Directive], start: int, stop: int) -> list[tuple[int, int, str]]:
    """Return what tasks from `start` up to `stop` have: first task, last one, and what. Who has nothing is left out."""
    ends = [*(index for index, _ in directives[1:]), stop]
    parts = ((max(first, start), min(end, stop) - 1, text) for (first, text), end in zip(directives, ends, strict=False))
    return [part for part in parts if part[0] <= part[1] and part[2]]
