"""The process of one monitor of one farmer.

It is started as a program. Events come through a pipe, and what the monitor prints goes to stdout and stderr, which the
farmer reads. It ends when the pipe is closed: at once if it is idle, a little later if it is not, whatever the monitor does.
"""

from __future__ import annotations

import faulthandler
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from types import FrameType
from typing import Any

EVENT_LIMIT = 45.0
"""How long a monitor may take over one event [s]."""
TICK = 1.0
"""How often a monitor's `tick` is called [s]."""
END_LIMIT = 4.0
"""How long a monitor may go on when its farmer is gone [s]; a farmer that ends in order waits less."""
START_LIMIT = 12.0
"""The same for one that is not made yet."""
READY = "monitor ready"
"""The line that says that a monitor is made."""
REASON = "monitor failed: "
"""Begins the last line of a monitor that failed."""


def main(pipe: int) -> None:
    """Make the monitor that the first line describes, and have it handle all events until the pipe is closed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, _ignore)  # a handler, as what is ignored stays ignored in programs that are started
    os.set_inheritable(pipe, False)
    is_made = threading.Event()
    threading.Thread(target=_die_after, args=(pipe, is_made), daemon=True).start()
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # where memory is short, it is the first to go
    try:
        lines = _lines(pipe)
        opening = json.loads(next(filter(None, lines)))
        sys.path[:] = [*opening["path"], os.path.abspath(f"{__file__}/../../..")]
        monitor = _make(opening)
        is_made.set()
        _say(READY)
        os.nice(10)  # tasks come first
        _serve(monitor, lines, opening["who"])
    except BaseException as error:
        traceback.print_exc()
        _fail(f"{type(error).__name__}: {error}")


def _make(opening: dict[str, Any]) -> Any:
    from taskfarmer_mpi.runners.registry import MONITOR, Definition, build, load_class

    definition = Definition(**opening["definition"])
    return build(load_class(MONITOR, definition), definition)


def _serve(monitor: Any, lines: Iterator[bytes | None], who: dict[str, Any]) -> None:
    from taskfarmer_mpi.monitors.events import Event
    from taskfarmer_mpi.workdir.files import Workdir

    workdir = Workdir(who["workdir"])
    commands: dict[int, str] = {}
    tick = getattr(monitor, "tick", lambda: None)
    next_tick = 0.0
    for line in lines:
        armed = 0.0
        for kind, moment, about in json.loads(line) if line else ():
            armed = _arm(armed)
            if kind == "task_start":
                commands[about["task"]] = about["command"]
            elif kind == "task_end":
                about["command"] = commands.pop(about["task"], None)
            if "task" in about:
                about["log"] = str(workdir.log(about["task"]))
            monitor.handle(Event(kind=kind, time=moment, **who, **about))
        if time.monotonic() >= next_tick:
            _arm(0.0)
            tick()
            next_tick = time.monotonic() + TICK
        faulthandler.cancel_dump_traceback_later()
    tick()


def _arm(armed: float) -> float:
    """Have this process end if it does not come here again in time; return when this was last asked for [s]."""
    now = time.monotonic()
    if now - armed < 1.0:
        return armed
    faulthandler.dump_traceback_later(EVENT_LIMIT, exit=True, file=2)  # its thread needs no turn of the interpreter
    return now


def _lines(pipe: int) -> Iterator[bytes | None]:
    """Yield the lines that come through the pipe, and None whenever a second passed without one."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    data = b""
    while True:
        if not poll.poll(TICK * 1000):
            yield None
            continue
        block = os.read(pipe, 65536)
        if not block:
            return
        *whole, data = (data + block).split(b"\n")
        yield from whole


def _die_after(pipe: int, is_made: threading.Event) -> None:
    """Wait until the farmer's end of the pipe is closed; then this process must end, too, with all that it started."""
    poll = select.poll()
    poll.register(pipe, 0)
    poll.poll()
    time.sleep(END_LIMIT if is_made.is_set() else START_LIMIT)
    os.killpg(0, signal.SIGKILL)


def _fail(reason: str) -> None:
    """Say why this monitor ends, and end it with all that it started."""
    _say(f"{REASON}{' '.join(reason.split())[:500]}")
    os.killpg(0, signal.SIGKILL)


def _say(line: str) -> None:
    """Tell the farmer something, after all that the monitor printed."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(2, f"\n{line}\n".encode("utf-8", "replace"))


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Go on: the farmer decides when it is over."""


if __name__ == "__main__":
    main(int(sys.argv[1]))
