"""Messages about what a farm does: those of `logging`, which is imported only if a class of the user's own does it.

Until then a message is a line on stderr. Then all go through `logging`, in the same form, so its settings hold for all.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress

from taskfarmer_mpi.common.wording import make_lines_printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Stream(Protocol):
        """Where messages appear."""

        def write(self, text: str, /) -> int:
            """Write some text."""
            ...

        def flush(self) -> None:
            """Have it appear now."""
            ...


DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40
"""As in `logging`."""


class Output:
    """The stream of all messages, from which level on they are shown, and their form."""

    def __init__(self) -> None:
        self.stream: Stream | None = None
        """None for stderr."""
        self._level = WARNING
        self._place = ""
        self._is_set_up = False

    def set_up(self, level: int, place: str) -> None:
        """Show messages from `level` on, with the time and `place` before them."""
        self._level = level
        self._place = place
        self._is_set_up = True

    def tell(self, name: str, level: int, message: str, *words: object) -> None:
        """Show a message of the module `name`."""
        if "logging" in sys.modules:
            self.pass_to_logging()
            sys.modules["logging"].getLogger(name).log(level, message, *words, stacklevel=3)
        elif level >= self._level:
            self.write(f"{time.strftime('%H:%M:%S')}{self._place} {message % words if words else message}\n")
            self.flush()

    def pass_to_logging(self) -> None:
        """Have `logging`, where it is imported, show messages here and alike."""
        if self._is_set_up and "logging" in sys.modules:
            form = f"%(asctime)s{self._place} %(message)s"
            sys.modules["logging"].basicConfig(level=self._level, format=form, datefmt="%H:%M:%S", stream=self)
            self._is_set_up = False

    def write(self, text: str) -> int:
        """Write to the stream, as far as that is possible; what a terminal would obey is shown as escapes."""
        with suppress(OSError, ValueError):
            return (self.stream or sys.stderr).write(make_lines_printable(text))
        return 0

    def flush(self) -> None:
        """Have what was written appear now, as far as that is possible."""
        with suppress(OSError, ValueError):
            (self.stream or sys.stderr).flush()


output = Output()


class Log:
    """The messages of one module."""

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, message: str, *words: object) -> None:
        """Say what helps to find a fault."""
        output.tell(self._name, DEBUG, message, *words)

    def info(self, message: str, *words: object) -> None:
        """Say what happens."""
        output.tell(self._name, INFO, message, *words)

    def warning(self, message: str, *words: object) -> None:
        """Say what the user should know."""
        output.tell(self._name, WARNING, message, *words)

    def error(self, message: str, *words: object) -> None:
        """Say what went wrong."""
        output.tell(self._name, ERROR, message, *words)
