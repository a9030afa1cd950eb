"""The end of a job, as its leader sees it: where all tasks are, the trace, the exit code, the summary."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.errors import FarmError, UserError, describe
from taskfarmer_mpi.farmer.farmer import Farmer
from taskfarmer_mpi.job.coordination import Coordinator
from taskfarmer_mpi.run.summary import TraceState, Work, summarize
from taskfarmer_mpi.trace.timeline import merge_timeline
from taskfarmer_mpi.upkeep.census import Census, take_patient_census
from taskfarmer_mpi.upkeep.holders import is_anyone_at_work
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.journal_reading import all_journals, read_last_records, read_records
from taskfarmer_mpi.workdir.journal_records import OPEN_SUFFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.history.failed_runs import FailureGroup

log = Log(__name__)

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_LEFT = 0, 1, 2, 75
"""All finished; some failed; a user's mistake; work is left, run it again."""

DEPARTURES = 2.0
"""How long the leader, who leaves last, waits for the other ranks to leave [s]."""
QUICK_MERGE = 16 * 1024 * 1024
"""Journals up to this size [bytes] are merged also when the farm was told to stop and has little time."""


class Ending(Value):
    """How a rank's work ended."""

    code: int
    lines: list[str]
    """What to print; nothing on ranks that do not lead."""


def end_job(
    farm: Farm,
    farmer: Farmer,
    coordinator: Coordinator,
    lock_patience: float,
    born: float,
    before_leave: Callable[[], object] = lambda: None,
) -> Ending:
    """See what came of the tasklist, dismiss the other ranks, leave, and merge the trace if nobody else is at work.

    Parameters
    ----------
    farm, farmer, coordinator
        The leader's.
    lock_patience
        How long to wait for the lock [s].
    born
        When this rank began, on the clock that only goes forward [s].
    before_leave
        What is to be done once the other ranks have left, before this one does.
    """
    patience = lock_patience if farmer.trouble is None else 0.0  # after trouble it was waited for already
    try:
        census = take_patient_census(farm, patience)
        if farmer.trouble is None:
            farmer.journal.flush()
    except (UserError, FarmError, OSError) as error:
        log.error("%s", describe(error, farm.workdir.path))
        coordinator.spread("end", EXIT_LEFT)
        before_leave()
        leave(farmer, farm)
        return Ending(EXIT_LEFT, [])
    code = _exit_code(census, farmer, coordinator)
    coordinator.spread("end", code)
    coordinator.ranks.wait_for_departures(DEPARTURES)
    before_leave()
    leave(farmer, farm)  # before it looks who else is at work: of those that end together, one at least sees nobody
    try:
        return Ending(code, _summary(farm, farmer, coordinator, census, patience, born))
    except (FarmError, OSError) as error:  # everything is recorded: what is said of it changes no code
        log.warning("the summary cannot be made: %s", describe(error, farm.workdir.path))
        return Ending(code, [])


def _summary(
    farm: Farm, farmer: Farmer, coordinator: Coordinator, census: Census, patience: float, born: float
) -> list[str]:
    """Merge the trace, and return the summary."""
    trace = _merge_as_last(farm, patience, coordinator.ranks.life_paths.values(), is_in_haste=farmer.stop_reason is not None)
    lines = summarize(
        census=census,
        groups=_group_failures(farm, census.failed),
        work=_work(farm, farmer, coordinator, time.monotonic() - born),
        workdir=farm.workdir,
        stop_reason=farmer.stop_reason or farmer.drain_reason,
        trace=trace,
    )
    if farm.catalog.then is not None:
        from taskfarmer_mpi.run.then import say_then

        lines[-2:-2] = say_then(farm, census)
    return lines


def leave(farmer: Farmer, farm: Farm) -> None:
    """Settle a farmer's own affairs; what cannot be done is left to recovery."""
    try:
        farmer.leave()
    except (FarmError, OSError) as error:
        log.error("%s", describe(error, farm.workdir.path))


def _group_failures(farm: Farm, failed: list[int]) -> list[FailureGroup]:
    if not failed:
        return []
    from taskfarmer_mpi.history.failed_runs import group_failures, read_failed_runs

    return group_failures(farm.workdir, failed, read_failed_runs(farm.workdir, failed))


def _exit_code(census: Census, farmer: Farmer, coordinator: Coordinator) -> int:
    is_unsettled = farmer.trouble is not None or coordinator.recovery.waiting or coordinator.recovery.unknown
    if farmer.stop_reason is not None or census.to_do or census.lost or (census.held and is_unsettled):
        return EXIT_LEFT
    return EXIT_FAILED if census.failed else EXIT_DONE


def _work(farm: Farm, farmer: Farmer, coordinator: Coordinator, wall: float) -> Work:
    """Add up what the farmers of this job did; who left before the end offered its slots only until then."""
    tallies = {coordinator.leader: farmer.tally} | {rank: report.tally for rank, report in coordinator.reports.items()}
    locks = {path.name.removesuffix(".alive") for rank, path in coordinator.ranks.life_paths.items() if rank in tallies}
    return Work(list(tallies.values()), wall, offered_time(farm, locks))


def offered_time(farm: Farm, locks: Collection[str]) -> float:
    """Return the slot time of the farmers that hold some locks, by their journals [s]."""
    total = 0.0
    for path in all_journals(farm.workdir.farmers):
        if any(lock.endswith(f".{path.stem}") for lock in locks):
            with suppress(OSError, KeyError, StopIteration, IndexError):
                first = next(read_records(path))
                end = time.time() if path.suffix == OPEN_SUFFIX else read_last_records(path)[-1]["t"]
                total += first["slots"] * max(0.0, end - first["t"])
    return total


def _merge_as_last(farm: Farm, patience: float, own: Collection[Path], *, is_in_haste: bool) -> TraceState:
    """Merge the trace, unless others are at work, the last of whom does it; `own` are the life locks of this job.

    It is a by-product: that it cannot be written changes nothing else.
    """
    if is_anyone_at_work(farm, own):
        return TraceState.LATER
    if is_in_haste and _size_of_journals(farm) > QUICK_MERGE:
        log.warning("the timeline is not merged, as there is no time: the next run does it")
        return TraceState.MISSING
    try:
        troubles = merge_timeline(farm.workdir, farm.lock, farm.catalog, patience).troubles
    except (UserError, FarmError, OSError) as error:
        reason = describe(error, farm.workdir.timeline)
        log.warning("the trace cannot be written: %s; later: taskfarmer-ctl trace %s", reason, farm.workdir.path)
        return TraceState.MISSING
    for trouble in troubles:
        log.warning("%s", trouble)
    return TraceState.WRITTEN


def _size_of_journals(farm: Farm) -> int:
    size = 0
    for path in all_journals(farm.workdir.farmers):
        with suppress(FileNotFoundError):  # closed, and so renamed, this moment
            size += path.stat().st_size
    return size
