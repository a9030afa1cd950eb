"""From a name to a class, from a command to a process: a **runner** says how, and starts nothing itself.

A **definition** is a section of an INI file: class path and options, all of them text. What always holds: only the section
that is asked for is looked at closer, and only its class is imported; a path that a class once had goes on working.

Begin with `shell` (the runners that need no definition), then `registry` (names to definitions to classes).
"""

from __future__ import annotations

from taskfarmer_mpi.common.public_names import finder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.runners.containers import ApptainerRunner as ApptainerRunner
    from taskfarmer_mpi.runners.containers import PodmanHPCRunner as PodmanHPCRunner
    from taskfarmer_mpi.runners.containers import ShifterRunner as ShifterRunner
    from taskfarmer_mpi.runners.shell import BasicRunner as BasicRunner
    from taskfarmer_mpi.runners.shell import ExecRunner as ExecRunner
    from taskfarmer_mpi.runners.shell import Launch as Launch
    from taskfarmer_mpi.runners.shell import Runner as Runner

__getattr__ = finder(
    __name__,
    {"shell": "BasicRunner ExecRunner Launch Runner", "containers": "ShifterRunner ApptainerRunner PodmanHPCRunner"},
)
