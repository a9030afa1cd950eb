"""How long a job may take, as users and Slurm write it."""

from __future__ import annotations

import argparse
import math
import re

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def job_time(text: str) -> float:
    """Parse a time for a job [s]: `90m`, `8h`, `1d12h`, or as Slurm has it: minutes, M:S, H:M:S, D-H, D-H:M, D-H:M:S."""
    seconds = 0.0
    if re.fullmatch(r"(\d{1,6}(\.\d+)?(s|min|m|h|d))+", text):
        seconds = sum(float(n) * _UNITS[unit] for n, _, unit in re.findall(r"(\d+(\.\d+)?)(min|[smhd])", text))
    elif match := re.fullmatch(r"(?:(\d{1,4})-)?(\d{1,6})(?::(\d{1,2}))?(?::(\d{1,2}))?", text):
        days, *parts = (int(part) if part else 0 for part in match.groups())
        if match[1] or match[4]:
            hours, minutes, rest = parts
        else:
            hours, minutes, rest = 0, parts[0], parts[1]
        seconds = float(days * 86400 + hours * 3600 + minutes * 60 + rest)
    if seconds < 60:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time for a job, one minute at least: 90m, 8h, 1d12h, or as Slurm has it: 8:00:00"
        )
    return seconds


def encode_time(seconds: float) -> str:
    """Encode a time in whole minutes as Slurm reads it."""
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours:02d}:{minutes:02d}:00"


def read_limit(text: str) -> float | None:
    """Return what Slurm says of a limit of time [s]; None if there is none."""
    try:
        return job_time(text)
    except argparse.ArgumentTypeError:
        return None
