"""The log of one task, as it grows."""

from __future__ import annotations

import codecs
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen
from textual.widgets import Footer, RichLog

from taskfarmer_mpi.common.wording import make_printable, shorten
from taskfarmer_mpi.logs.following import FollowedLog
from taskfarmer_mpi.logs.reading import Logs
from taskfarmer_mpi.workdir.files import Workdir

_LOOK = 0.5
"""How often it is looked for more [s]."""
_LAST = 64 * 1024
"""How much of a log is read at first, at most [bytes]."""
_LINES = 2000
"""How many lines are kept."""
_WIDTH = 1000
"""How long a line is shown at most."""


class LogView(Screen[None]):
    """What a task writes, from the last part of its log on."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q,l", "dismiss", "back")]

    def __init__(self, workdir: Workdir, task: int) -> None:
        super().__init__()
        self._workdir, self._task_id = workdir, task
        self._followed = FollowedLog(workdir.log(task), last=_LAST)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def compose(self) -> ComposeResult:
        """Yield the log and the keys."""
        yield RichLog(max_lines=_LINES, wrap=False, highlight=False, markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Begin to read."""
        self.log_widget.border_title = f"log of task {self._task_id}"
        self.log_widget.styles.border_top = ("solid", "gray")
        self._look()
        self.set_interval(_LOOK, self._look)

    def on_unmount(self) -> None:
        """Read no more."""
        self._followed.close()

    @property
    def log_widget(self) -> RichLog:
        """Where it is shown."""
        return self.query_one(RichLog)

    def _look(self) -> None:
        try:
            is_replaced = self._followed.is_replaced
            data = next(iter(self._followed.news()), b"")
            if is_replaced and not data:
                self._followed.renew()
        except OSError as error:
            self._write(f"cannot read the log: {error.strerror}\n")
            return
        if data:
            self._write(self._decoder.decode(data))
        elif not self._followed.is_there and not self.log_widget.lines:
            self._write(self._packed())

    def _packed(self) -> str:
        packed = Logs(self._workdir, [self._task_id]).last_packed(self._task_id)
        if packed is None:
            return "no log: the task was not run yet, or its log was not kept (--logs)\n"
        begin = max(0, packed.length - _LAST)
        return packed.read(begin, _LAST).decode("utf-8", "replace") + "\n"

    def _write(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines[-_LINES:]:
            shown = line.rstrip("\r").rpartition("\r")[2]
            self.log_widget.write(Text(shorten(make_printable(shown), _WIDTH), no_wrap=True))
