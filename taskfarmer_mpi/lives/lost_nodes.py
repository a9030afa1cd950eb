"""Whether a farmer died with its node, as far as those who recover it can know.

A guardian outlives its farmer, ends the tasks, and leaves word of that in the task lock file (`lives.guardian.WORD`). Where
that is missing, nothing on the node lived long enough. The whole job can have been killed so, too: it counts as a lost node
only if another rank of the job saw it from its own node, or if the computer has been started anew since.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from taskfarmer_mpi.errors import FarmError
from taskfarmer_mpi.lives.guardian import WORD
from taskfarmer_mpi.workdir.files import node_name, read_file
from taskfarmer_mpi.workdir.journal_reading import read_last_records, read_records
from taskfarmer_mpi.workdir.journal_records import Identity, moment_of, read_identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from taskfarmer_mpi.lives.life_locks import LifeLock


def is_node_lost(path: Path, locks: Sequence[LifeLock], own: Collection[Path]) -> bool:
    """Whether a dead farmer's node died with it.

    Parameters
    ----------
    path
        The dead farmer's journal.
    locks
        Its life lock, and its task lock if that file is there still.
    own
        The journal of who asks, if it is a farmer already.
    """
    if len(locks) < 2 or os.pread(locks[1].fd, len(WORD), 0) == WORD:
        return False
    with suppress(OSError, FarmError, StopIteration):
        who, born = _first_line(path)
        last = max([born, *(moment_of(record) for record in read_last_records(path))]) + who.clock_offset
        if not who.slots:  # a command that moves tasks has no guardian
            return False
        if who.host == node_name():
            return last < _boot_time()
        for looker, since in map(_first_line, own):
            if who.job and who.job == looker.job and since + looker.clock_offset <= last:
                return True
    return False


def _first_line(path: Path) -> tuple[Identity, float]:
    """Return who wrote a journal, and when that farmer was born, by its own clock [s since the epoch]."""
    record = next(read_records(path))
    return read_identity(record, path), moment_of(record)


def _boot_time() -> float:
    """Return when this computer was started [s since the epoch]; 0 if that is not known."""
    with suppress(OSError):
        found = re.search(rb"^btime (\d+)$", read_file(Path("/proc/stat")) or b"", re.MULTILINE)
        return float(found[1]) if found else 0.0
    return 0.0
