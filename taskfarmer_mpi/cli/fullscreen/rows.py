"""What the tables of the full-screen view say of a status: plain values, one row for each farmer and task."""

from __future__ import annotations

from collections.abc import Sequence

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.common.wording import make_printable, say_duration, say_rate, shorten
from taskfarmer_mpi.history.failures import Failure
from taskfarmer_mpi.status.snapshot import Status

SHOWN = 200
"""How many rows a table has at most: what the screen shows of them is drawn, but all are compared at each look."""
REST = 400
"""The width of a last column: the screen ends before it."""


class Column(Value):
    """A column of a table."""

    title: str
    width: int


class Row(Value):
    """A row of a table; rows of the same key follow each other from look to look."""

    key: str
    cells: Sequence[str]
    style: str = ""
    task: int | None = None
    """The task that it is about."""


FARMERS = (
    Column("state", 7),
    Column("host", 14),
    Column("rank", 7),
    Column("busy", 9),
    Column("done", 9),
    Column("rate, failures, why it waits", REST),
)
RUNNING = (Column("task", 8), Column("host", 14), Column("for", 8), Column("command", REST))
FAILURES = (Column("task", 8), Column("cause", 24), Column("ago", 8), Column("log", REST))

_ORDER = ("alive", "dead", "unknown", "ended", "died")
_STYLES = {"alive": "green", "dead": "red", "unknown": "yellow"}


def farmer_rows(status: Status) -> list[Row]:
    """Return a row for each farmer: those at work first, the others by age."""
    ranked = sorted(
        status.farmers,
        key=lambda who: (_ORDER.index(who.state), -who.born if who.state in ("ended", "died") else who.rank),
    )
    rows = []
    for who in ranked[:SHOWN]:
        rate = "" if who.rate is None else say_rate(who.rate)
        notes = [rate, f"{who.failed:,} failed" if who.failed else "", who.aside or who.waiting]
        job = f"job {who.job}" if who.job else ""
        cells = (
            who.state,
            shorten(make_printable(who.host), 14),
            f"{who.rank}/{who.ranks}",
            f"{who.busy}/{who.slots}",
            f"{who.finished:,}",
            make_printable(", ".join(filter(None, [*notes, job]))),
        )
        rows.append(Row(who.farmer, cells, _STYLES.get(who.state, "dim")))
    return rows


def running_rows(status: Status) -> list[Row]:
    """Return a row for each task that runs, the longest first."""
    return [
        Row(
            f"{run.task} {run.farmer}",
            (
                str(run.task),
                shorten(make_printable(run.host), 14),
                say_duration(max(status.time - run.begin, 0.0)),
                shorten(make_printable(f"{run.name}: {run.command}" if run.name else run.command), REST),
            ),
            task=run.task,
        )
        for run in status.running[:SHOWN]
    ]


def failure_rows(status: Status) -> list[Row]:
    """Return a row for each of the last failures, the newest first."""
    return [
        Row(
            f"{failure.task} {failure.end}",
            (
                str(failure.task),
                shorten(make_printable(failure.cause), 24),
                "" if failure.end is None else say_duration(max(status.time - failure.end, 0.0)),
                shorten(make_printable(failure.log_tail[-1] if failure.log_tail else failure.command), REST),
            ),
            "red",
            failure.task,
        )
        for failure in reversed(status.failures)
    ]


def describe_failure(failure: Failure) -> list[str]:
    """Return what is said below the tables of a failure that is chosen: the command, the end of its log."""
    place = "" if failure.host is None else f" on {failure.host}, rank {failure.rank}, slot {failure.slot}"
    return [make_printable(line) for line in (f"{failure.cause}{place}: {failure.command}", failure.log, *failure.log_tail)]
