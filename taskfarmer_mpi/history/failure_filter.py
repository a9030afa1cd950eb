"""Which of the failed tasks are meant: by node, exit code, cause, time and what their logs say last."""

from __future__ import annotations

import math
from collections.abc import Iterable

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.common.wording import last_lines
from taskfarmer_mpi.history.failed_runs import FailedRun, read_failed_runs
from taskfarmer_mpi.logs.reading import Logs
from taskfarmer_mpi.workdir.files import Workdir

LOG_LINES = 20
"""In how many of the last lines of a log a text is looked for."""
_WIDTH = 1 << 16


class FailureFilter(Value):
    """What a failed task must be like; everything that is given must be true."""

    hosts: frozenset[str] = frozenset()
    """One of the nodes where its last run was; empty for any."""
    codes: frozenset[int] = frozenset()
    """One of the exit codes, or minus the numbers of signals; empty for any. 128 + n is signal n, too."""
    since: float = -math.inf
    """Its last run ended at this time or later [s since the epoch]."""
    text: str = ""
    """One of the last lines of its log has this text."""
    causes: frozenset[Cause] = frozenset()
    """One of the causes of its last run, or how its farmer died at the crash limit; empty for any."""

    @property
    def is_open(self) -> bool:
        """Whether every failed task is meant."""
        return self == FailureFilter()

    def select(self, workdir: Workdir, tasks: Iterable[int]) -> list[int]:
        """Return those of some failed tasks that are meant, in order.

        A task of whose run no journal tells, as PyTaskFarmer keeps none, is meant only if nothing but its log is asked for.
        """
        chosen = sorted(set(tasks))
        if self.hosts or self.codes or self.causes or self.since > -math.inf:
            runs = read_failed_runs(workdir, chosen)
            chosen = [task for task in chosen if task in runs and self._is_meant(runs[task])]
        logs = Logs(workdir, chosen)
        return [task for task in chosen if not self.text or self._says_text(logs, task)]

    def _is_meant(self, run: FailedRun) -> bool:
        if self.hosts and run.host not in self.hosts:
            return False
        if self.causes and self.causes.isdisjoint((run.cause, run.death)):
            return False
        code = run.returncode
        codes = {code, 128 - code if code > 128 else code}
        return run.end >= self.since and (not self.codes or not self.codes.isdisjoint(codes))

    def _says_text(self, logs: Logs, task: int) -> bool:
        _, tail = logs.ends(task)
        return any(self.text in line for line in last_lines(tail, LOG_LINES, _WIDTH))
