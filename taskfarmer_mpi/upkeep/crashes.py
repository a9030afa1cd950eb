"""What the death of a farmer means for the attempts at its tasks, as recovery finds them; the work lock is held."""

from __future__ import annotations

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.history.attempts import CRASHED, FAILED, Attempt, Attempts, encode_attempts
from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.workdir.journal import append_record
from taskfarmer_mpi.workdir.lists import append_lines, append_tasks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from taskfarmer_mpi.workdir.farm import Farm
    from taskfarmer_mpi.workdir.journal_reading import JournalState

_KILLED = -9
"""Return code of a run that ended with its farmer: nobody saw another one."""


def note_attempts(farm: Farm, states: Sequence[JournalState], back: Collection[int]) -> Attempts:
    """Write down which attempts dead farmers made and had no time to write down, and which ended with them.

    Parameters
    ----------
    farm
        Whose lock is held.
    states
        What their journals say.
    back
        Those of their tasks that are still to do.
    """
    attempts = Attempts(farm.workdir.attempts)
    attempts.advance()
    found = []
    for state in states:
        farmer = state.identity.farmer
        found += [Attempt(task, number, FAILED, farmer) for task, number in state.tried if number > attempts.count(task)]
        for task in sorted(state.running.keys() & set(back)):
            if not attempts.has_crash(task, farmer):
                made = [one.number for one in found if one.task == task]
                found.append(Attempt(task, max([attempts.count(task), *made]) + 1, CRASHED, farmer))
    if found:
        append_lines(farm.workdir.attempts, encode_attempts(found), farm.lock.confirm)
    for attempt in found:
        attempts.add(attempt)
    return attempts


def fail_crashers(
    farm: Farm, journals: Sequence[tuple[Path, JournalState]], back: Collection[int], attempts: Attempts
) -> set[int]:
    """Record tasks as failed during which farmers died as often as the rules allow; return them.

    The journal of the farmer that died last says so first, so that recovery can be cut short here and done again.
    """
    limit = farm.rules.crash_limit
    failed: set[int] = set()
    for path, state in journals:
        for task in sorted(state.running.keys() & set(back)):
            slot, begin = state.running[task]
            if limit and attempts.crashes(task) >= limit:
                end = {"id": task, "slot": slot, "begin": begin, "end": begin, "rc": _KILLED, "cpu": 0.0, "rss": 0}
                append_record(path, "end", **end, cause=Cause.CRASHES)
                failed.add(task)
            elif farm.rules.counts_attempts or farm.workdir.settings.exists():
                from taskfarmer_mpi.logs.earlier import keep_log

                keep_log(farm.workdir, task)
    if failed:
        tasks = [Task(task, farm.catalog[task]) for task in sorted(failed)]
        append_tasks(farm.workdir.failed, tasks, farm.lock.confirm)
    return failed
