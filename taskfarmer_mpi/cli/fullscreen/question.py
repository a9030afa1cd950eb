"""Asks whether something is meant that cannot be taken back."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen
from textual.widgets import Static


class Question(ModalScreen[bool]):
    """A question that is answered by a key."""

    DEFAULT_CSS = """
    Question { align: center middle; }
    Question Static { width: auto; max-width: 70; border: round $warning; padding: 0 2; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [("y", "dismiss(True)", "yes"), ("n,escape,q", "dismiss(False)", "no")]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """Yield the question."""
        yield Static(f"{self._text}\n\ny: yes    n: no", markup=False)
