"""A table of which only the lines are made that the screen shows, however many rows it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from taskfarmer_mpi.cli.fullscreen.rows import Column, Row

_CHOSEN, _CHOSEN_ELSEWHERE, _HEAD = Style(reverse=True), Style(bold=True), Style(bold=True, underline=True)


class TaskTable(ScrollView, can_focus=True):
    """Rows of plain text below a head, one of which is chosen."""

    DEFAULT_CSS = "TaskTable { overflow-x: hidden; overflow-y: auto; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "choose(-1)", "up", show=False),
        Binding("down,j", "choose(1)", "down", show=False),
        Binding("pageup", "choose(-10)", "ten up", show=False),
        Binding("pagedown", "choose(10)", "ten down", show=False),
        Binding("home", "choose(-1000000)", "first", show=False),
        Binding("end", "choose(1000000)", "last", show=False),
    ]

    class Chosen(Message):
        """Another row is chosen."""

    def __init__(self, title: str, columns: Sequence[Column], name: str) -> None:
        super().__init__(id=name)
        self._heading = self.border_title = title
        self._given_columns = columns
        self._shown_rows: list[Row] = []
        self._cursor = 0
        self.made = 0
        """How many lines were made so far."""

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return len(self._shown_rows)

    @property
    def chosen(self) -> Row | None:
        """The row of the cursor."""
        return self._shown_rows[self._cursor] if self._cursor < len(self._shown_rows) else None

    def show(self, rows: Sequence[Row], count: int) -> None:
        """Show these rows; the cursor stays with its row, as long as that is there.

        Parameters
        ----------
        rows
            What to show.
        count
            How many there are, of which these are the first.
        """
        more = f", {len(rows):,} shown" if count > len(rows) else ""
        self.border_title = f"{self._heading} ({count:,}{more})"
        chosen = self.chosen
        self._shown_rows = list(rows)
        place = next(
            (number for number, row in enumerate(rows) if chosen is not None and row.key == chosen.key), self._cursor
        )
        self._cursor = max(0, min(place, len(rows) - 1))
        self.virtual_size = Size(self.size.width, len(rows) + 1)
        self.refresh()

    def action_choose(self, step: int) -> None:
        """Move the cursor by so many rows."""
        self._cursor = max(0, min(self._cursor + step, len(self._shown_rows) - 1))
        top, height = self.scroll_offset.y, max(self.scrollable_content_region.height - 1, 1)
        self.scroll_to(y=min(max(top, self._cursor - height + 1), self._cursor), animate=False)
        self.refresh()
        self.post_message(self.Chosen())

    def on_click(self, event: Click) -> None:
        """Choose the row that was clicked on."""
        offset = event.get_content_offset(self)
        if offset is not None and offset.y > 0:
            self.action_choose(self.scroll_offset.y + offset.y - 1 - self._cursor)

    def render_line(self, y: int) -> Strip:
        """Return a line of the screen: the head, or the row that is there now."""
        self.made += 1
        width, plain = self.size.width, self.rich_style
        place = self.scroll_offset.y + y - 1
        if not y:
            return self._line([column.title for column in self._given_columns], plain + _HEAD, "", width)
        if place >= len(self._shown_rows):
            return Strip.blank(width, plain)
        row = self._shown_rows[place]
        if place == self._cursor:
            return self._line(row.cells, plain + (_CHOSEN if self.has_focus else _CHOSEN_ELSEWHERE), "", width)
        return self._line(row.cells, plain, row.style, width)

    def _line(self, cells: Sequence[str], style: Style, first: str, width: int) -> Strip:
        """Return cells at their places, taken literally; the first one in a style of its own."""
        parts = []
        for number, (cell, column) in enumerate(zip(cells, self._given_columns, strict=True)):
            own = style + Style.parse(first) if first and not number else style
            parts.append(Segment(f" {set_cell_size(cell, min(column.width, width))} ", own))
        return Strip(parts).adjust_cell_length(width, style)
