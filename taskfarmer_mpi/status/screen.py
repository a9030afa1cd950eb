"""A `Status` as text for a terminal or a file; what must not be missed fits into 60 columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.common.wording import count_of, make_printable, rate_unit, say_duration, say_rate, say_time, shorten
from taskfarmer_mpi.history.failures import Failure
from taskfarmer_mpi.status.snapshot import Counts, RunningTask, Status

WIDTH = 100
"""Columns, where they are not known."""
_WIDE = 80
"""From so many columns on all counts are in one line."""
SHOWN = 20
"""How many farmers and how many running tasks are shown."""
_BAR, _BESIDE_BAR = 50, 30
_DISPENSABLE = ("job", "since", "held", "rank")
"""Columns of the table of farmers that go where there is no room for all, in this order."""

Paint = Callable[[str, str], str]
"""Returns a text in a style."""

STYLES = {"title": "1", "good": "32", "bad": "31", "warning": "33", "quiet": "2"}


def paint(text: str, style: str) -> str:
    """Return a text with the escape sequences of a terminal around it."""
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if text else text


def leave_plain(text: str, style: str) -> str:  # noqa: ARG001
    """Return the text as it is."""
    return text


def draw_status(status: Status, paint: Paint = leave_plain, width: int = WIDTH) -> list[str]:
    """Return the lines of a status for a screen of so many columns; names of files and warnings may be longer."""
    lines = [*draw_head(status, paint, width)]
    lines += [paint(make_printable(f"warning: {text}"), "warning") for text in status.warnings]
    if status.farmers:
        lines += ["", *_draw_farmers(status, paint, width)]
    if status.running:
        lines += ["", *_draw_running(status.running, status.time, paint, width)]
    if status.failures:
        lines += ["", *_draw_failures(status, paint, width)]
    return lines


def draw_head(status: Status, paint: Paint, width: int) -> Iterable[str]:
    """Yield the first lines: where the tasks are, how far it is, what is the matter."""
    tasks = status.tasks
    done = tasks.finished + tasks.failed + tasks.removed
    share = 100 * done // tasks.total if tasks.total else 100
    yield paint(make_printable(status.workdir), "title")
    yield f"{count_of(tasks.total, 'task')}, {share} % done, at {say_time(status.time, 0.0)}"
    finished = paint(f"{tasks.finished:,} finished", "good")
    failed = paint(f"{tasks.failed:,} failed", "bad" if tasks.failed else "quiet")
    nobody = paint(f"{tasks.nobody:,} in nobody’s hands", "warning" if tasks.nobody else "quiet")
    ended, others = (
        f"{finished}, {failed}, {tasks.running:,} running",
        f"{tasks.taken:,} taken, {tasks.to_do:,} to do, {nobody}",
    )
    others += f", {tasks.removed:,} removed" if tasks.removed else ""
    yield from [f"  {ended}, {others}"] if width >= _WIDE else [f"  {ended},", f"  {others}"]
    if status.paused:
        yield paint(make_printable(f"  {status.paused}: no tasks are taken until: taskfarmer-ctl resume"), "warning")
    bar = max(10, min(_BAR, width - _BESIDE_BAR))
    yield f"  {_draw_bar(tasks, paint, bar)} {_say_rest(status)}"
    if status.is_abandoned:
        yield paint("  no farmer is at work: the same command goes on", "warning")
    if status.nobody:
        more = tasks.nobody - len(status.nobody)
        named = ", ".join(map(str, status.nobody)) + (f" and {more:,} more" if more else "")
        why = "a PyTaskFarmer has them, or had them when it died" if status.may_be_plain else "cut out of the list by hand"
        yield f"  in nobody’s hands: {named}: {why}"


def _draw_bar(tasks: Counts, paint: Paint, width: int) -> str:
    total = max(tasks.total - tasks.removed, 1)
    finished = width * tasks.finished // total
    failed = min(-(-width * tasks.failed // total), width - finished)
    working = min(-(-width * (tasks.running + tasks.taken) // total), width - finished - failed)
    rest = width - finished - failed - working
    return f"[{paint('#' * finished, 'good')}{paint('!' * failed, 'bad')}{'>' * working}{paint('.' * rest, 'quiet')}]"


def _say_rest(status: Status) -> str:
    if status.is_done:
        return "done" if not status.tasks.nobody else "nothing left to take"
    if status.rate is None:
        return "no rate yet"
    rest = "" if status.left is None else f", {say_duration(status.left)} left"
    return f"{say_rate(status.rate)}{rest}"


_STATES = ("alive", "dead", "unknown", "ended", "died", "lost")
_STATE_STYLES = {"alive": "good", "dead": "bad", "unknown": "warning"}


def _draw_farmers(status: Status, paint: Paint, width: int) -> Iterable[str]:
    farmers, now = status.farmers, status.time
    unit = rate_unit(status.rate or 0.0)
    states = {state: sum(farmer.state == state for farmer in farmers) for state in _STATES}
    counts = ", ".join(f"{count:,} {state}" for state, count in states.items() if count)
    yield paint(f"FARMERS ({counts})", "title")
    order = {state: number for number, state in enumerate(states)}
    ranked = sorted(
        farmers, key=lambda farmer: (order[farmer.state], -farmer.born if farmer.state in _STATES[3:] else farmer.rank)
    )
    rows = [
        (
            farmer.state,
            shorten(make_printable(farmer.host), 16),
            f"{farmer.rank}/{farmer.ranks}",
            shorten(make_printable(farmer.job) or "-", 12),
            f"{farmer.busy}/{farmer.slots}",
            f"{farmer.held:,}",
            f"{farmer.finished:,}",
            f"{farmer.failed:,}",
            "-" if farmer.rate is None else say_rate(farmer.rate, unit),
            say_time(farmer.born, now),
        )
        for farmer in ranked[:SHOWN]
    ]
    head = ("state", "host", "rank", "job", "busy", "held", "finished", "failed", "rate", "since")
    table = _Table(head, rows, "<<><>>>>>>").fitted(width)
    yield from _draw_table(table, paint, [_STATE_STYLES.get(row[0], "quiet") for row in rows])
    if len(ranked) > SHOWN:
        yield paint(f"  and {len(ranked) - SHOWN:,} more (--json has all)", "quiet")
    for farmer in (farmer for farmer in ranked if farmer.aside and farmer.state in ("alive", "unknown")):
        yield paint(make_printable(f"  rank {farmer.rank} takes no more tasks: {farmer.aside}"), "bad")
    for farmer in (farmer for farmer in ranked if farmer.waiting):
        yield paint(make_printable(f"  rank {farmer.rank} starts no task: {farmer.waiting}"), "warning")
    if states["dead"]:
        yield paint("  what a dead farmer had in its hands goes back to the list when a farmer is started", "quiet")


class _Table(Value):
    """Rows of cells below their titles."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    sides: str
    """For each column, whether it is flush left or right: `<` or `>`."""

    @property
    def widths(self) -> list[int]:
        """Return how wide each column is."""
        return [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]

    def fitted(self, width: int) -> _Table:
        """Return a table for so many columns of a screen, without those that it can do without if need be."""
        table = self
        for name in _DISPENSABLE:
            if sum(table.widths) + 2 * len(table.head) > width:
                table = table.without(table.head.index(name))
        return table

    def without(self, column: int) -> _Table:
        """Return a table without a column."""
        head, *rows = ([*cells[:column], *cells[column + 1 :]] for cells in (self.head, *self.rows))
        return _Table(head, rows, self.sides[:column] + self.sides[column + 1 :])

    def lines(self) -> list[list[str]]:
        """Return the cells of all lines, filled up with blanks."""
        widths = self.widths
        return [
            [f"{cell:{side}{width}}" for cell, side, width in zip(row, self.sides, widths, strict=True)]
            for row in (self.head, *self.rows)
        ]


def _draw_table(table: _Table, paint: Paint, styles: Sequence[str]) -> Iterable[str]:
    head, *rows = table.lines()
    yield paint("  " + "  ".join(head).rstrip(), "quiet")
    for row, style in zip(rows, styles, strict=True):
        yield ("  " + "  ".join([paint(row[0], style), *row[1:]])).rstrip()


def _draw_running(running: Sequence[RunningTask], now: float, paint: Paint, width: int) -> Iterable[str]:
    yield paint(f"RUNNING ({len(running):,}, the longest first)", "title")
    rows = [
        (
            f"task {run.task}",
            shorten(make_printable(run.host), 16),
            f"rank {run.rank}",
            f"slot {run.slot}",
            say_time(run.begin, now),
            say_duration(max(now - run.begin, 0.0)),
        )
        for run in running[:SHOWN]
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row, run in zip(rows, running, strict=False):
        place = "  ".join(f"{cell:{size}}" for cell, size in zip(row, widths, strict=True))
        what = f"{run.name}: {run.command}" if run.name else run.command
        yield f"  {place}  {paint(shorten(make_printable(what), max(width - 4 - len(place), 10)), 'quiet')}"
    if len(running) > SHOWN:
        yield paint(f"  and {len(running) - SHOWN:,} more (--json has all)", "quiet")


def _draw_failures(status: Status, paint: Paint, width: int) -> Iterable[str]:
    yield paint(f"FAILED (the last {len(status.failures):,} of {status.tasks.failed:,})", "title")
    for failure in status.failures:
        yield f"  {paint(f'task {failure.task}', 'bad')}: {make_printable(failure.cause)}{_say_where(failure, status.time)}"
        yield f"    {shorten(make_printable(failure.command), width - 4)}"
        yield f"    {paint(make_printable(failure.log), 'quiet')}"
        yield from (f"    {paint('|', 'quiet')} {shorten(line, width - 6)}" for line in failure.log_tail)


def _say_where(failure: Failure, now: float) -> str:
    if failure.host is None or failure.begin is None or failure.end is None:
        return ""
    lasted = say_duration(max(failure.end - failure.begin, 0.0))
    host = make_printable(failure.host)
    return f" · {host}, rank {failure.rank}, slot {failure.slot} · after {lasted}, at {say_time(failure.end, now)}"
