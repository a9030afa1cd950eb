"""Counts the tasks of a whole work directory, often and at little cost: without the lock, and only what is new.

Whoever writes to the directory is counted, farmers of other jobs and plain ones included.
"""

from __future__ import annotations

from pathlib import Path

from taskfarmer_mpi.progress.rates import Count
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.growing_file import GrowingFile
from taskfarmer_mpi.workdir.journal_reading import open_journals

JOURNALS_PER_LOOK = 32
"""How many journals one look reads [files]; with a thousand farmers the number of running tasks is some looks old."""


class PatternCounts:
    """Counts patterns in the whole lines of a file that others append to, or replace by a shorter one."""

    def __init__(self, path: Path, *patterns: bytes) -> None:
        self._file = GrowingFile(path)
        self._patterns = patterns
        self.counts = [0] * len(patterns)
        """How often each pattern was seen."""

    def advance(self) -> None:
        """Take in what was appended; count anew if the file is another one, or was rewritten."""
        for lines, is_anew in self._file.news():
            if is_anew:
                self.counts = [0] * len(self._patterns)
            for number, pattern in enumerate(self._patterns):
                self.counts[number] += lines.count(pattern)


class Counter:
    """Counts the tasks of a farm, again and again."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._finished = PatternCounts(farm.workdir.finished, b"\n")
        self._failed = PatternCounts(farm.workdir.failed, b"\n")
        self._removed = PatternCounts(farm.workdir.removed, b"\n")
        self._journals: dict[Path, PatternCounts] = {}
        self._next = 0

    def look(self, *, at_running: bool = True) -> Count:
        """Return where the tasks are now.

        Parameters
        ----------
        at_running
            Whether journals are read, too; if not, the number of running tasks is that of the last time.
        """
        self._finished.advance()
        self._failed.advance()
        self._removed.advance()
        if at_running:
            self._advance_journals()
        running = sum(max(0, begun - ended - killed) for begun, ended, killed in self._runs())
        total = len(self._farm.catalog) - self._removed.counts[0]
        return Count(total, self._finished.counts[0], self._failed.counts[0], running)

    def _advance_journals(self) -> None:
        paths = open_journals(self._farm.workdir.farmers)
        patterns = (b'{"ev":"begin"', b'{"ev":"end"', b'{"ev":"killed"')
        self._journals = {path: self._journals.get(path) or PatternCounts(path, *patterns) for path in paths}
        journals = list(self._journals.values())
        start = self._next % max(1, len(journals))
        for journal in (journals[start:] + journals[:start])[:JOURNALS_PER_LOOK]:
            journal.advance()
        self._next = start + JOURNALS_PER_LOOK

    def _runs(self) -> list[list[int]]:
        return [journal.counts for journal in self._journals.values()]
