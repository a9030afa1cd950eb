"""Runs taskfarmer_mpi with a clock that is wrong, and is set once; its files still have the times of the real one.

    python tests/campaign/other_clock.py WRONG SET AFTER python -m taskfarmer_mpi ...

It is wrong by WRONG s at first, and by SET s from AFTER s on. Only what a clock says that can be set is changed.
"""

from __future__ import annotations

import runpy
import sys
import time
from collections.abc import Callable
from typing import Any


def set_clock(wrong: float, later: float, after: float) -> None:
    """Have everything in this process read that clock."""
    begin = time.monotonic()
    now = time.time

    def shifted() -> float:
        return now() + (wrong if time.monotonic() - begin < after else later)

    def of(real: Callable[[float], Any]) -> Callable[..., Any]:
        return lambda moment=None: real(shifted() if moment is None else moment)

    time.gmtime, time.localtime = of(time.gmtime), of(time.localtime)
    real_format, local = time.strftime, time.localtime
    time.strftime = lambda form, moment=None: real_format(form, local() if moment is None else moment)
    time.time, time.time_ns = shifted, lambda: int(1e9 * shifted())


if __name__ == "__main__":
    set_clock(*map(float, sys.argv[1:4]))
    sys.argv = sys.argv[6:]  # after python -m
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
