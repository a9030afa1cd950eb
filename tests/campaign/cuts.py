"""Nodes that are cut off before each call by which a visit writes or locks, on NFS."""

from __future__ import annotations

from campaign.series import Play

VISIT_CALLS = (
    *(("flock", "", nth) for nth in range(27, 35)),
    *(("fdatasync", "", nth) for nth in range(9, 12)),
    *(("write", "finished", 3), ("write", "failed", 2), ("write", "", 40), ("write", "", 41)),
    *(("pwrite64", "lock", nth) for nth in range(9, 13)),
    *(("fsync", "lock", nth) for nth in range(7, 10)),
    *(("ftruncate", "lock", 6), ("ftruncate", "toprocess", 4)),
    *(("openat", "finished", 3), ("openat", "failed", 2), ("openat", "toprocess", 4)),
    *(("close", "finished", 3), ("close", "failed", 2), ("close", "toprocess", 4), ("close", "lock", 8)),
)
"""System call, file (calls without one are counted together) and number: a few visits on, each call of a visit that writes,
locks, or opens or closes what is written. The flocks are one visit's in a row."""


def cuts_at_every_call(version: str, cut: float) -> list[Play]:
    """Return the scenarios that cut a node off for some time [s] at each of these calls."""
    return [Play("cut-with-lock", version, call, nth, file, cut) for call, file, nth in VISIT_CALLS]
