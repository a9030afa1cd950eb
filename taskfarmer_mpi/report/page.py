"""A `Report` as one HTML page: numbers become words and pictures here. The only importer of jinja2."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from taskfarmer_mpi import __version__
from taskfarmer_mpi.common.causes import describe_cause
from taskfarmer_mpi.common.search_path import read_own
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.common.wording import count_of, make_printable, say_duration, say_memory, say_rate, shorten
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.history.failures import Failure
from taskfarmer_mpi.history.last_runs import TaskState
from taskfarmer_mpi.history.pytaskfarmer_runs import UNKNOWN_HOST
from taskfarmer_mpi.history.runs import Outcome
from taskfarmer_mpi.report.contents import FarmerLine, LongTask, Report
from taskfarmer_mpi.report.figures import histogram, percentile, time_ticks
from taskfarmer_mpi.report.lanes import draw_overview, draw_rows, gap_places

if TYPE_CHECKING:
    import jinja2

COMMAND = 300
"""How many characters of a command are shown."""
FARMERS = 200
"""How many farmers the table shows."""
_QUANTILES = (
    (0.0, "shortest"),
    (0.05, "5 %"),
    (0.25, "25 %"),
    (0.5, "median"),
    (0.75, "75 %"),
    (0.95, "95 %"),
    (0.99, "99 %"),
)


class Item(Value):
    """A value with its name, and perhaps a note."""

    label: str
    value: str
    note: str = ""


class Part(Value):
    """A part of a bar."""

    kind: str
    share: float
    """[%]"""


def load_template() -> jinja2.Template:
    """Return the template of the page.

    Raises
    ------
    UserError
        If the extra `report` is not installed.
    """
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is missing: pip install 'taskfarmer-mpi[report]'") from error
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.from_string(read_own("report", "templates", "report.html"))


def render_page(template: jinja2.Template, report: Report) -> bytes:
    """Return the page."""
    return template.render(page=_page(report)).encode("utf-8", "replace")


def _page(report: Report) -> dict[str, Any]:
    """Return what the template shows: only text, numbers for pictures, and lists of these."""
    packing = draw_rows(report)
    bars, top, ticks = histogram(report.durations)
    return {
        "name": make_printable(report.workdir.path.name),
        "path": make_printable(str(report.workdir.path)),
        "period": _period(report),
        "asides": [make_printable(aside) for aside in report.last_runs.asides],
        "warnings": [make_printable(warning) for warning in report.warnings],
        "advice": make_printable(report.advice),
        "progress": _progress(report.states),
        "progress_title": _say_states(report.states),
        "tiles": _tiles(report),
        "gaps": gap_places(report.axis),
        "ticks": time_ticks(report.axis.length),
        "overview": draw_overview(report) if report.farmers else None,
        "rows": packing.rows,
        "packing_note": packing.note,
        "is_exact": packing.is_exact,
        "histogram": bars,
        "histogram_top": count_of(top, "task"),
        "histogram_ticks": ticks,
        "quantiles": _quantiles(report.durations),
        "longest": [_long_task(task) for task in report.longest],
        "causes": [Item(cause, f"{count:,}") for cause, count in report.causes[:12]],
        "repeats": [Item(cause, f"{count:,}") for cause, count in report.repeats[:12]],
        "failures": [_failure(failure) for failure in report.failures],
        "failures_note": _failures_note(report),
        "farmers": [_farmer(farmer) for farmer in report.farmers[-FARMERS:]],
        "farmers_note": _farmers_note(report),
        "version": __version__,
        "made": _date(report.moment),
    }


def _date(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _period(report: Report) -> str:
    sessions = report.axis.sessions
    if not sessions:
        return "no farmer of ours has worked here"
    end = sessions[-1].end
    jobs = "" if len(sessions) == 1 else f", in {len(sessions):,} stretches"
    return f"{_date(sessions[0].begin)} to {_date(end)}{jobs}"


def _say_states(states: dict[TaskState, int]) -> str:
    words = {TaskState.NOBODY: "in nobody’s hands"}
    return ", ".join(f"{count:,} {words.get(state, state.value)}" for state, count in states.items() if count) or "no tasks"


def _progress(states: dict[TaskState, int]) -> list[Part]:
    total = sum(states.values()) or 1
    kinds = ((TaskState.FINISHED, "finished"), (TaskState.FAILED, "failed"), (TaskState.RUNNING, "running"))
    return [Part(kind, 100 * states[state] / total) for state, kind in kinds]


def _tiles(report: Report) -> list[Item]:
    total = sum(report.states.values())
    done = report.states[TaskState.FINISHED] + report.states[TaskState.FAILED]
    tiles = [Item("tasks", f"{total:,}", _say_states(report.states))]
    if not report.farmers:
        return tiles
    length = report.axis.length
    hosts = len({farmer.history.identity.host for farmer in report.farmers} - {UNKNOWN_HOST})
    where = f"on {count_of(hosts, 'host')}; " if hosts else ""
    tiles.append(Item("wall time", say_duration(length), f"{say_rate(done / length)} on average" if length and done else ""))
    tiles.append(
        Item(
            "slots busy",
            f"{100 * report.busy_share:.0f} %",
            f"{say_duration(report.packing.busy_time)} of {say_duration(report.packing.offered_time)} slot time",
        )
    )
    tail = report.tail
    if tail.length:
        note = f"{tail.busy:.1f} of {tail.slots:.0f} slots busy: {say_duration(tail.cost)} of slot time unused"
        tiles.append(Item("tail", say_duration(tail.length), note))
    tiles.append(Item("farmers", f"{len(report.farmers):,}", f"{where}{count_of(report.packing.count, 'run')}"))
    return tiles


def _quantiles(durations: Sequence[float]) -> list[Item]:
    if not durations:
        return []
    mean = sum(durations) / len(durations)
    found = [Item(label, say_duration(percentile(durations, share))) for share, label in _QUANTILES]
    return [*found, Item("longest", say_duration(durations[-1])), Item("mean", say_duration(mean))]


def _long_task(task: LongTask) -> dict[str, Any]:
    return {
        "duration": say_duration(task.duration),
        "task": f"{task.task} {task.name}".rstrip(),
        "host": make_printable(task.host),
        "outcome": "finished"
        if task.returncode == 0
        else describe_cause(task.returncode, cause=task.cause, peak=task.max_rss),
        "cpu": say_duration(task.cpu) if task.cpu else "–",
        "memory": say_memory(task.max_rss) if task.max_rss else "–",
        "command": shorten(make_printable(task.command), COMMAND),
    }


def _failure(failure: Failure) -> dict[str, Any]:
    place = ""
    if failure.host is not None and failure.begin is not None and failure.end is not None:
        lasted = say_duration(max(failure.end - failure.begin, 0.0))
        place = f"{failure.host}, rank {failure.rank}, slot {failure.slot}, after {lasted}, {_date(failure.end)}"
        place += f", CPU {say_duration(failure.cpu)}" if failure.cpu else ""
        place += f", peak memory {say_memory(failure.max_rss)}" if failure.max_rss else ""
    return {
        "task": f"{failure.task} {failure.name or ''}".rstrip(),
        "cause": make_printable(failure.cause),
        "place": make_printable(place),
        "command": shorten(make_printable(failure.command), COMMAND),
        "log": make_printable(failure.log),
        "lines": failure.log_tail,
    }


def _failures_note(report: Report) -> str:
    failed = report.states[TaskState.FAILED]
    shown = len(report.failures)
    return count_of(failed, "failed task") + (
        f"; the last {shown:,} are shown, the youngest first." if failed > shown else "."
    )


def _farmers_note(report: Report) -> str:
    count = len(report.farmers)
    return count_of(count, "farmer") + (f"; the youngest {FARMERS:,} are shown." if count > FARMERS else ".")


def _farmer(farmer: FarmerLine) -> dict[str, Any]:
    history = farmer.history
    who = history.identity
    runs = farmer.runs
    return {
        "state": history.describe_state(),
        "host": make_printable(who.host),
        "rank": f"{who.rank} of {who.ranks}",
        "job": make_printable(who.job) or "–",
        "slots": f"{who.slots:,}",
        "busy": f"{100 * farmer.busy_share:.0f} %",
        "finished": f"{runs[Outcome.FINISHED]:,}",
        "failed": f"{runs[Outcome.FAILED]:,}",
        "spoilt": f"{runs[Outcome.KILLED] + runs[Outcome.LOST]:,}",
        "born": _date(history.born),
        "life": say_duration(farmer.life),
    }
