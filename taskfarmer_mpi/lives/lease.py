"""The lease of a farmer's tasks: they run only as long as its lock is proven to be held.

A file system of several nodes gives the locks of a node away if it hears nothing of it for some time, its lease; then other
nodes take over the tasks, which still run here. So a byte is written to the lock file now and then and synced: that is an
error if the lock was lost, and waits if the node is cut off. The guardian does it, in a thread, and looks at the clock
meanwhile: without a proof for most of a lease, it kills the tasks before others can have them.

Imports nothing but the standard library's lightest parts, like the guardian, which uses it.
"""

import _thread
import errno
import os
import select
import time

from taskfarmer_mpi.lives.owner import Owner, kill, kill_processes, lock_holders, look_at_own

PROOFS = 6
"""How many proofs there are in a lease."""
LIMIT = 5 / 6
"""The part of a lease after which tasks without a proof are killed; the rest is for killing them."""
TICK = 1.0
"""How often the clock is looked at, at least [s]."""
WAKING = 1.0
"""How long a guardian that did not run itself (a job that was suspended) tries to get a proof before it judges [s]."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""What a server says that could not write, but knows the lock."""
SILENCE, REFUSAL = 0, 1
"""What a sheet has in the place of the time of a proof when there will be none any more."""


def now() -> float:
    """Return the time since the boot of this node, that of its sleep included [s]."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def is_over(moment: float, proven: float, woke: float, lease: float) -> bool:
    """Whether tasks have to be killed, as other nodes may soon have them.

    Parameters
    ----------
    moment
        Now [s].
    proven
        When the last proof was sent that was answered [s].
    woke
        When the guardian came back after it had not run for a while [s].
    lease
        The lease [s].
    """
    return moment - proven >= LIMIT * lease and moment - woke >= WAKING


def prove(lock: int) -> None:
    """Write to the file of a lock that is held, and wait until the server has answered.

    Raises
    ------
    OSError
        If the lock was lost, among other reasons.
    """
    try:
        os.pwrite(lock, b"\n", 0)
        os.fsync(lock)
    except OSError as error:
        if error.errno not in FULL:
            raise


class Sheet:
    """Memory that a farmer shares with its guardians: when its lock was last proven, who sees to that, which tasks run."""

    def __init__(self, fd: int) -> None:
        """Use what another process has made."""
        self.fd = fd

    @classmethod
    def create(cls, proven: float) -> "Sheet":
        """Make one, with the time of a first proof [s]."""
        sheet = cls(os.memfd_create("lease"))
        sheet.write_proof(proven)
        return sheet

    def write_proof(self, sent: float) -> None:
        """Note when a proof was sent that was answered [s]."""
        self._write(0, int(sent * 1e6))

    def write_end(self, reason: int) -> None:
        """Note that the lease is over, and by what."""
        self._write(0, reason)

    def note(self, slot: int, task: int | None) -> None:
        """Note which task is to run in a slot, before it does; None when it has ended."""
        self._write(2 + slot, 0 if task is None else 1 + task)

    def write_watcher(self, pid: int) -> None:
        """Note which guardian sees to the lease from now on."""
        self._write(1, pid)

    def watcher(self) -> int:
        """Return the process of the guardian that sees to the lease; 0 before there is one."""
        return sum(self._read()[1:2])

    def proven(self) -> float:
        """Return when the last proof was sent that was answered [s]."""
        return self._read()[0] / 1e6

    def end(self) -> int | None:
        """Return by what the lease is over, `SILENCE` or `REFUSAL`; None if it is not."""
        word = self._read()[0]
        return word if word in (SILENCE, REFUSAL) else None

    def running_tasks(self) -> set[int]:
        """Return the tasks that run."""
        return {word - 1 for word in self._read()[2:] if word}

    def _write(self, place: int, word: int) -> None:
        os.pwrite(self.fd, word.to_bytes(8, "little"), 8 * place)

    def _read(self) -> list[int]:
        data = os.pread(self.fd, os.fstat(self.fd).st_size, 0)
        return [int.from_bytes(data[place : place + 8], "little") for place in range(0, len(data), 8)]


class Watch:
    """A guardian's look at the lease, which needs no file any more."""

    def __init__(self, owner: Owner, lock: int, sheet: Sheet, lease: float) -> None:
        """Begin to ask for proofs.

        Parameters
        ----------
        owner
            The farmer; which of its tasks run is taken from the sheet from now on.
        lock
            Descriptor of its task lock.
        sheet
            What the farmer sees of it.
        lease
            The lease [s].
        """
        owner.running_tasks = sheet.running_tasks
        self._owner = owner
        self._lock = lock
        self._sheet = sheet
        self._lease = lease
        self._tick = min(TICK, lease / 20)
        self._pause = 0.05
        self._is_over = sheet.end() is not None
        self._proven = self._answered = sheet.proven()
        self._woken_after = -1.0
        self._refusals = 0
        self._is_on = True
        self._nudge = _thread.allocate_lock()
        self._nudge.acquire()
        look_at_own(owner)  # so that all that it needs is in memory
        self._looked = self._woke = now()  # it may have been stopped before it came here
        _thread.start_new_thread(self._prove, ())
        sheet.write_watcher(os.getpid())

    def end(self) -> None:
        """Ask for no more proofs."""
        self._is_on = False

    def until_readable(self, fd: int) -> None:
        """See to the lease until there is something to read."""
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        while not poll.poll(1000 * self.look()):
            pass

    def look(self) -> float:
        """Kill the tasks if the lease is over; return when to look again [s]."""
        if not self._is_over and (reason := self._judge()) is not None:
            self._sheet.write_end(reason)  # before a task is killed: the farmer must not take that for its end
            self._is_over = True
        if not self._is_over:
            return self._tick
        kill(lock_holders(self._owner))  # first, as the memory of a process that waits for the server cannot be looked at
        kill_processes(self._owner, 1.0)
        self._pause = min(2 * self._pause, TICK)
        return self._pause

    def _judge(self) -> int | None:
        moment = now()
        if moment - self._looked > self._tick + WAKING and self._woken_after != self._proven:
            self._woke, self._woken_after = moment, self._proven
            if self._nudge.locked():
                self._nudge.release()
        self._looked = moment
        if self._answered > self._proven:
            self._proven = self._answered
            self._sheet.write_proof(self._proven)
        if self._refusals > 1:
            return REFUSAL
        is_silent = is_over(moment, self._proven, self._woke, self._lease) and self._sheet.running_tasks()
        return SILENCE if is_silent else None

    def _prove(self) -> None:
        while self._is_on and self._refusals <= 1:
            sent = now()
            try:
                prove(self._lock)
            except OSError:
                self._refusals += 1
                pause = self._tick
            else:
                self._answered, self._refusals = sent, 0
                pause = max(self._lease / PROOFS - (now() - sent), self._tick)
            self._nudge.acquire(True, pause)
