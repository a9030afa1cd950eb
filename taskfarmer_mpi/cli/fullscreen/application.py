"""The full-screen view: how far the farm is, its farmers, what runs and what failed, and keys that do something about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Footer, Static

from taskfarmer_mpi.cli.fullscreen.errands import run_errand
from taskfarmer_mpi.cli.fullscreen.log_view import LogView
from taskfarmer_mpi.cli.fullscreen.question import Question
from taskfarmer_mpi.cli.fullscreen.rows import (
    FAILURES,
    FARMERS,
    RUNNING,
    Row,
    describe_failure,
    failure_rows,
    farmer_rows,
    running_rows,
)
from taskfarmer_mpi.cli.fullscreen.table import TaskTable
from taskfarmer_mpi.common.wording import make_printable
from taskfarmer_mpi.errors import FarmError, UserError
from taskfarmer_mpi.status.observer import Observer
from taskfarmer_mpi.status.screen import draw_head, paint
from taskfarmer_mpi.status.snapshot import Status
from taskfarmer_mpi.workdir.files import Workdir

RESTING = 10
"""At least this many times as long as a look takes is waited until the next one: watching must not cost a core."""


class WatchApp(App[None]):
    """Watches one work directory."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #head { height: auto; max-height: 8; }
    #warnings { height: auto; max-height: 3; color: $warning; display: none; }
    TaskTable { height: 1fr; min-height: 4; border-top: solid $primary; }
    TaskTable:focus { border-top: heavy $accent; }
    #farmers { max-height: 9; }
    #detail { height: 6; border-top: solid $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("l,enter", "log", "log", priority=True),
        Binding("r", "retry", "retry"),
        Binding("c", "cancel", "cancel"),
        Binding("d", "drain", "drain"),
        Binding("s", "stop", "stop"),
        Binding("tab", "app.focus_next", "next table", show=False),
    ]

    def __init__(self, workdir: Workdir, interval: float, failures: int) -> None:
        """Watch a work directory.

        Parameters
        ----------
        workdir
            What to watch.
        interval
            Time between looks [s].
        failures
            How many of the last failures to show.
        """
        super().__init__()
        self._workdir, self._observer = workdir, Observer(workdir)
        self._interval, self._failures = interval, failures
        self._status: Status | None = None

    def compose(self) -> ComposeResult:
        """Yield the parts of the screen."""
        yield Static(id="head", markup=False)
        yield Static(id="warnings", markup=False)
        yield TaskTable("farmers", FARMERS, "farmers")
        yield TaskTable("running", RUNNING, "running")
        yield TaskTable("failed", FAILURES, "failed")
        yield Static(id="detail", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        self._base.query_one("#running", TaskTable).focus()
        self._begin_look()

    # -- looking ------------------------------------------------------------------------------------

    def _begin_look(self) -> None:
        self.run_worker(self._look, thread=True, exclusive=True, group="look", exit_on_error=True)

    def _look(self) -> None:
        """Look at the farm, in a thread; have it shown, and look again later."""
        began = time.monotonic()
        try:
            status = self._observer.look(self._failures)
        except (FarmError, UserError, OSError) as error:
            self._from_thread(self._say_warnings, [str(error)])
        else:
            self._from_thread(self.show, status)
        pause = max(self._interval, RESTING * (time.monotonic() - began))
        self._from_thread(self.set_timer, pause, self._begin_look)

    def _from_thread(self, call: Callable[..., object], *arguments: object, **named: object) -> None:
        """Have something done by the application, unless it ends."""
        if self.is_running:
            with suppress(RuntimeError):  # it ended just now
                self.call_from_thread(call, *arguments, **named)

    @property
    def _is_shown(self) -> bool:
        return self.is_running and bool(self._screen_stacks.get(self.current_mode))

    @property
    def _base(self) -> Screen[object]:
        """The screen with the tables, whatever is above it."""
        return self.screen_stack[0]

    def show(self, status: Status) -> None:
        """Show a status."""
        self._status = status
        width = max(self.size.width, 20)
        self._base.query_one("#head", Static).update(
            Text.from_ansi("\n".join(draw_head(status, paint, width)), no_wrap=True)
        )
        self._say_warnings(status.warnings)
        self._base.query_one("#farmers", TaskTable).show(farmer_rows(status), len(status.farmers))
        self._base.query_one("#running", TaskTable).show(running_rows(status), len(status.running))
        self._base.query_one("#failed", TaskTable).show(failure_rows(status), status.tasks.failed)
        self._say_detail()

    def _say_warnings(self, warnings: list[str]) -> None:
        widget = self._base.query_one("#warnings", Static)
        widget.display = bool(warnings)
        widget.update(Text("\n".join(make_printable(f"warning: {text}") for text in warnings)))

    def on_task_table_chosen(self) -> None:
        """Say more of the row that the cursor is on now."""
        self._say_detail()

    def on_descendant_focus(self) -> None:
        """Say more of the row that is chosen in another table."""
        self._say_detail()

    def _say_detail(self) -> None:
        if not self._is_shown:
            return
        row = self._chosen_row
        lines = [] if row is None else [row.cells[-1]]
        if row is not None and row.task is not None and self._status is not None and self._table_name == "failed":
            lines = next((describe_failure(failure) for failure in self._status.failures if failure.task == row.task), lines)
        self._base.query_one("#detail", Static).update(Text("\n".join(lines[:2] + lines[2:][-3:]), no_wrap=True))

    # -- keys ---------------------------------------------------------------------------------------

    @property
    def _table(self) -> TaskTable | None:
        """The table that has the cursor."""
        focused = self._base.focused
        return focused if isinstance(focused, TaskTable) else None

    @property
    def _table_name(self) -> str:
        return (self._table.id or "") if self._table is not None else ""

    @property
    def _chosen_row(self) -> Row | None:
        return self._table.chosen if self._table is not None else None

    @property
    def _chosen_task(self) -> int | None:
        return None if self._chosen_row is None else self._chosen_row.task

    def action_log(self) -> None:
        """Follow the log of the chosen task."""
        if self._chosen_task is None:
            self._tell("choose a task that runs or failed: tab, arrows", is_ok=False)
        else:
            self.push_screen(LogView(self._workdir, self._chosen_task))

    def action_retry(self) -> None:
        """Put the chosen failed task back on the list."""
        if self._chosen_task is None or self._table_name != "failed":
            self._tell("choose a task that failed: tab, arrows", is_ok=False)
        else:
            self._send("retry", str(self._chosen_task))

    def action_cancel(self) -> None:
        """End the chosen task that runs."""
        if self._chosen_task is None or self._table_name != "running":
            self._tell("choose a task that runs: tab, arrows", is_ok=False)
        else:
            self._ask(f"End task {self._chosen_task}?", "cancel", str(self._chosen_task), "--wait", "0")

    def action_drain(self) -> None:
        """Have all farmers end what runs, and stop."""
        self._ask("Have all farmers end what runs, and stop?", "stop", "--drain", "--wait", "0")

    def action_stop(self) -> None:
        """Stop all farmers."""
        self._ask("Stop all farmers? What runs goes back to the list.", "stop", "--wait", "0")

    def _ask(self, question: str, *words: str) -> None:
        def answer(is_meant: bool | None) -> None:
            if is_meant:
                self._send(*words)

        self.push_screen(Question(question), answer)

    def _send(self, *words: str) -> None:
        """Run a command of taskfarmer-ctl in a thread, and say what it says."""

        def work() -> None:
            is_ok, text = run_errand(str(self._workdir.path.absolute()), *words)
            self._from_thread(self._tell, text, is_ok=is_ok)

        self.run_worker(work, thread=True, group="errands", exit_on_error=True)

    def _tell(self, text: str, *, is_ok: bool) -> None:
        self.notify(make_printable(text), severity="information" if is_ok else "warning", markup=False)


def watch(path: Path, interval: float, failures: int) -> None:
    """Show the view until it is left."""
    WatchApp(Workdir.existing(path), interval, failures).run()
