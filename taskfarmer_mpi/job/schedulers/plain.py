"""How the schedulers' programs are asked and their times are read."""

from __future__ import annotations

import os
import re

_DURATION = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+)(?:\.\d+)?")


def plain_environment(*hidden: str) -> dict[str, str]:
    """Return an environment in which programs print times in UTC, and in English.

    Parameters
    ----------
    hidden
        How the names of the user's settings begin that a program is not to see, either.
    """
    left_out = ("LC_", "LANG", "TZ", *hidden)
    return {name: value for name, value in os.environ.items() if not name.startswith(left_out)} | {
        "TZ": "UTC",
        "LC_ALL": "C",
    }


def parse_duration(text: str) -> float | None:
    """Return a duration [s] that is written as ``[[hours:]minutes:]seconds``; None if it is none."""
    match = _DURATION.fullmatch(text.strip())
    return (
        sum(int(number or 0) * unit for number, unit in zip(match.groups(), (3600, 60, 1), strict=True)) if match else None
    )
