"""The options that a work directory keeps: their names and what they are for. `policies` reads their values."""

from __future__ import annotations

import argparse
import os

RULES = (
    (
        "task-timeout",
        "SECONDS|N%",
        (
            "end a task that lasts longer [s], or than N% of the median of those that its farmer finished (10 or more);"
            " 0: never. --timeout is the whole job's (default: never)"
        ),
    ),
    ("task-signal", "NAME", "what such a task gets first (default: TERM)"),
    ("task-grace", "SECONDS", "how long it has then, before all of its processes are killed [s] (default: 10)"),
    (
        "stop-signal",
        "NAME",
        "what running tasks get at a stop, so that they can save their state; off: they are killed at once (default: off)",
    ),
    (
        "stop-grace",
        "SECONDS",
        "how long they have then [s]; a stop for the end of the job comes that much earlier (default: 10)",
    ),
    ("retries", "N", "how often a task that failed is tried again, by any farmer (default: 0)"),
    (
        "retry-on",
        "LIST",
        (
            "after which failures: exit codes, signals and causes (exit-code, signal, time-limit, out-of-memory,"
            " could-not-be-started), with commas between them (default: all)"
        ),
    ),
    ("retry-delay", "SECONDS", "pause before the second attempt [s]; it doubles with each further one (default: 0)"),
    ("crash-limit", "N", "a task during which N farmers died has failed; 0: it is tried for ever (default: 0)"),
    (
        "limit",
        "NAME=N",
        (
            "run at most N tasks at once in the whole farm whose #TF lines say limit=NAME; for several, say it again, or"
            " NAME=N,NAME=N; off: forget all (default: off)"
        ),
    ),
    (
        "halt",
        "HOW,WHAT=N|N%",
        (
            "stop all farmers once so many of all tasks ended so: soon,fail=3 (running tasks may end), now,fail=10%,"
            " now,success=1; later runs are refused until --halt never or another limit is given (default: never)"
        ),
    ),
    (
        "logs",
        "FORM",
        (
            "how the output of tasks is kept: files (one each), failed (only of tasks that failed), packed (one file per"
            " farmer, which taskfarmer-ctl log reads), packed-gzip (the same, compressed), none (default: files)"
        ),
    ),
    (
        "log-limit",
        "SIZE",
        "keep so much of each log once its task has ended, from its begin and its end: 64K, 10M; 0: all (default: 0)",
    ),
    (
        "tempdir",
        "DIR",
        (
            "give each task a directory of its own there, in TMPDIR and TASKFARMER_TEMPDIR; it is removed when the task has"
            " ended, and kept if it failed; DIR may name a variable of the node, as $TMPDIR; off (default: off)"
        ),
    ),
    (
        "setup",
        "COMMAND",
        "run this once per farmer before its first task; if it fails, this farmer takes no tasks; off (default: off)",
    ),
    ("teardown", "COMMAND", "run this once per farmer after its last task, also at a stop; off (default: off)"),
    (
        "then",
        "COMMAND",
        (
            "run this once when the list is done, also if tasks failed (TASKFARMER_FAILED says how many): a last task, of"
            " all farmers together; off (default: off)"
        ),
    ),
    (
        "order",
        "ORDER",
        (
            "in which order the tasks of a new work directory run: given (as in the tasklist), longest (first those that"
            " take longest by --durations), shuffle (default: given)"
        ),
    ),
    (
        "durations",
        "PATH",
        "what tasks took in an earlier run: its work directory, or a joblog of GNU parallel (default: not known)",
    ),
)
"""The rules of a work directory, which keeps them as they were typed: name, value, help."""

_REPEATED = ("limit",)
"""Those that can be given several times."""
RESOURCES = (
    (
        "gpus",
        "auto|N|LIST",
        (
            "each slot has GPUs of its own: of all that the job was given (auto), of N of them, or of those named, with"
            " commas; 0: all see all (default: 0)"
        ),
    ),
    ("gpus-per-task", "X", "how many GPUs each slot has: 2, or 0.5 for two tasks on each (default: shared out evenly)"),
    (
        "memory-per-task",
        "SIZE",
        "have no more slots than the memory of the job or node is enough for, like 1500M or 4G; 0: any (default: 0)",
    ),
    (
        "memory-reserve",
        "SIZE|N%",
        (
            "start no task while less memory than this is available, and give the youngest one back below half of it; N% is"
            " of what the job or node has; 0: no matter (default: 0)"
        ),
    ),
)
"""Likewise, about what each slot has for itself; `--pin` has no value."""


def add_rules(parser: argparse.ArgumentParser) -> None:
    """Add the options; their values are read by `policies`."""
    group = parser.add_argument_group(
        "tasks that last too long, fail, or take farmers along; logs; what surrounds tasks (kept in the work directory)"
    )
    for name, metavar, text in RULES:
        action = "append" if name in _REPEATED else "store"
        group.add_argument(f"--{name}", action=action, metavar=metavar, dest=f"rule {name}", help=text.replace("%", "%%"))
    group = parser.add_argument_group("what each slot has for itself (kept in the work directory)")
    group.add_argument(
        "--pin",
        action="store_const",
        const="on",
        dest="rule pin",
        help="each slot has cores of its own, with their hyperthreads; --proc is auto then, unless it is given",
    )
    group.add_argument("--no-pin", action="store_const", const="off", dest="rule pin", help="any CPU is anybody's (default)")
    for name, metavar, text in RESOURCES:
        group.add_argument(f"--{name}", metavar=metavar, dest=f"rule {name}", help=text.replace("%", "%%"))


def read_rule_options(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the rules that were given."""
    names = ["pin", *(name for name, _, _ in (*RULES, *RESOURCES))]
    given = {name: getattr(arguments, f"rule {name}") for name in names}
    for name in _REPEATED:
        given[name] = given[name] and ",".join(given[name])
    if given["durations"]:
        given["durations"] = os.path.abspath(given["durations"])
    return {name: text for name, text in given.items() if text is not None}
