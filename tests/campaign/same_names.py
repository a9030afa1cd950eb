"""Runs taskfarmer_mpi so that its files have the same names in each run: then strace can be told of any of them.

python tests/campaign/same_names.py python -m taskfarmer_mpi ...
"""

from __future__ import annotations

import os
import runpy
import sys
from collections import Counter

from taskfarmer_mpi.run import rank

NAME = "20000101T000000-node-1-000000"
_given: Counter[int] = Counter()


def numbered(length: int) -> bytes:
    """Return bytes that differ from those before, in the place of random ones."""
    _given[length] += 1
    return _given[length].to_bytes(length, "big")


if __name__ == "__main__":
    vars(rank)["new_name"] = lambda: NAME
    os.urandom = numbered
    sys.argv = sys.argv[3:]  # after python -m
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
