"""Arguments that several commands take, and how their values are read."""

from __future__ import annotations

import argparse
import math
import os
import re
import time
from collections.abc import Iterable
from pathlib import Path

from taskfarmer_mpi.errors import UserError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.workdir.files import Workdir


def check_directory() -> None:
    """Refuse to begin where relative paths mean nothing.

    Raises
    ------
    UserError
        If the current directory is gone.
    """
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(f"the current directory cannot be used ({error.strerror}): cd to another one") from error


def file_name(text: str) -> Path:
    """Return a path that a user gave: an empty one, of a variable that is not set, would be the current directory."""
    if not text:
        raise argparse.ArgumentTypeError("an empty name: is a variable not set?")
    return Path(text)


def add_workdir(parser: argparse.ArgumentParser) -> None:
    """Add the work directory."""
    parser.add_argument(
        "workdir",
        type=file_name,
        metavar="WORKDIR",
        help="the work directory: <tasklist>_workdir unless it was given; a tasklist stands for that",
    )


def add_shared(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the permission to work where others could have this user run what they want."""
    parser.add_argument(
        "--shared",
        action="store_true",
        help="work in a directory of another user, or where everybody can write: they can have commands run as you",
    )


def count(text: str) -> int:
    """Parse a number of things, 0 or more."""
    if not (text.isascii() and text.isdigit()) or len(text) > 6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 999999")
    return int(text)


def slots(text: str) -> int:
    """Return a number of slots; 0 for one per CPU, minus N for N % of that."""
    if text == "auto":
        return 0
    number = text.removesuffix("%")
    if not (number.isascii() and number.isdigit()) or not 1 <= int(number) <= 999_999:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of slots: 1 or more, a part of the CPUs like 50%, or auto"
        )
    return -int(number) if text.endswith("%") else int(number)


def task_id(text: str) -> int:
    """Parse the ID of a task."""
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise argparse.ArgumentTypeError(f"{text!r} is not the ID of a task, like 7")
    return int(text)


def task_ids(text: str) -> range:
    """Parse the ID of a task, or a range of them."""
    first, _, last = text.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal() and int(first) <= int(last or first)):
        raise argparse.ArgumentTypeError(f"{text!r} is not the ID of a task or a range of them, like 7 or 10-19")
    return range(int(first), int(last or first) + 1)


def add_chosen(parser: argparse.ArgumentParser) -> None:
    """Add which tasks are meant."""
    parser.add_argument("ids", type=task_ids, nargs="*", metavar="ID", help="tasks, also as ranges like 10-19")
    parser.add_argument(
        "--match", default="", metavar="TEXT", help="those whose line has this text; with IDs, those of them that have it"
    )


def count_at_work(workdir: Workdir) -> str:
    """Say how many farmers are at work, and that they take something."""
    from taskfarmer_mpi.history.runs import FarmerState, read_histories

    at_work = (FarmerState.ALIVE, FarmerState.UNKNOWN)
    count = sum(bool(one.identity.slots) and one.state in at_work for one in read_histories(workdir)[0])
    return {0: "no farmer is at work; the next one takes", 1: "1 farmer takes"}.get(count, f"{count} farmers take")


def check_ids(parts: Iterable[range], workdir: Path, count: int) -> set[int] | None:
    """Return the tasks that a user has named, of a work directory with so many; None if none was named.

    Raises
    ------
    UserError
        If there is no such task.
    """
    ids: set[int] = set()
    for part in parts:
        if part[-1] >= count:
            raise UserError(f"{workdir}: there is no task {part[-1]}; it has {count} tasks, from 0 on")
        ids.update(part)
    return ids or None


def seconds(text: str) -> float:
    """Parse a time [s], 0 or more."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in seconds: 0 or more")
    return value


def lease(text: str) -> float:
    """Parse a time [s] of 5 seconds or more, or 0."""
    value = _number(text)
    if value != 0 and not 5 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a lease: 0, or 5 or more seconds")
    return value


def interval(text: str) -> float:
    """Parse a time [s] of a tenth of a second to a day."""
    value = _number(text)
    if not 0.1 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in seconds from 0.1 to 86400")
    return value


_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def past_moment(text: str) -> float:
    """Parse a time in the past: an ISO time, local unless it says otherwise, or how long ago, as `2h`; return it [s]."""
    now = time.time()
    match = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)(s|m|min|h|d)", text)
    try:
        from datetime import datetime

        moment = now - float(match[1]) * _UNITS[match[2]] if match else datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time like 2026-05-27T14:30, or how long ago like 90s, 30m, 2h, 1d"
        ) from None
    if moment > now:
        raise argparse.ArgumentTypeError(f"{text!r} is in the future")
    return moment


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
