"""Arguments that several commands take, and how their values are read."""

from __future__ import annotations

import argparse
import math
from pathlib import Path


def add_workdir(parser: argparse.ArgumentParser) -> None:
    """Add the work directory."""
    parser.add_argument(
        "workdir", type=Path, metavar="WORKDIR", help="the work directory: <tasklist>_workdir unless it was given"
    )


def count(text: str) -> int:
    """Parse a number of things, 0 or more."""
    if not (text.isascii() and text.isdigit()) or len(text) > 6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 999999")
    return int(text)


def seconds(text: str) -> float:
    """Parse a time [s], 0 or more."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in seconds: 0 or more")
    return value


def interval(text: str) -> float:
    """Parse a time [s] of a tenth of a second to a day."""
    value = _number(text)
    if not 0.1 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in seconds from 0.1 to 86400")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
