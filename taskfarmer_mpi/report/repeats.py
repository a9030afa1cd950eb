"""Why runs ended that were not the end of their tasks: attempts that failed, were cut short, or died with their farmer."""

from __future__ import annotations

from collections import Counter

from taskfarmer_mpi.common.causes import Cause, describe_cause
from taskfarmer_mpi.history.last_runs import LastRuns, TaskState
from taskfarmer_mpi.history.runs import Attempt, Outcome

_Kind = tuple[int | None, Cause | None]
"""Return code and cause."""
_REPEATED = (Outcome.FAILED, Outcome.KILLED, Outcome.LOST)


class Repeats:
    """Counts such runs."""

    def __init__(self) -> None:
        self._counts: Counter[_Kind] = Counter()
        self._peaks: dict[_Kind, int] = {}

    def see(self, run: Attempt) -> None:
        """Take a run into account."""
        if run.outcome in _REPEATED:
            kind = _kind(run)
            self._counts[kind] += 1
            self._peaks[kind] = max(self._peaks.get(kind, 0), run.max_rss)

    def in_words(self, last_runs: LastRuns) -> list[tuple[str, int]]:
        """Return why they ended, and how many, the most frequent first; failed tasks ended with their last runs."""
        last = Counter(
            _kind(run)
            for task in range(len(last_runs))
            if last_runs.state(task) is TaskState.FAILED and (run := last_runs.last_run(task)) is not None
        )
        found: Counter[str] = Counter()
        for kind, count in (self._counts - last).items():
            code, cause = kind
            found[describe_cause(code, cause=cause, peak=self._peaks[kind])] += count
        return found.most_common()


def _kind(run: Attempt) -> _Kind:
    """Return what is said of a run: its code only where that says something."""
    return (run.returncode if run.outcome is Outcome.FAILED else None), run.cause
