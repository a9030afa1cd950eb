"""All rules of a work directory: texts as its configuration keeps them, and what they mean."""

from __future__ import annotations

import signal

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.errors import OptionError, UserError
from taskfarmer_mpi.policies.retries import Choice, Retries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from taskfarmer_mpi.policies.halt import Halt
    from taskfarmer_mpi.policies.resources import Resources
    from taskfarmer_mpi.policies.time_limit import TaskTime

GRACE = 10.0
"""How long a task that was asked to end has for it, unless the user says otherwise [s]."""
_VALUES = (
    "task-timeout",
    "task-signal",
    "task-grace",
    "stop-signal",
    "stop-grace",
    "retries",
    "retry-on",
    "retry-delay",
    "crash-limit",
    "halt",
    "logs",
    "log-limit",
    "tempdir",
    "setup",
    "teardown",
    "then",
    "order",
    "durations",
    "limit",
)
RESOURCES = ("pin", "gpus", "gpus-per-task", "memory-per-task", "memory-reserve")
"""Those about what each slot is to have for itself."""
NAMES = (*_VALUES, *RESOURCES)
"""The rules; an option of each name sets it."""
_NEEDED = {
    "stop-grace": "stop-signal",
    "retry-on": "retries",
    "retry-delay": "retries",
    "gpus-per-task": "gpus",
}


class Asking(Value):
    """How a task is asked to end before it is killed."""

    signal: signal.Signals
    grace: float
    """How long it has [s]."""


class Rules(Value):
    """What they mean; nothing is in use by default."""

    task_time: TaskTime | None = None
    at_timeout: Asking = Asking(signal.SIGTERM, GRACE)
    at_stop: Asking | None = None
    retries: Retries = Retries()
    crash_limit: int = 0
    """How often farmers may die while a task runs before it has failed; 0 for any number."""
    halt: Halt | None = None
    resources: Resources | None = None
    """What each slot is to have; None if nothing is asked for."""
    log_form: str = "files"
    """How the output of tasks is kept: one of `policies.values.LOG_FORMS`."""
    log_limit: int = 0
    """How much of each log is kept [bytes]; 0: all of it."""
    tempdir: str = ""
    """Where each task gets a directory of its own; nothing if it gets none. Variables are those of the node."""
    setup: str = ""
    """What each farmer runs before its first task."""
    teardown: str = ""
    """What it runs after its last one."""
    then: str = ""
    """What is run once when the list is done."""
    order: str = "given"
    """In which order the tasks of the tasklist run: one of `policies.values.ORDERS`."""
    durations: str = ""
    """Where it was found what tasks take, when the work directory was made: an absolute path; nothing if nowhere."""
    limits: dict[str, int] = {}
    """How many tasks may run at once in the whole farm whose settings have that name."""

    @property
    def counts_attempts(self) -> bool:
        """Whether farmers have to know how often a task was tried."""
        return bool(self.retries.count or self.crash_limit or self.packs_logs)

    @property
    def packs_logs(self) -> bool:
        """Whether logs of tasks that have ended are put into one file of their farmer."""
        return self.log_form in ("packed", "packed-gzip")

    @property
    def has_logs(self) -> bool:
        """Whether what tasks write is kept."""
        return self.log_form != "none"

    @property
    def has_log_files(self) -> bool:
        """Whether there is a file for each log that is kept."""
        return self.log_form in ("files", "failed")

    @property
    def handles_logs(self) -> bool:
        """Whether anything is done with logs once tasks have ended."""
        return self.log_form == "failed" or self.packs_logs or (self.has_logs and self.log_limit > 0)

    @property
    def reserves_memory(self) -> bool:
        """Whether tasks are started only while enough memory is available."""
        return self.resources is not None and self.resources.reserves_memory

    @property
    def uses_node(self) -> bool:
        """Whether nodes have to have something, or anything is done there beside running tasks."""
        return bool(self.tempdir or self.setup or self.teardown) or self.reserves_memory

    @property
    def stop_grace(self) -> float:
        """How long running tasks have at a stop [s]."""
        return self.at_stop.grace if self.at_stop is not None else 0.0


def read_rules(texts: Mapping[str, str]) -> Rules:
    """Return what rules mean.

    Raises
    ------
    UserError
        If one has a value that it cannot take.
    """
    try:
        values: dict[str, Any] = {name: _read_value(name, text) for name, text in texts.items() if name in _VALUES}
        resources = _read_resources(texts)
    except OptionError as error:
        raise UserError(f"--{error}") from error
    asked = values.get("stop-signal")
    return Rules(
        task_time=values.get("task-timeout"),
        at_timeout=Asking(values.get("task-signal") or signal.SIGTERM, values.get("task-grace", GRACE)),
        at_stop=Asking(asked, values.get("stop-grace", GRACE)) if asked else None,
        retries=Retries(
            values.get("retries", 0),
            values.get("retry-on", Choice()),
            values.get("retry-delay", 0.0),
        ),
        crash_limit=values.get("crash-limit", 0),
        halt=values.get("halt"),
        resources=resources,
        log_form=values.get("logs", "files"),
        log_limit=values.get("log-limit", 0),
        tempdir=values.get("tempdir", ""),
        setup=values.get("setup", ""),
        teardown=values.get("teardown", ""),
        then=values.get("then", ""),
        order=values.get("order", "given"),
        durations=values.get("durations", ""),
        limits=values.get("limit", {}),
    )


def _read_value(name: str, text: str) -> Any:
    from taskfarmer_mpi.policies.values import READERS

    return READERS[name](name, text)


def _read_resources(texts: Mapping[str, str]) -> Resources | None:
    if texts.keys().isdisjoint(RESOURCES):
        return None
    from taskfarmer_mpi.policies.resources import Resources, read_resources

    wanted = read_resources(texts)
    return wanted if wanted != Resources(devices_per_task=wanted.devices_per_task) else None


def merge_rules(stored: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Return the rules of this run: those of the work directory, and those given now, which win.

    Raises
    ------
    UserError
        If one that is given has a value that it cannot take, or means nothing without another one.
    """
    merged = {**stored, **given}
    read_rules(merged)
    for name in given:
        needed = _NEEDED.get(name)
        if needed is not None and not _is_on(needed, merged.get(needed)):
            raise UserError(f"--{name} says nothing without --{needed}")
    return merged


def _is_on(name: str, text: str | None) -> bool:
    if name == "gpus":
        return text not in (None, "0")
    return text is not None and bool(_read_value(name, text))
