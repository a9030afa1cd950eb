"""The packing picture: each run in its slot where they are few, else how many slots of each farmer were busy."""

from __future__ import annotations

from bisect import bisect_right

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.common.wording import count_of, make_printable, say_duration, shorten
from taskfarmer_mpi.report.contents import Report
from taskfarmer_mpi.report.figures import HEIGHT, WIDTH, Bar, draw_area
from taskfarmer_mpi.report.slot_usage import Lane
from taskfarmer_mpi.report.time_axis import Axis

MAX_ROWS = 40
"""Into how many rows the farmers are put at most."""
MAX_LANES = 400
"""Up to so many slots have a lane of their own."""
_LANE = 10.0
_TITLE = 80


class Overview(Value):
    """Busy slots of all farmers over time, as paths."""

    top: str
    offered: str
    busy: str
    failed: str


class Row(Value):
    """One farmer, or some where there are many."""

    label: str
    share: str
    """How much of the slot time was used."""
    tall: float
    """Height of the plane."""
    height: int
    """Height on the page [pixels]."""
    lives: list[Bar]
    bars: list[Bar] = []
    """The runs one by one, or none."""
    busy: str = ""
    """Path of the area of busy slots, where the runs are many."""
    failed: str = ""


class Picture(Value):
    """All rows."""

    rows: list[Row]
    note: str
    is_exact: bool


def gap_places(axis: Axis) -> list[float]:
    """Return where time was left out."""
    return [round(WIDTH * session.offset / axis.length, 2) for session in axis.sessions[1:]] if axis.length else []


def draw_overview(report: Report) -> Overview:
    """Return the picture of all farmers together."""
    everyone = list(range(len(report.farmers)))
    offered = report.packing.offered.values()
    busy = report.packing.busy(everyone)
    top = max([*offered, *busy, 1.0])
    return Overview(
        top=count_of(round(top), "slot"),
        offered=draw_area(offered, top, len(offered)),
        busy=draw_area(busy, top, len(busy)),
        failed=draw_area(report.packing.failed(everyone), top, len(busy)),
    )


def draw_rows(report: Report) -> Picture:
    """Return the packing picture."""
    begins = [session.begin for session in report.axis.sessions]
    farmers = report.farmers
    order = sorted(
        range(len(farmers)),
        key=lambda i: (bisect_right(begins, farmers[i].history.born), farmers[i].history.identity.rank, i),
    )
    slots = sum(farmer.history.identity.slots for farmer in farmers)
    if report.packing.is_exact and len(farmers) <= MAX_ROWS and slots <= MAX_LANES:
        lanes: dict[int, list[Lane]] = {}
        for lane in report.packing.exact:
            lanes.setdefault(lane.farmer, []).append(lane)
        rows = [_exact_row(report, number, lanes.get(number, [])) for number in order]
        return Picture(
            rows, "A bar is one run of a task in its slot. Right: how much of the slot time was used.", is_exact=True
        )
    size = max(1, -(-len(order) // MAX_ROWS))
    rows = [_area_row(report, order[i : i + size]) for i in range(0, len(order), size)]
    each = "a farmer" if size == 1 else f"{size} farmers"
    note = f"How many slots were busy: a row is {each}, its height all slots. Right: how much of the slot time was used."
    return Picture(rows, note, is_exact=False)


def _exact_row(report: Report, number: int, lanes: list[Lane]) -> Row:
    slots = max(report.farmers[number].history.identity.slots, *(lane.run.slot + 1 for lane in lanes), 1)
    pixels = 13 if slots <= 8 else 8 if slots <= 24 else 4
    return Row(
        label=_label(report, [number]),
        share=_share(report, [number]),
        tall=_LANE * slots,
        height=pixels * slots,
        lives=_lives(report, [number]),
        bars=[_bar(report, lane) for lane in lanes],
    )


def _bar(report: Report, lane: Lane) -> Bar:
    scale = WIDTH / report.axis.length if report.axis.length else 0.0
    run = lane.run
    command = shorten(make_printable(report.last_runs.texts[run.task_id]), _TITLE)
    return Bar(
        x=round(lane.begin * scale, 2),
        y=round((run.slot + 0.08) * _LANE, 1),
        width=round(max((lane.end - lane.begin) * scale, 0.8), 2),
        height=round(0.84 * _LANE, 1),
        kind=run.outcome.value,
        title=f"task {run.task_id}, {run.outcome.value}, {say_duration(lane.end - lane.begin)}: {command}",
    )


def _area_row(report: Report, numbers: list[int]) -> Row:
    slots = sum(report.farmers[number].history.identity.slots for number in numbers)
    rows = -(-len(report.farmers) // len(numbers))
    points = 1024 if rows <= 12 else 400
    return Row(
        label=_label(report, numbers),
        share=_share(report, numbers),
        tall=HEIGHT,
        height=46 if rows <= 12 else 26,
        lives=_lives(report, numbers),
        busy=draw_area(report.packing.busy(numbers), slots, points),
        failed=draw_area(report.packing.failed(numbers), slots, points),
    )


def _lives(report: Report, numbers: list[int]) -> list[Bar]:
    """Return when some farmers lived; where these times overlap, they are one."""
    scale = WIDTH / report.axis.length if report.axis.length else 0.0
    lives = Axis((report.farmers[number].history.born, report.farmers[number].left) for number in numbers)
    found = []
    for session in lives.sessions:
        begin, end = report.axis.place(session.begin) * scale, report.axis.place(session.end) * scale
        found.append(Bar(round(begin, 2), 0, round(max(end - begin, 0.5), 2), HEIGHT, "life", ""))
    return found


def _label(report: Report, numbers: list[int]) -> str:
    first, last = (report.farmers[number].history.identity for number in (numbers[0], numbers[-1]))
    name = first.farmer if not first.alive_lock else f"rank {first.rank} · {shorten(make_printable(first.host), 20)}"
    if len(numbers) > 1:
        return f"{name} to rank {last.rank} · {shorten(make_printable(last.host), 20)}"
    return f"{name} · {count_of(first.slots, 'slot')}"


def _share(report: Report, numbers: list[int]) -> str:
    chosen = [report.farmers[number] for number in numbers]
    offered = sum(farmer.life * farmer.history.identity.slots for farmer in chosen)
    return f"{100 * min(sum(farmer.busy_time for farmer in chosen) / offered, 1.0):.0f} %" if offered else "–"
