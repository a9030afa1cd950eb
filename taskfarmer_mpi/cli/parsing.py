"""A parser whose complaint is one line that says what is wrong, and one that names what may have been meant."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence

from taskfarmer_mpi.cli.entry import EXIT_USAGE
from taskfarmer_mpi.cli.streams import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """As argparse's, which imports shutil and all that packs files only to learn how wide the terminal is."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_width() - 2)


def _width() -> int:
    """Return how many columns the terminal has."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


class Parser(argparse.ArgumentParser):
    """As argparse's, without the usage before a complaint, and with the nearest name after it."""

    def error(self, message: str) -> NoReturn:
        """Complain and exit."""
        self.complain(message)

    def complain(self, message: str, hint: str | None = None) -> NoReturn:
        """Complain in one line, give one line of advice, and exit."""
        say(f"{self.prog}: {message}", hint or f"{self.prog} --help shows what there is", to="stderr")
        sys.exit(EXIT_USAGE)

    def advise(self, name: str) -> str | None:
        """Return a line on what may be meant by an option that is not known."""
        return did_you_mean(name, self._option_string_actions)

    def check_rest(self, rest: Sequence[str], excess: str) -> None:
        """Complain about the first of the arguments that nobody knows.

        Parameters
        ----------
        rest
            What is left of them.
        excess
            Why there can be no other argument than options.
        """
        for word in rest:
            if word.startswith("-") and word != "-":
                name = word.partition("=")[0]
                self.complain(f"{name}: unknown option", self.advise(name))
        if rest:
            self.complain(f"{rest[0]}: {excess}")


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Return a line that asks whether the nearest of the known names is meant; None if none is near."""
    import difflib

    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {nearest[0]}?" if nearest else None
