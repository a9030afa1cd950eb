"""What the options of a class in an INI file can say; all of them arrive as text."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from taskfarmer_mpi.errors import OptionError

_TRUE = frozenset(["1", "yes", "true", "on"])
_FALSE = frozenset(["0", "no", "false", "off"])


def is_true(option: str, value: str | bool, also: Sequence[str] = ()) -> bool:
    """Return what a yes-or-no option says; a value of `also` is a yes.

    Raises
    ------
    OptionError
        If it says neither.
    """
    word = str(value).lower()
    if word in _TRUE or word in also:
        return True
    if word in _FALSE:
        return False
    raise OptionError(option, f"{value!r} is not one of {', '.join(['True', 'False', *also])}")


def one_line(option: str, value: str, *, may_be_empty: bool = False) -> str:
    """Return a value, without the white space around it, that has one line.

    Raises
    ------
    OptionError
        If it has more, or none.
    """
    if "\n" in value:
        raise OptionError(option, "has more than one line; a command has one")
    if not value.strip() and not may_be_empty:
        raise OptionError(option, "is empty")
    return value.strip()


def words_of(option: str, value: str) -> list[str]:
    """Return the words of a value, split as a shell does.

    Raises
    ------
    OptionError
        If a quote is not closed.
    """
    try:
        return shlex.split(value)
    except ValueError as error:
        raise OptionError(option, f"{str(error).lower()} in {value!r}") from error


def whole_number(option: str, value: str, *, least: int) -> int:
    """Return a whole number, which may be written like ``1e3``.

    Raises
    ------
    OptionError
        If it is none, or smaller than `least`.
    """
    try:
        number = float(value)
        if number.is_integer() and number >= least:
            return int(number)
    except ValueError:
        pass
    raise OptionError(option, f"{value!r} is not a whole number of {least} or more")
