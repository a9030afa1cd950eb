"""Nodes that are cut off before each call by which a visit writes or locks, on NFS."""

from __future__ import annotations

import random

from campaign.nfs import LEASE
from campaign.series import ALL, Play

VISIT_CALLS = (
    *(("flock", "", nth) for nth in range(22, 30)),
    *(("fdatasync", "", nth) for nth in range(9, 12)),
    *(("write", "finished", 3), ("write", "failed", 1), ("write", "", 40), ("write", "", 41)),
    *(("pwrite64", "lock", nth) for nth in range(9, 13)),
    *(("fsync", "", nth) for nth in range(13, 17)),
    *(("ftruncate", "toprocess", 3), ("ftruncate", "toprocess", 4)),
    *(("openat", "finished", 3), ("openat", "failed", 2), ("openat", "toprocess", 4)),
    *(("close", "finished", 3), ("close", "failed", 2), ("close", "toprocess", 4)),
)
"""System call, file (calls without one are counted together) and number: a few visits on, each call of a visit that writes,
locks, or opens or closes what is written. The flocks are those of two visits in a row; the fsyncs ask by turns for the life
lock and the work lock."""


def cuts_at_every_call(version: str, cut: float) -> list[Play]:
    """Return the scenarios that cut a node off for some time [s] at each of these calls."""
    return [Play("cut-with-lock", version, call, nth, file, cut) for call, file, nth in VISIT_CALLS]


def random_play(seed: int) -> Play:
    """Return a scenario; everything about it is chosen by the seed."""
    chance = random.Random(seed)
    version = chance.choice(("4.2", "4.0"))
    if chance.random() < 0.5:
        return Play(chance.choice([name for name in ALL if name != "cut-with-lock"]), version, seed=seed)
    call, file, nth = chance.choice(VISIT_CALLS)
    cut = chance.choice((0.4, 1.5, 2.0)) * LEASE
    shift = chance.randint(-2, 0 if file == "failed" else 2)  # few tasks fail
    return Play("cut-with-lock", version, call, max(1, nth + shift), file, cut, seed)
