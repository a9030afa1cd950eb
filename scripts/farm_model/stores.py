"""What visits cost on each kind of storage, and where the figures come from: all constants of the model are here."""

from __future__ import annotations

from dataclasses import dataclass

CALLS_IN_VISIT = 8
"""Calls to the lock server in a visit on a shared file system: LOCK, LOCKU and FREE_STATEID in docs/performance.md."""
REMOTE_CALLS = 21.5
"""All calls to servers in a visit on NFSv4.2; docs/performance.md."""
OLD_END_PER_TASK = 75e-6
"""For each task: how long a farmer of the old protocol held the lock at its end [s]; 200 farmers, 8,000 tasks: 120 s."""
PER_TASK = 1.4e-6
"""How much longer the lock is held for each task that is taken or recorded [s]: 128 visits of 625 such tasks, in memory."""
START = 0.035
"""How long after one farmer the next one comes to the lists where they start on one machine with 2 cores [s]."""


@dataclass(frozen=True)
class Store:
    """A place for a work directory."""

    name: str
    visit: float
    """How long the lock is held in a visit, without what each task adds [s]."""
    low: float
    """The least that this may be [s]."""
    high: float
    """The most that this may be [s]."""
    source: str
    """Where the figures come from."""


STORES = (
    Store(
        "local",
        0.5e-3,
        0.4e-3,
        20e-3,
        "measured by `scripts/bench --farmers`: 10 farmers; 200 on a busy machine with 2 cores",
    ),
    Store(
        "nfs",
        26e-3,
        0.2e-3 * REMOTE_CALLS,
        101e-3,
        "measured: NFSv4.2 between machines in user mode, 26 ms for one node, up to 101 ms for two; that a fast server needs"
        " 0.2 ms for each of its calls is an assumption",
    ),
    Store(
        "lustre",
        0.5e-3 * REMOTE_CALLS,
        0.1e-3 * REMOTE_CALLS,
        2e-3 * REMOTE_CALLS,
        "as many calls as on NFS; 0.5 ms each, as one client's stat, and 2 ms at most, as its create, in Dell's mdtest of"
        " Lustre 2.5; that a lock costs as much as a stat is an assumption",
    ),
    Store(
        "gpfs",
        1e-3 * REMOTE_CALLS,
        0.3e-3 * REMOTE_CALLS,
        5e-3 * REMOTE_CALLS,
        "an assumption: as many calls as on NFS, 1 ms (0.3 to 5 ms) each; no published cost of a lock was found",
    ),
)
