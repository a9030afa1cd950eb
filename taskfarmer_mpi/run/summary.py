"""What a user reads at the end."""

from __future__ import annotations

from collections.abc import Iterable

from taskfarmer_mpi.farmer.tally import Tally
from taskfarmer_mpi.upkeep.census import Census
from taskfarmer_mpi.workdir.files import Workdir

SHOWN = 10
"""How many task IDs a list of them shows."""


def summarize(*, census: Census, tallies: list[Tally], workdir: Workdir, wall: float, stop_reason: str | None) -> list[str]:
    """Return the lines of the summary.

    Parameters
    ----------
    census
        Where every task is.
    tallies
        What each farmer of this job did.
    workdir
        Where the logs are.
    wall
        Wall time of the job [s].
    stop_reason
        Why it stopped early, if it did.
    """
    lines = []
    if stop_reason is not None:
        lines.append(f"stopped early: {stop_reason}")
    left = census.to_do + census.held + len(census.lost)
    lines.append(
        f"{tasks(census.total)}: {census.finished} finished, {len(census.failed)} failed, {left} left"
        f" (this job: {sum(tally.finished for tally in tallies)} finished, {sum(tally.failed for tally in tallies)} failed)"
    )
    if census.failed:
        lines.append(f"failed: {shorten(census.failed)}")
        lines += [f"  {workdir.log(task_id)}" for task_id in census.failed[:SHOWN]]
    if census.held:
        lines.append(f"{census.held} tasks are in the hands of other farmers")
    if census.lost:
        lines.append(
            f"in nobody's hands: {shorten(census.lost)}: a plain PyTaskFarmer has them, or had them when it was killed."
            " If none is at work, --reclaim puts them back on the list"
        )
    offered = wall * sum(tally.slots for tally in tallies)
    share = 100 * sum(tally.busy for tally in tallies) / offered if offered > 0 else 0.0
    farmers = "1 farmer" if len(tallies) == 1 else f"{len(tallies)} farmers"
    lines.append(f"{farmers}, {wall:.1f} s wall time, slots busy {share:.0f} % of the time")
    lines.append(f"timeline: {workdir.timeline}")
    return lines


def tasks(count: int) -> str:
    """Return a number of tasks in words."""
    return "1 task" if count == 1 else f"{count} tasks"


def shorten(ids: Iterable[int]) -> str:
    """Return the first of some task IDs, and how many more there are."""
    known = list(ids)
    shown = ", ".join(map(str, known[:SHOWN]))
    return shown if len(known) <= SHOWN else f"{shown} and {len(known) - SHOWN} more"
