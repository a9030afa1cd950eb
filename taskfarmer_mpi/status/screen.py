"""A `Status` as text of at most 100 columns, for a terminal or a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from taskfarmer_mpi.common.wording import count_of, make_printable, say_duration, say_rate, say_time, shorten
from taskfarmer_mpi.history.failures import Failure
from taskfarmer_mpi.status.snapshot import Counts, FarmerStatus, RunningTask, Status

WIDTH = 100
SHOWN = 20
"""How many farmers and how many running tasks are shown."""
_BAR = 50

Paint = Callable[[str, str], str]
"""Returns a text in a style."""

STYLES = {"title": "1", "good": "32", "bad": "31", "warning": "33", "quiet": "2"}


def paint(text: str, style: str) -> str:
    """Return a text with the escape sequences of a terminal around it."""
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if text else text


def leave_plain(text: str, style: str) -> str:  # noqa: ARG001
    """Return the text as it is."""
    return text


def draw_status(status: Status, paint: Paint = leave_plain) -> list[str]:
    """Return the lines of a status."""
    lines = [*_draw_head(status, paint)]
    lines += [paint(make_printable(f"warning: {text}"), "warning") for text in status.warnings]
    if status.farmers:
        lines += ["", *_draw_farmers(status.farmers, status.time, paint)]
    if status.running:
        lines += ["", *_draw_running(status.running, status.time, paint)]
    if status.failures:
        lines += ["", *_draw_failures(status.failures, status.tasks.failed, status.time, paint)]
    return lines


def _draw_head(status: Status, paint: Paint) -> Iterable[str]:
    tasks = status.tasks
    done = tasks.finished + tasks.failed
    share = 100 * done // tasks.total if tasks.total else 100
    yield paint(make_printable(status.workdir), "title")
    yield f"{count_of(tasks.total, 'task')}, {share} % done, at {say_time(status.time, 0.0)}"
    finished = paint(f"{tasks.finished:,} finished", "good")
    failed = paint(f"{tasks.failed:,} failed", "bad" if tasks.failed else "quiet")
    nobody = paint(f"{tasks.nobody:,} in nobody’s hands", "warning" if tasks.nobody else "quiet")
    yield f"  {finished}, {failed}, {tasks.running:,} running, {tasks.taken:,} taken, {tasks.to_do:,} to do, {nobody}"
    yield f"  {_draw_bar(tasks, paint)} {_say_rest(status)}"
    if status.nobody:
        more = tasks.nobody - len(status.nobody)
        named = ", ".join(map(str, status.nobody)) + (f" and {more:,} more" if more else "")
        yield f"  in nobody’s hands: {named}: a PyTaskFarmer has them, or had them when it died"


def _draw_bar(tasks: Counts, paint: Paint) -> str:
    total = max(tasks.total, 1)
    finished = _BAR * tasks.finished // total
    failed = min(-(-_BAR * tasks.failed // total), _BAR - finished)
    working = min(-(-_BAR * (tasks.running + tasks.taken) // total), _BAR - finished - failed)
    rest = _BAR - finished - failed - working
    return f"[{paint('#' * finished, 'good')}{paint('!' * failed, 'bad')}{'>' * working}{paint('.' * rest, 'quiet')}]"


def _say_rest(status: Status) -> str:
    if status.is_done:
        return "done" if not status.tasks.nobody else "nothing left to take"
    if status.rate is None:
        return "no rate yet"
    rest = "" if status.left is None else f", {say_duration(status.left)} left"
    return f"{say_rate(status.rate)}{rest}"


_STATE_STYLES = {"alive": "good", "dead": "bad", "unknown": "warning"}


def _draw_farmers(farmers: Sequence[FarmerStatus], now: float, paint: Paint) -> Iterable[str]:
    states = {
        state: sum(farmer.state == state for farmer in farmers) for state in ("alive", "dead", "unknown", "left", "died")
    }
    counts = ", ".join(f"{count:,} {state}" for state, count in states.items() if count)
    yield paint(f"FARMERS ({counts})", "title")
    order = {state: number for number, state in enumerate(states)}
    ranked = sorted(
        farmers, key=lambda farmer: (order[farmer.state], -farmer.born if farmer.state in ("left", "died") else farmer.rank)
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
            "-" if farmer.rate is None else say_rate(farmer.rate),
            say_time(farmer.born, now),
        )
        for farmer in ranked[:SHOWN]
    ]
    head = ("state", "host", "rank", "job", "busy", "held", "finished", "failed", "rate", "since")
    yield from _draw_table(head, rows, "<<><>>>>>>", paint, [_STATE_STYLES.get(row[0], "quiet") for row in rows])
    if len(ranked) > SHOWN:
        yield paint(f"  and {len(ranked) - SHOWN:,} more (--json has all)", "quiet")
    for farmer in (farmer for farmer in ranked if farmer.aside and farmer.state in ("alive", "unknown")):
        yield paint(make_printable(f"  rank {farmer.rank} takes no more tasks: {farmer.aside}"), "bad")
    if states["dead"]:
        yield paint("  what a dead farmer had in its hands goes back to the list when a farmer is started", "quiet")


def _draw_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], sides: str, paint: Paint, styles: Sequence[str]
) -> Iterable[str]:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    cells = [
        [f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)] for row in (head, *rows)
    ]
    yield paint("  " + "  ".join(cells[0]).rstrip(), "quiet")
    for row, style in zip(cells[1:], styles, strict=True):
        yield ("  " + "  ".join([paint(row[0], style), *row[1:]])).rstrip()


def _draw_running(running: Sequence[RunningTask], now: float, paint: Paint) -> Iterable[str]:
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
        place = "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        yield f"  {place}  {paint(shorten(make_printable(run.command), max(WIDTH - 4 - len(place), 10)), 'quiet')}"
    if len(running) > SHOWN:
        yield paint(f"  and {len(running) - SHOWN:,} more (--json has all)", "quiet")


def _draw_failures(failures: Sequence[Failure], total: int, now: float, paint: Paint) -> Iterable[str]:
    yield paint(f"FAILED (the last {len(failures):,} of {total:,})", "title")
    for failure in failures:
        yield f"  {paint(f'task {failure.task}', 'bad')}: {make_printable(failure.cause)}{_say_where(failure, now)}"
        yield f"    {shorten(make_printable(failure.command), WIDTH - 4)}"
        yield f"    {paint(make_printable(failure.log), 'quiet')}"
        yield from (f"    {paint('|', 'quiet')} {shorten(line, WIDTH - 6)}" for line in failure.log_tail)


def _say_where(failure: Failure, now: float) -> str:
    if failure.host is None or failure.begin is None or failure.end is None:
        return ""
    lasted = say_duration(max(failure.end - failure.begin, 0.0))
    host = make_printable(failure.host)
    return f" · {host}, rank {failure.rank}, slot {failure.slot} · after {lasted}, at {say_time(failure.end, now)}"
