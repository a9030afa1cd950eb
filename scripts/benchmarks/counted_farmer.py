"""A farmer of taskfarmer_mpi that notes what it does with the lock of its work directory: a program, started by `crowds`.

The file ``$BENCH_NOTES/<process>`` gets a line for each attempt in vain (``- TIME``), each one that succeeds (``+ TIME``),
and each release (``/ TIME``); times are of the clock that only goes forward [s]. With ``BENCH_POLL`` all pauses last so long
[s].
"""

from __future__ import annotations

import os
import sys
import time

from taskfarmer_mpi.workdir.lock_files import LockFile, LockPauses


def note_attempts(path: str) -> None:
    """Note in a file what is done with lock files from now on."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    take, give = LockFile.try_acquire, LockFile.release

    def note(sign: str) -> None:
        os.write(fd, f"{sign} {time.monotonic():.6f}\n".encode())

    def try_acquire(lock: LockFile) -> bool:
        is_had = take(lock)
        note("+" if is_had else "-")
        return is_had

    def release(lock: LockFile) -> None:
        was_held = lock.fd is not None
        give(lock)
        if was_held:
            note("/")

    LockFile.try_acquire, LockFile.release = try_acquire, release  # type: ignore[method-assign, assignment]


def pause_always(pause: float) -> None:
    """Let a farmer that waits ask for the lock again after the same time [s] always."""
    LockPauses.next = lambda _pauses, _waited: pause  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    note_attempts(os.path.join(os.environ["BENCH_NOTES"], str(os.getpid())))
    if os.environ.get("BENCH_POLL"):
        pause_always(float(os.environ["BENCH_POLL"]))
    from taskfarmer_mpi.cli.main import main

    sys.exit(main())
