"""Runs one task with a runner that was written for PyTaskFarmer; a program of its own, one process per task.

Such a runner has ``run(taskid, command, logfh)``, which returns the exit code, and ``terminate()``.
"""

import importlib
import json
import os
import signal
import sys
from types import FrameType


def main(class_path: str, options: str, command: str) -> int:
    """Run a command with a runner of this class; return the exit code of this process."""
    module, _, name = class_path.rpartition(".")
    runner = getattr(importlib.import_module(module), name)(**json.loads(options))

    def stop(number: int, _frame: FrameType | None) -> None:
        runner.terminate()
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    code = runner.run(int(os.environ["PROC_NUMBER"]), command, sys.stdout)
    if not isinstance(code, int):
        return 1
    return code if 0 <= code <= 255 else 128 - code if -127 <= code < 0 else 1


if __name__ == "__main__":
    sys.path.append(os.path.abspath(f"{__file__}/../../.."))
    sys.stdout.reconfigure(line_buffering=True, errors="surrogateescape")  # type: ignore[union-attr]
    sys.exit(main(*sys.argv[1:]))
