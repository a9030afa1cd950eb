"""What a job works on: what the user asked for, completed with what the work directory knows."""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote

from taskfarmer_mpi.common.defaults import SLOTS
from taskfarmer_mpi.common.values import Value, replace
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.policies.rules import merge_rules, read_rules
from taskfarmer_mpi.runners.pytaskfarmer import make_handler
from taskfarmer_mpi.runners.registry import FILL, HANDLER, RUNNER, Definition, find
from taskfarmer_mpi.upkeep.halting import refuse_halted
from taskfarmer_mpi.upkeep.ownership import check_owner, safe_lock_paths
from taskfarmer_mpi.workdir.catalog import Origin, parse_added
from taskfarmer_mpi.workdir.configuration import Stored, read_config
from taskfarmer_mpi.workdir.files import Workdir, node_name, read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from taskfarmer_mpi.tasklists.lines import Handler


class Request(Value):
    """What the user said about it; None where he said nothing."""

    tasklist: Path | None = None
    workdir: Path | None = None
    handler: str | None = None
    runner: str | None = None
    slots: int | None = None
    """Slots per farmer; 0 for one per CPU, minus N for N % of that."""
    directory: Path | None = None
    """Where the tasks are to run."""
    rules: dict[str, str] = {}
    """What is to be done about tasks that last too long or fail, by option."""
    lease: float | None = None
    """After how long without an answer the file system gives locks away [s]; 0: never."""
    is_shared: bool = False
    """Whether the work directory may be another user's."""
    command: str | None = None
    """What the lines of the tasklist fill."""
    values: tuple[str, ...] | None = None
    """The lines themselves, instead of a tasklist."""
    accepts_changes: bool = False
    """Whether what was edited in the tasklist is taken over."""

    @property
    def has_own_list(self) -> bool:
        """Whether the list is given with the command, or comes from standard input."""
        return self.values is not None or str(self.tasklist) == "-"


class Plan(Value):
    """What all ranks of a job have in common."""

    tasklist: str
    """Absolute path."""
    workdir: str
    """Absolute path."""
    handler: Definition
    runner: Definition
    slots: int | None
    """Slots per farmer; None for one per CPU."""
    directory: str
    """Where tasks run."""
    listed: int | None = None
    """How many tasks plain farmers may know; None before the work directory was looked at."""
    digest: str = ""
    """SHA-256 of the texts of those tasks, or of the lines that were accepted."""
    rules: dict[str, str] = {}
    """What is done about tasks that last too long or fail, by option; `read_rules` says what they mean."""
    lease: float | None = None
    """After how long without an answer the file system gives locks away [s]; 0: never; None: as each node finds it."""
    cpu_share: int = 100
    """For which part of its CPUs a farmer has slots, where it has one per CPU [%]."""
    accepted: int | None = None
    """How many lines the tasklist had when changes of it were accepted last; None if none ever were."""

    @property
    def to_store(self) -> Stored:
        """What a new work directory keeps of it."""
        stored = Stored(self.tasklist, self.handler, self.runner, self.directory, self.slots)
        return replace(stored, rules=self.rules, lease=self.lease, cpu_share=self.cpu_share)


def make_plan(request: Request) -> Plan:
    """Complete a request with what the work directory and the user's INI files say.

    Raises
    ------
    UserError
        If that is not enough to begin, or contradicts what the work directory was made for.
    """
    if request.has_own_list:
        from taskfarmer_mpi.changes.own_list import plan_own_list

        return plan_own_list(request, make_plan, lambda workdir: safe_lock_paths(workdir, os.environ))
    if request.tasklist is not None:
        _check_kind(request.tasklist)
    workdir = Workdir(request.workdir or f"{request.tasklist}_workdir")
    if request.workdir is not None and workdir.path.is_file():
        raise UserError(f"{workdir.path}: a file, not a work directory; a tasklist is given without --workdir")
    check_owner(workdir, is_shared=request.is_shared)
    refuse_halted(workdir, request.rules)
    stored = read_config(workdir)
    if stored is None:
        return _new_plan(request, workdir)
    asked = request.rules.get("order")
    if asked is not None and asked != stored.rules.get("order", "given"):
        raise UserError(
            f"{workdir.path}: --order {asked}: the order is that with which a work directory is made: leave it away"
        )
    rules = merge_rules(stored.rules, request.rules)
    if "then" in request.rules:
        _refuse_other_then(request.rules["then"], workdir)
    if request.tasklist is not None:
        _check_tasklist(os.path.abspath(request.tasklist), stored, workdir)
    if request.handler is not None or request.command is not None:
        _check_handler(_handler(request), stored, workdir)
    return Plan(
        tasklist=os.path.abspath(request.tasklist) if request.tasklist is not None else stored.tasklist,
        workdir=str(workdir.path),
        handler=stored.handler,
        runner=stored.runner if request.runner is None else find(RUNNER, request.runner),
        slots=stored.slots if request.slots is None else _slots(request.slots),
        directory=stored.directory if request.directory is None else os.path.abspath(request.directory),
        rules=rules,
        lease=stored.lease if request.lease is None else request.lease,
        cpu_share=stored.cpu_share if request.slots is None else _cpu_share(request.slots),
    )


def _refuse_other_then(asked: str, workdir: Workdir) -> None:
    """Refuse another command for the end of the list than the one that is there."""
    for line in (read_file(workdir.tasks_added) or b"").split(b"\n")[:-1]:
        parsed = parse_added(line)
        if parsed is not None and parsed[1] is Origin.THEN and parsed[2] != asked.encode("utf-8", "surrogateescape"):
            has = parsed[2].decode("utf-8", "replace")[:60]
            raise UserError(
                f"{workdir.path}: --then {asked}: for the end of its list it has {has!r}, task {parsed[0]}, and can have"
                f" no other: leave it away; taskfarmer-ctl remove {quote(str(workdir.path))} {parsed[0]} takes it off"
            )


def _handler(request: Request) -> Definition:
    if request.command is not None:
        return Definition("--command", FILL, {"command": request.command})
    return find(HANDLER, "default" if request.handler is None else request.handler)


def _slots(number: int) -> int | None:
    return number if number > 0 else None


def _cpu_share(number: int) -> int:
    """Return the part of its CPUs that a number of slots stands for [%]."""
    return -number or 100 if number <= 0 else 100


def _new_plan(request: Request, workdir: Workdir) -> Plan:
    if request.tasklist is None:
        raise UserError(f"{workdir.path}: no farm.ini here that names a tasklist: say which tasklist to work on")
    rules = merge_rules({}, request.rules)
    if not rules.keys().isdisjoint(("order", "durations")):
        from taskfarmer_mpi.ordering.arrangement import check_order

        check_order(read_rules(rules), is_table=_handler(request).class_path.endswith(".TableTaskList"))
    number = (_default_slots(rules) or 0) if request.slots is None else request.slots
    return Plan(
        tasklist=os.path.abspath(request.tasklist),
        workdir=str(workdir.path),
        handler=_handler(request),
        runner=find(RUNNER, "default" if request.runner is None else request.runner),
        slots=_slots(number),
        directory=os.getcwd() if request.directory is None else os.path.abspath(request.directory),
        rules=rules,
        lease=request.lease,
        cpu_share=_cpu_share(number),
    )


def _default_slots(rules: Mapping[str, str]) -> int | None:
    """Return how many slots there are if nobody says so; where each gets something of its own, as many as get it."""
    return None if rules.get("pin", "off") != "off" or rules.get("gpus", "0") != "0" else SLOTS


def _check_kind(path: Path) -> None:
    """Refuse what is no list, and what cannot be read again, as each later farmer does: a pipe, a terminal."""
    if path.is_dir() and Workdir(path).is_known:
        raise UserError(f"{path}: a work directory, not a tasklist: --workdir {quote(str(path))} goes on with it")
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UserError(
            f"{path}: not a regular file: farmers read a tasklist again when they resume; save it in a file: cat >tasks.txt,"
            " or have it read and kept: --workdir DIR -"
        )


def _check_tasklist(path: str, stored: Stored, workdir: Workdir) -> None:
    """Refuse another tasklist; one that was moved is checked by its content later."""
    if path == stored.tasklist or not os.path.exists(stored.tasklist) or not os.path.exists(path):
        return
    if not os.path.samefile(path, stored.tasklist):
        raise UserError(f"{workdir.path}: made for {stored.tasklist}, not for {path}: give it a --workdir of its own")


def _check_handler(asked: Definition, stored: Stored, workdir: Workdir) -> None:
    if not asked.is_same(stored.handler):
        raise UserError(
            f"{workdir.path}: made with the tasklist handler {stored.handler.describe()}, not with {asked.describe()}:"
            " leave --tasklist and --command away to go on, or give it a --workdir of its own"
        )


def read_tasklist(plan: Plan) -> Handler:
    """Return the handler of a plan, with the tasks of the tasklist as they are now.

    Raises
    ------
    UserError
        If they cannot be read, or do not go with the rules.
    """
    handler = make_handler(plan.handler, plan.tasklist, plan.workdir)
    refuse_limits(plan, handler)
    return handler


def refuse_limits(plan: Plan, handler: Handler) -> None:
    """Refuse `#TF` lines that name a limit which is none or want GPUs where there are none, and an order that nothing tells.

    Raises
    ------
    UserError
        If there is anything of it.
    """
    if handler.tasks.directives:
        from taskfarmer_mpi.tasklists.directives import refuse_unmet

        line_of = getattr(handler.tasks, "line_number", None)
        refuse_unmet(handler.path, handler.tasks.directives, read_rules(plan.rules), line_of)
    _refuse_plain_farmers(handler, Workdir(plan.workdir), has_then=plan.rules.get("then", "off") != "off")
    if plan.rules.get("order") == "longest" and "durations" not in plan.rules:
        from taskfarmer_mpi.ordering.arrangement import refuse_unordered

        refuse_unordered(handler)


def _refuse_plain_farmers(handler: Handler, workdir: Workdir, *, has_then: bool) -> None:
    """Refuse barriers, and a command for the end, in a list that a PyTaskFarmer works on, or did: it knows of neither."""
    if not (has_then or handler.tasks.directives):
        return
    from taskfarmer_mpi.history.plain_signs import has_plain_signs
    from taskfarmer_mpi.policies.settings import has_barriers

    has_barrier = any(has_barriers(text) for _, text in handler.tasks.directives)
    if not (has_then or has_barrier):
        return
    if has_plain_signs(workdir, ()) or (workdir.toprocess.exists() and read_config(workdir) is None):
        what, remedy = ("#TF barrier", "take the line out") if has_barrier else ("--then", "leave it away, or --then off")
        raise UserError(
            f"{handler.path}: {what}: a PyTaskFarmer has worked in {workdir.path}, which would run past it:"
            f" {remedy}, or begin with another --workdir"
        )


def enter_directory(plan: Plan) -> None:
    """Go to where the tasks of the farm run.

    Raises
    ------
    UserError
        If that is not possible.
    """
    try:
        os.chdir(plan.directory)
    except OSError as error:
        raise UserError(
            f"{plan.directory}: cannot enter the directory of the farm's tasks on {node_name()}: {error.strerror};"
            " --chdir DIR runs them elsewhere"
        ) from error
