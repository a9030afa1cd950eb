"""Ends a farmer's tasks: those of a living farmer that stops, and those that a dead one left.

Run as a program it is the guardian of one farmer: it waits until the farmer is gone, however it died, and kills every
process of its tasks. It runs alone (``python -I -S``), so it imports nothing but the standard library's lightest parts.

A process belongs to a farmer if the farmer's name is in the environment it was started with (this follows children, new
sessions and daemons) or if it inherited the farmer's task lock (this finds what cleared its environment).
"""

import fcntl
import os
import signal
import sys
import time

FAMILY = "TASKFARMER_FAMILY"
"""The variable that names the farmers above a process, outermost first."""


def find_processes(farmer: str, task_lock: str) -> list[int]:
    """Return the processes of this node that belong to a farmer's tasks, as far as this user may look."""
    mark = farmer.encode()
    lock = os.fsencode(task_lock)
    own = os.getpid()
    processes = (entry for entry in os.listdir("/proc") if entry.isdigit() and int(entry) != own)
    return [int(process) for process in processes if _belongs(process, mark, lock)]


def _belongs(process: str, mark: bytes, lock: bytes) -> bool:
    try:
        with open(f"/proc/{process}/environ", "rb") as file:
            if any(mark in item for item in file.read().split(b"\0") if item.startswith(FAMILY.encode() + b"=")):
                return True
        folder = f"/proc/{process}/fd"
        return any(_link(f"{folder}/{fd}") == lock and _is_inherited(process, fd) for fd in os.listdir(folder))
    except OSError:  # it ended, or it is another user's
        return False


def _is_inherited(process: str, fd: str) -> bool:
    """Whether a descriptor is passed on to programs: a farmer that only looks at the lock has it for itself."""
    with open(f"/proc/{process}/fdinfo/{fd}", "rb") as file:
        flags = next(line for line in file if line.startswith(b"flags:"))
    return not int(flags.split()[1], 8) & os.O_CLOEXEC


def _link(path: str) -> bytes:
    try:
        return os.readlink(path.encode())
    except OSError:
        return b""


def kill_processes(farmer: str, task_lock: str, patience: float) -> bool:
    """Kill every process of a farmer's tasks, again until there is none; return whether all are gone.

    Parameters
    ----------
    farmer
        The farmer's name.
    task_lock
        The lock file that its tasks hold open.
    patience
        How long to try [s].
    """
    deadline = time.monotonic() + patience
    while targets := [pid for pid in find_processes(farmer, task_lock) if not _is_dead(pid)]:
        for pid in targets:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def _is_dead(pid: int) -> bool:
    """Whether a process is a zombie, which only waits for its parent."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True


def _is_free(task_lock: str) -> bool:
    try:
        fd = os.open(task_lock, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True  # the farmer's tasks were settled by others
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


def main(farmer: str, task_lock: str, pipe: int) -> None:
    """Wait for the end of the farmer, then kill its tasks until their lock is free.

    A process that is between its fork and its start has no mark yet, but it holds the lock; so the lock, and not the list
    of processes, says when nothing is left.
    """
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    if os.read(pipe, 1):
        return  # the farmer left by itself, with nothing of its tasks to end
    pause = 0.01
    while True:
        kill_processes(farmer, task_lock, 1.0)
        if _is_free(task_lock):
            return
        time.sleep(pause)
        pause = min(2 * pause, 1.0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
