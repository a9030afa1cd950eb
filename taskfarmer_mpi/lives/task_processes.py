"""All processes of one task, among those of its farmer: to end that task alone."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from taskfarmer_mpi.lives.owner import Owner

PATIENCE = 0.5
"""How long new processes are looked for [s]; what is left is the farmer's to kill when it ends."""


def kill_task(owner: Owner, session: int, task_id: int) -> None:
    """Kill all processes of a task, again until there is none.

    Parameters
    ----------
    owner
        The farmer that runs it.
    session
        The task's process, which leads a session of its own.
    task_id
        Its ID.
    """
    deadline = time.monotonic() + PATIENCE
    while (found := find_task_processes(owner, session, task_id)) and time.monotonic() < deadline:
        for pid in found:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def find_task_processes(owner: Owner, session: int, task_id: int) -> list[int]:
    """Return the living processes of a task: its session, those with its ID in the environment, and all their children.

    What hid from both is found only among the processes of the whole farmer, when that ends.
    """
    marks = {b"TASKFARMER_FARMER=" + owner.mark, b"TASKFARMER_TASK=%d" % task_id}
    parents: dict[int, int] = {}
    found: set[int] = set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with suppress(OSError, ValueError):  # it ended, or it is another user's
            with open(f"/proc/{entry}/stat", "rb") as file:
                state, parent, _group, its_session = file.read().rpartition(b")")[2].split()[:4]
            if state in (b"Z", b"X"):
                continue
            parents[int(entry)] = int(parent)
            if int(its_session) == session or _has(entry, marks):
                found.add(int(entry))
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def _has(process: str, marks: set[bytes]) -> bool:
    with suppress(OSError), open(f"/proc/{process}/environ", "rb") as file:
        return marks.issubset(file.read().split(b"\0"))
    return False
