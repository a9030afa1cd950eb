"""A progress bar on a terminal. The only importer of rich, which is an extra."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console, ConsoleDimensions
from rich.progress import BarColumn, Progress, TextColumn

from taskfarmer_mpi.common.log import output
from taskfarmer_mpi.progress.rates import Count, format_left, format_rate

_SPARE = 6
"""Columns that are left free: a terminal shows `^C` there, which in the last one would wrap, and leave the line behind."""


class _Console(Console):
    @property
    def size(self) -> ConsoleDimensions:
        """Return less than the terminal has."""
        width, height = super().size
        return ConsoleDimensions(max(width - _SPARE, 1), height)

    @size.setter
    def size(self, size: tuple[int, int]) -> None:
        """Do as if the terminal had this size."""
        self._width, self._height = size

    def show_cursor(self, show: bool = True) -> bool:
        """Leave the cursor as it is: a farmer that is killed could not bring it back."""
        del show
        return False


class _Above:
    """A stream for messages: they appear above the bar."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, text: str) -> int:
        """Show whole lines."""
        self._console.out(text, end="", highlight=False)
        return len(text)

    def flush(self) -> None:
        """Everything was shown already."""


class Bar:
    """One line on the terminal that is drawn again at each call of `show`."""

    def __init__(self, stream: TextIO | None) -> None:
        """Draw an empty bar, and have log messages appear above it.

        Parameters
        ----------
        stream
            The terminal, or what passes everything on to one; None for the cell of a notebook.
        """
        console = Console(force_jupyter=True) if stream is None else _Console(file=stream, force_terminal=True)
        self._progress = Progress(
            TextColumn("{task.percentage:>3.0f} %"),
            BarColumn(bar_width=None),
            TextColumn("{task.description}"),
            console=console,
            auto_refresh=False,  # no thread
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            expand=True,
        )
        self._task = self._progress.add_task("")
        output.stream = _Above(console)
        self._progress.start()

    def show(self, count: Count, rate: float) -> None:
        """Draw the bar anew.

        Parameters
        ----------
        count
            Where the tasks are.
        rate
            Tasks done per second.
        """
        failed = f"[red]{count.failed} failed[/]" if count.failed else "0 failed"
        text = (
            f"{count.done}/{count.total} done, {failed}, {count.running} running,"
            f" {format_rate(rate)}, {format_left(count, rate)} left"
        )
        self._progress.update(self._task, completed=count.done, total=max(count.total, 1), description=text, refresh=True)

    def close(self) -> None:
        """Take the bar away and leave the terminal as it was."""
        output.stream = None
        self._progress.stop()
