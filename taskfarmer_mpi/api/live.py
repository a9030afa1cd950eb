"""A bar that says how far a farm is, on a terminal or in the cell of a notebook."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.progress.rates import Count, RateMeter
from taskfarmer_mpi.status.snapshot import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.progress.bar import Bar


class Live:
    """What is shown of one run."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._meter = RateMeter()

    def show(self, status: Status) -> None:
        """Draw the bar anew."""
        tasks = status.tasks
        count = Count(tasks.total, tasks.finished, tasks.failed, tasks.running)
        self._meter.see(time.monotonic(), count.done)
        self._bar.show(count, self._meter.rate)


@contextmanager
def live_display(is_wanted: bool | None) -> Iterator[Live | None]:
    """Have a bar for the length of a `with` block; None where there is none.

    Parameters
    ----------
    is_wanted
        None: on terminals and in notebooks, if rich is installed.

    Raises
    ------
    UserError
        If it is wanted, and rich is not installed.
    """
    is_notebook = _is_notebook()
    if is_wanted and find_spec("rich") is None:
        raise UserError("live=True: the package rich is not installed: pip install 'taskfarmer-mpi[progress]'")
    if is_wanted is None:
        is_terminal = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        is_wanted = (is_notebook or is_terminal) and find_spec("rich") is not None
    if not is_wanted:
        yield None
        return
    from taskfarmer_mpi.progress.bar import Bar

    bar = Bar(None if is_notebook else sys.stderr)
    try:
        yield Live(bar)
    finally:
        bar.close()


def _is_notebook() -> bool:
    """Whether this is the kernel of a notebook; IPython is asked only where it is at work."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"
