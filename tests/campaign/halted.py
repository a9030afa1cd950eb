"""Waits until a traced process halts in a system call: `python halted.py NAME=VALUE SECONDS`.

The process is the traced one that has NAME=VALUE in its environment. Prints its number.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path

LOOKS, PAUSE = 20, 0.02
"""How many looks, and how long between them [s], have to see the same for a process that halts."""


def traced(mark: bytes) -> Path | None:
    """Return the traced process with a mark."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0") and not is_free(folder):
                return folder
    return None


def is_free(process: Path) -> bool:
    """Whether nobody traces a process."""
    return "TracerPid:\t0\n" in (process / "status").read_text()


def life(process: Path) -> str:
    """Return what changes as soon as a process goes on; nothing if it does not halt."""
    status = (process / "status").read_text()
    switches = [line for line in status.splitlines() if "ctxt_switches" in line]
    return " ".join(switches) if "State:\tt" in status else ""


def main() -> int:
    """Wait; return 0 once it halts."""
    end = time.monotonic() + float(sys.argv[2])
    same, last = 0, ""
    while time.monotonic() < end:
        with suppress(OSError):
            process = traced(sys.argv[1].encode())
            while process and time.monotonic() < end and not is_free(process):
                now = life(process)
                same, last = (same + 1 if now and now == last else 0), now
                if same >= LOOKS:
                    print(process.name)
                    return 0
                time.sleep(PAUSE)
        time.sleep(PAUSE)
    print("nothing halted", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
