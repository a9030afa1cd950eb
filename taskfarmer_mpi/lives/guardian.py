"""The guardian of one farmer: a process that ends the farmer's tasks when the farmer is gone, however it died.

On a file system that gives the locks of a node away if it hears nothing of it, the guardian sees to its lease as well
(`lease`). It runs alone (``python -I -S``) with nothing but its neighbours in this folder and the lightest parts of the
standard library, all of it read before it is needed: it has to work where no file can be read any more.
"""

import fcntl
import os
import sys
import time

from taskfarmer_mpi.lives import owner as owners
from taskfarmer_mpi.lives.owner import Owner, kill_processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.lives.lease import Watch

PIPE, LOCK, SHEET = 0, 3, 4
"""Descriptors of the guardian: the end of a pipe that tells of the farmer's death, the task lock, and the `lease.Sheet`."""
LET_GO = b"l"
"""What the farmer writes when its tasks are dead and others may know it."""
WORD = b"its tasks were ended\n"
"""What the task lock file begins with once the guardian has ended the tasks: its node was there still."""
FAREWELL = b"."
"""What the farmer writes when it leaves by itself."""
_PROGRAM = (
    "import sys; sys.path.append(sys.argv.pop(1)); from taskfarmer_mpi.lives.guardian import main; main(*sys.argv[2:])"
)
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
"""The folder or the archive that this package is in."""
_MODULES = (__file__, owners.__file__, os.path.join(os.path.dirname(__file__), "lease.py"))
PARTS = (sys.executable, *(_MODULES if os.path.isdir(ROOT) else (ROOT,)))
"""What has to be there to start one."""


def command(owner: Owner, lease: float) -> list[str]:
    """Return the command that starts a farmer's guardian.

    Parameters
    ----------
    owner
        The farmer.
    lease
        After how long without an answer the file system gives the locks of a node away [s]; 0 if it never does.
    """
    words = [sys.executable, "-I", "-S", "-c", _PROGRAM, ROOT, __file__]
    return [*words, owner.farmer, owner.lock_path, owner.workdir, str(lease)]


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


def _watch(owner: Owner, lease: float) -> "Watch | None":
    """Return what sees to the lease; None where there is none: then nothing of it is loaded, and nothing is asked."""
    if not lease:
        return None
    from taskfarmer_mpi.lives.lease import Sheet, Watch

    os.set_inheritable(SHEET, False)
    return Watch(owner, LOCK, Sheet(SHEET), lease)


def _next_word(watch: "Watch | None") -> bytes:
    """Return what the farmer says next; nothing at its death."""
    if watch is not None:
        watch.until_readable(PIPE)
    return os.read(PIPE, 1)


def _let_go(watch: "Watch | None") -> None:
    if watch is not None:
        watch.end()
    try:
        os.pwrite(LOCK, WORD, 0)
        if watch is not None:
            os.fsync(LOCK)  # an error, as the lock was lost, belongs here
    except OSError:
        pass
    os.close(LOCK)


def main(farmer: str, task_lock: str, workdir: str, lease: str) -> None:
    """Wait for the end of the farmer, then kill its tasks until their lock is free.

    Its signals are blocked. It holds the task lock, too, until it has killed what it can find: before that nobody, on any
    node, takes the tasks for dead. A process that is between its fork and its start has no mark yet, but it holds the lock;
    so the lock, and not the list of processes, says when nothing is left.
    """
    os.set_inheritable(LOCK, False)  # whoever looks for the lock's holders looks for tasks
    owner = Owner.here(farmer, task_lock, workdir)
    watch = _watch(owner, float(lease))
    is_holding = True
    while (word := _next_word(watch if is_holding else None)) == LET_GO:
        if is_holding:
            _let_go(watch)
            is_holding = False
    if word:
        return  # the farmer left by itself, with nothing of its tasks to end
    pause = 0.01
    while True:
        kill_processes(owner, 1.0)
        if is_holding:
            _let_go(watch)
            is_holding = False
        if _is_free(owner.lock_path):
            return
        time.sleep(pause)
        pause = min(2 * pause, 1.0)
