"""Numbers, times and foreign text as people read them."""

from __future__ import annotations

import time
from collections.abc import Iterable

_UNITS = ((86400.0, "d", 3600.0, "h"), (3600.0, "h", 60.0, "min"), (60.0, "min", 1.0, "s"))
_RATE_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}


def say_duration(seconds: float) -> str:
    """Return a duration [s] in one or two units: `20 ms`, `0.25 s`, `3.5 s`, `12 min 4 s`, `2 d 3 h`."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 9.95:
        return f"{seconds:.{2 if seconds < 0.995 else 1}f}".rstrip("0").rstrip(".") + " s"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    for size, unit, small, small_unit in _UNITS:
        count = round(seconds / small)
        whole, rest = divmod(count, round(size / small))
        if whole:
            return f"{whole:,} {unit} {rest} {small_unit}" if rest else f"{whole:,} {unit}"
    raise AssertionError("unreachable: a minute is the smallest of these units")


def say_time(moment: float, now: float) -> str:
    """Return a time of day [s since the epoch], with its date if that is not today's."""
    local = time.localtime(moment)
    is_today = local[:3] == time.localtime(now)[:3]
    return time.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S", local)


def rate_unit(rate: float) -> str:
    """Return the unit in which a rate [1/s] is easy to read: `s`, `min` or `h`."""
    return next((unit for unit, seconds in _RATE_UNITS.items() if rate * seconds >= 1), "h")


def say_rate(rate: float, unit: str | None = None) -> str:
    """Return a rate [1/s] in a unit of `rate_unit`; None for the one in which it is easy to read."""
    unit = unit or rate_unit(rate)
    value = rate * _RATE_UNITS[unit]
    return f"{value:,.0f}/{unit}" if value >= 100 else f"{value:.3g}/{unit}"


def say_memory(size: int) -> str:
    """Return a size [KiB] in the unit in which it is easy to read: `900 KiB`, `1.5 MiB`, `12 GiB`."""
    value = float(size)
    for unit in ("KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.2g} {unit}" if value < 9.95 else f"{value:,.0f} {unit}"


def count_of(number: int, thing: str) -> str:
    """Return a number of things: `1 task`, `1,200 tasks`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def make_printable(text: str) -> str:
    """Return text without what a terminal would obey: control characters are shown as escapes, tabs as blanks."""
    if text.isprintable():
        return text
    return "".join(" " if char == "\t" else char if char.isprintable() or char == " " else _escape(char) for char in text)


def make_lines_printable(text: str) -> str:
    """Return text of several lines, each of them printable."""
    return text if text.isprintable() else "\n".join(map(make_printable, text.split("\n")))


def _escape(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 0x100 else "\N{REPLACEMENT CHARACTER}"


def last_lines(data: bytes, count: int, width: int = 200) -> list[str]:
    """Return the last lines of a log that are not blank, printable and shortened, the oldest first.

    A line that a progress bar redrew with carriage returns is shown as it was at last.
    """
    lines = [line.rstrip().rpartition(b"\r")[2].decode("utf-8", "replace") for line in data.split(b"\n")]
    return [shorten(make_printable(line), width) for line in lines if line.strip()][-count:] if count else []


def tasks(count: int) -> str:
    """Return a number of tasks in words."""
    return "1 task" if count == 1 else f"{count} tasks"


def list_ids(ids: Iterable[int]) -> str:
    """Return the first ten of some task IDs, and how many more there are."""
    known = list(ids)
    shown = ", ".join(map(str, known[:10]))
    return shown if len(known) <= 10 else f"{shown} and {len(known) - 10} more"


def shorten(text: str, width: int) -> str:
    """Return at most `width` characters of a text; an ellipsis stands for what is left out."""
    return text if len(text) <= width else text[: width - 1] + "…"


def user_name(number: int) -> str:
    """Return the name of a user, or the number of one without a name."""
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
