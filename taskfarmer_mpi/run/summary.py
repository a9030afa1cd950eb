"""What a user reads at the begin and at the end."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.common.wording import count_of, list_ids, tasks
from taskfarmer_mpi.farmer.tally import Tally
from taskfarmer_mpi.upkeep.census import Census
from taskfarmer_mpi.upkeep.recovery import Recovery
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.growing_file import GrowingFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.history.failed_runs import FailureGroup
    from taskfarmer_mpi.rendezvous.startup import Orders

GROUPS = 5
"""How many kinds of failures are shown."""
COMMAND_NOT_FOUND = 127
"""The exit code of a shell."""
HOSTS = 3
"""How many nodes are named."""


class TraceState(Enum):
    """What became of the trace at the end of a job."""

    WRITTEN = auto()
    LATER = auto()
    """Others are still at work: the last of them writes it."""
    MISSING = auto()


class Work(Value):
    """What the farmers of a job did."""

    tallies: list[Tally]
    """Of each farmer."""
    wall: float
    """Wall time of the job [s]."""
    offered: float
    """Slot time that there was, of each farmer from its start to its end [s]."""

    @property
    def finished(self) -> int:
        """Runs that finished."""
        return sum(tally.finished for tally in self.tallies)

    @property
    def failed(self) -> int:
        """Runs that failed."""
        return sum(tally.failed for tally in self.tallies)

    @property
    def busy_share(self) -> float:
        """Which part of the slot time was used, from 0 to 1."""
        return min(1.0, sum(tally.busy for tally in self.tallies) / self.offered) if self.offered > 0 else 0.0


def summarize(
    *,
    census: Census,
    groups: list[FailureGroup],
    work: Work,
    workdir: Workdir,
    stop_reason: str | None,
    trace: TraceState,
) -> list[str]:
    """Return the lines of the summary.

    Parameters
    ----------
    census
        Where every task is.
    groups
        Why tasks failed.
    work
        What the farmers of this job did.
    workdir
        Where the logs are.
    stop_reason
        Why it stopped early, if it did.
    trace
        What became of the trace.
    """
    lines = []
    left = census.to_do + census.held + len(census.lost)
    removed = f"{census.removed} removed, " if census.removed else ""
    if stop_reason is not None:
        how = "; to go on: --halt never, or another limit" if "(--halt " in stop_reason else "; the same command goes on"
        lines.append(f"stopped early: {stop_reason}{how if left else ''}")
    lines.append(
        f"{tasks(census.total)}: {census.finished} finished, {len(census.failed)} failed, {removed}{left} left"
        f" (this job: {work.finished} finished, {work.failed} failed)"
    )
    if stop_reason is None and census.total and not (left or work.finished or work.failed):
        lines.append(f"all was done before, so nothing was run; to begin anew: rm -r {_quote(workdir)}")
    lines += [f"{tally.aside}: that farmer took no more tasks" for tally in work.tallies if tally.aside]
    lines += _failed(census, groups, workdir)
    if census.held:
        lines.append(f"{tasks(census.held)} {'is' if census.held == 1 else 'are'} in the hands of other farmers")
    if census.lost:
        from taskfarmer_mpi.history.plain_signs import has_plain_signs  # rarely needed

        lines.append(_lost(census.lost, may_be_plain=has_plain_signs(workdir, census.lost)))
    farmers = count_of(len(work.tallies), "farmer")
    lines.append(f"{farmers}, {work.wall:.1f} s wall time, slots busy {100 * work.busy_share:.0f} % of the time")
    lines += _trace(trace, workdir)
    return lines


def _trace(trace: TraceState, workdir: Workdir) -> Iterator[str]:
    if trace is TraceState.WRITTEN:
        yield f"timeline: {workdir.timeline}"
    elif trace is TraceState.LATER:
        yield f"timeline: the last farmer writes it; to have it now: taskfarmer-ctl trace {_quote(workdir)}"


def _failed(census: Census, groups: list[FailureGroup], workdir: Workdir) -> Iterator[str]:
    if not census.failed:
        return
    yield f"failed: {list_ids(census.failed)}"
    from taskfarmer_mpi.logs.reading import Logs

    logs = Logs(workdir, [group.tasks[0] for group in groups[:GROUPS]])
    for group in groups[:GROUPS]:
        yield f"  {len(group.tasks)}{_where(group)}: {group.cause}; {logs.where(group.tasks[0])}"
    if (more := sum(len(group.tasks) for group in groups[GROUPS:])) > 0:
        yield f"  {more} for other reasons"
    if not census.finished and {group.returncode for group in groups} == {COMMAND_NOT_FOUND}:
        yield (
            "  no command was found: is the list for another tool, or PATH another one?"
            f" taskfarmer-ctl check -w {_quote(workdir)} points at odd lines"
        )
    yield f"  to run them again: taskfarmer-ctl retry {_quote(workdir)}, then this command"


def _lost(ids: list[int], *, may_be_plain: bool) -> str:
    if not may_be_plain:
        return f"in nobody's hands: {list_ids(ids)}: cut out of the list by hand; --reclaim puts them back"
    return (
        f"in nobody's hands: {list_ids(ids)}: a plain PyTaskFarmer has them, or had them when it was killed."
        " If none is at work, --reclaim puts them back on the list"
    )


def _where(group: FailureGroup) -> str:
    if not group.hosts:
        return ""
    if len(group.hosts) > HOSTS:
        return f" on {len(group.hosts)} nodes, most on {group.hosts[0]}"
    return f" on {', '.join(group.hosts)}"


def _quote(workdir: Workdir) -> str:
    import shlex

    return shlex.quote(str(workdir.path))


def say_start(
    farm: Farm, recovery: Recovery, orders: Orders, slots: int, asked: int | None, left: float
) -> Iterator[str | None]:
    """Yield what is said when a job begins; None for what need not be said.

    Parameters
    ----------
    slots
        Slots of rank 0.
    asked
        Slots of each rank; None for its share.
    left
        For how long tasks can run [s].
    """
    farmers = len(orders.farmers)
    yield f"{tasks(len(farm.catalog))}, {farmers} x {slots} slots, work directory {farm.workdir.path}"
    yield say_resumed(farm, recovery)
    yield orders.crowding(asked)
    yield orders.narrowness(asked)
    if farm.rules.durations:
        from taskfarmer_mpi.ordering.forecast import Forecast, expected, say_forecast

        all_slots = sum(asked or orders.shares[rank] for rank in orders.farmers)
        nodes = len(set(orders.hosts.values())) or 1
        yield from say_forecast(Forecast(expected(farm.workdir), all_slots, nodes, left))


def say_resumed(farm: Farm, recovery: Recovery) -> str | None:
    """Return where a farm goes on that was begun before; None if this is its first run, or nothing is left."""
    lists = (farm.workdir.finished, farm.workdir.failed, farm.workdir.removed)
    done = sum(lines.count(b"\n") for path in lists for lines, _ in GrowingFile(path).news())
    left = len(farm.catalog) - done
    if left <= 0 or not (done or recovery.farmers):
        return None
    back = ""
    if recovery.farmers:
        back = f", {recovery.tasks} taken back from {count_of(recovery.farmers, 'dead farmer')}"
    return f"going on: {done} done, {left} left{back}"
