"""Whether all farmers of a work directory are to stop, by what ended there; looked at with the work lock held."""

from __future__ import annotations

from taskfarmer_mpi.workdir.files import read_file, replace_file
from taskfarmer_mpi.workdir.growing_file import GrowingFile
from taskfarmer_mpi.workdir.journal_reading import open_journals
from taskfarmer_mpi.workdir.stop_requests import StopRequest, encode_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from taskfarmer_mpi.workdir.farm import Farm


class HaltWatch:
    """One farmer's look at the outcomes of all."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._finished = _LineCount(farm.workdir.finished)
        self._failed = _LineCount(farm.workdir.failed)
        self._removed = _LineCount(farm.workdir.removed)

    def look(self) -> str:
        """Return why to stop, if so; the farmer that notices it first leaves word for all others, also for later ones.

        Raises
        ------
        OSError
            If a file cannot be read or written.
        """
        workdir, halt = self._farm.workdir, self._farm.rules.halt
        if halt is None:
            return ""
        known = read_file(workdir.halted)
        if known is not None:
            return known.decode("utf-8", "replace").strip()
        finished, failed = self._finished.advance(), self._failed.advance()
        total = len(self._farm.catalog) - self._removed.advance()
        reason = halt.reason(finished=finished, failed=failed, total=total)
        if reason is None or finished + failed >= total:
            return ""
        self._farm.lock.confirm()
        replace_file(workdir.halted, f"{reason}\n".encode())
        farmers = frozenset(path.stem for path in open_journals(workdir.farmers))
        replace_file(workdir.stop_request, encode_request(StopRequest(farmers, not halt.is_now, reason)))
        return reason


class _LineCount:
    """The number of lines of a list, counted as it grows."""

    def __init__(self, path: Path) -> None:
        self._file = GrowingFile(path)
        self._count = 0

    def advance(self) -> int:
        for lines, is_anew in self._file.news():
            self._count = (0 if is_anew else self._count) + lines.count(b"\n")
        return self._count
