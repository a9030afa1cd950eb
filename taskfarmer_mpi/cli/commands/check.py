"""Look at what a farm would do, without doing it.

Reads the tasklist and the configuration as a farmer would, shows the first commands exactly as they would be started, and
tells where locks and logs are and whether locks work there. Nothing is run, and nothing is left behind.
"""

from __future__ import annotations

import argparse
import os
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from taskfarmer_mpi.cli.arguments import count, file_name, slots
from taskfarmer_mpi.cli.diagnosis.seats import describe_seats
from taskfarmer_mpi.cli.rules import add_rules, read_rule_options
from taskfarmer_mpi.cli.streams import show
from taskfarmer_mpi.common.defaults import GRACE
from taskfarmer_mpi.common.filesystems import lock_trouble, mount_of
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.farmer.environment import describe_differences, task_environment
from taskfarmer_mpi.runners.pytaskfarmer import is_foreign, make_handler, make_runner
from taskfarmer_mpi.runners.shell import SCRIPT_FD, Launch, Runner
from taskfarmer_mpi.tasklists.lines import Handler
from taskfarmer_mpi.tasklists.oddities import describe_oddities, has_shell_lines
from taskfarmer_mpi.upkeep.plan import Plan, Request, enter_directory, make_plan, refuse_limits
from taskfarmer_mpi.workdir.configuration import read_config
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.lock_files import lock_paths

SHOWN = 5
"""How many commands are shown."""
LONGEST_WORD = 2000
"""How much of an argument is shown [characters]."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("tasklist", nargs="?", type=file_name, metavar="TASKLIST", help="the tasklist")
    parser.add_argument(
        "-w", "--workdir", type=file_name, metavar="DIR", help="the work directory (default: TASKLIST_workdir)"
    )
    parser.add_argument("-r", "--runner", metavar="NAME", help="as for taskfarmer-mpi")
    parser.add_argument("-t", "--tasklist", metavar="NAME", dest="handler", help="as for taskfarmer-mpi")
    parser.add_argument("-n", "-j", "--proc", type=slots, metavar="N", help="as for taskfarmer-mpi")
    add_rules(parser)
    parser.add_argument(
        "--show", type=count, default=SHOWN, metavar="N", help=f"how many commands to show (default: {SHOWN})"
    )

    parser.add_argument(
        "--environment",
        action="store_true",
        help="also show what a task's environment has that this one has not, and the reverse",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print what was found; return 1 if locks do not work, or a task is too large for a farmer here."""
    if arguments.tasklist is None and arguments.workdir is None:
        raise UserError("a tasklist is needed, or a --workdir that was used before")
    if str(arguments.tasklist) == "-":
        raise UserError("-: a dry run reads no standard input: save the list in a file")
    given = read_rule_options(arguments)
    plan = make_plan(
        Request(
            arguments.tasklist,
            arguments.workdir,
            arguments.handler,
            arguments.runner,
            arguments.proc,
            rules=given,
            is_shared=arguments.shared,
        )
    )
    enter_directory(plan)
    workdir = Workdir(plan.workdir)
    with _place_for(plan) as place:
        handler = make_handler(plan.handler, plan.tasklist, place)
        refuse_limits(plan, handler)
        runner = make_runner(plan.runner)
        _check_digest(plan, handler, workdir)
        commands = [command.replace(place, plan.workdir) for command in _first_commands(handler, arguments.show, plan)]
    seats = describe_seats(plan, handler, workdir)
    for line in (*_describe_plan(plan, handler, workdir), *seats, *_describe_commands(commands, runner)):
        show(line)
    for line in _describe_barriers(handler):
        show(line)
    for sentence in _describe_times(plan, handler, given):
        show(sentence)
    if has_shell_lines(handler) and plan.runner.name != "exec":
        for sentence in describe_oddities(Path(plan.tasklist), handler.tasks):
            show(f"look at this:   {sentence}")
    for line in _describe_environment(workdir) if arguments.environment else ():
        show(line)
    troubles = [*_describe_misfit(plan, handler, workdir), *_describe_locks(workdir)]
    return 1 if any(troubles) else 0


def _describe_misfit(plan: Plan, handler: Handler, workdir: Workdir) -> Iterator[str]:
    """Print which task is too large for a farmer here, and yield it; none where tasks have no sizes."""
    if not (handler.tasks.directives or workdir.settings.exists()):
        return
    from taskfarmer_mpi.machine.cpus import find_cpus, share_out
    from taskfarmer_mpi.policies.rules import read_rules
    from taskfarmer_mpi.run.dealing import make_dealer

    environ = os.environ
    dealer = make_dealer(read_rules(plan.rules).resources, plan, environ, workdir, handler, is_alone=False)
    if dealer is not None:
        cpus = {0: ("here", find_cpus(environ, is_step=False, is_launched=False))}
        misfit = dealer.misfit(handler, plan.slots or share_out(cpus, plan.cpu_share)[0])
        if misfit is not None:
            show(f"too large:      {misfit}")
            yield misfit


def _describe_barriers(handler: Handler) -> Iterator[str]:
    from taskfarmer_mpi.policies.settings import read_settings

    settings = [(index, read_settings(text)) for index, text in handler.tasks.directives]
    stages: dict[int, int] = {}
    for index, held in settings:
        stages.setdefault(held.stage, index)
    closed = [f"before task {index}" for stage, index in stages.items() if stage and index < len(handler.tasks)]
    if closed:
        checked = ", some with check" if any(held.checked for _, held in settings) else ""
        more = f" and {len(closed) - 5} more" if len(closed) > 5 else ""
        yield f"barriers:       {', '.join(closed[:5])}{more}{checked}"


def _describe_times(plan: Plan, handler: Handler, given: Mapping[str, str]) -> Iterator[str]:
    """Yield how long the tasks will take on a node like this one, or in this job, if anything is known about that."""
    from taskfarmer_mpi.job.schedulers.found import count_nodes
    from taskfarmer_mpi.job.walltime import job_end, time_left
    from taskfarmer_mpi.machine.cpus import find_cpus, share_out
    from taskfarmer_mpi.ordering.forecast import Forecast, foresee, say_forecast
    from taskfarmer_mpi.policies.rules import read_rules

    expected = foresee(handler, Workdir(plan.workdir), given.get("durations", ""), given.get("order", "given"))
    if not expected:
        return
    environ = os.environ
    left = time_left(job_end(environ), None, GRACE + read_rules(plan.rules).stop_grace)
    cpus = {0: ("here", find_cpus(environ, is_step=False, is_launched=False))}
    own = plan.slots or share_out(cpus, plan.cpu_share)[0]
    count = count_nodes(environ)
    yield from say_forecast(Forecast(expected, own * count, count, left))


@contextmanager
def _place_for(plan: Plan) -> Iterator[str]:
    """Yield a work directory for the handler; one for PyTaskFarmer may want to write there, and gets a stand-in."""
    if not is_foreign(plan.handler) or os.path.isdir(plan.workdir):
        yield plan.workdir
        return
    with tempfile.TemporaryDirectory(prefix="taskfarmer-check-") as folder:
        yield folder


def _check_digest(plan: Plan, handler: Handler, workdir: Workdir) -> None:
    stored = read_config(workdir)
    if stored is not None and not handler.tasks.begins_with(stored.begun, stored.digest):
        from taskfarmer_mpi.changes.edited_list import compare_list

        edit = compare_list(workdir, stored, handler)
        for line in edit.show():
            show(line)
        raise UserError(
            f"{plan.tasklist}: not as {workdir.path} knows it: {edit.describe()}: put it back as it was, or take that over:"
            " taskfarmer-mpi --accept-changes"
        )


def _describe_plan(plan: Plan, handler: Handler, workdir: Workdir) -> Iterator[str]:
    state = "goes on with what is left" if workdir.toprocess.exists() else "will be made"
    yield f"tasklist:       {plan.tasklist}: {len(handler.tasks)} tasks"
    yield f"handler:        {plan.handler.describe()}"
    yield f"runner:         {plan.runner.describe()}"
    yield f"slots:          {plan.slots or 'one per CPU'} per farmer"
    yield f"tasks run in:   {os.getcwd()}"
    yield f"work directory: {workdir.path} ({state})"
    yield f"logs:           {workdir.logs}{_write_trouble(workdir)}"


def _write_trouble(workdir: Workdir) -> str:
    place = _nearest(workdir.logs)
    return "" if os.access(place, os.W_OK | os.X_OK) else f" (cannot write to {place})"


def _nearest(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.is_dir())


def _first_commands(handler: Handler, count: int, plan: Plan) -> Iterator[str]:
    for task_id in range(min(count, len(handler.tasks))):
        try:
            yield handler[task_id]
        except Exception as error:  # a user's handler may fail with one task
            raise UserError(
                f"{plan.handler.place}: no command for task {task_id}: {type(error).__name__}: {error}"
            ) from error


def _describe_commands(commands: list[str], runner: Runner) -> Iterator[str]:
    for task_id, command in enumerate(commands):
        yield f"task {task_id}: {_shorten(command)}"
        yield f"    {_describe_launch(runner.launch(command))}"


def _describe_launch(launch: Launch) -> str:
    words = [f"{name}={shlex.quote(value)}" for name, value in launch.environ.items()]
    words += [shlex.quote(_shorten(word)) for word in (launch.program, *launch.argv[1:])]
    more = f" (it reads the {len(launch.script):,} bytes of the line from descriptor {SCRIPT_FD})" if launch.script else ""
    return " ".join(words) + more


def _shorten(text: str) -> str:
    return text if len(text) <= LONGEST_WORD else text[: LONGEST_WORD - 1] + "…"


def _describe_environment(workdir: Workdir) -> Iterator[str]:
    """Yield how a task's environment would differ from this one."""
    environ = task_environment(os.environ, "FARMER", workdir, 0)
    environ |= dict.fromkeys(("PROC_NUMBER", "TASKFARMER_TASK"), "ID")
    environ |= dict.fromkeys(("TASKFARMER_SLOT", "TASKFARMER_NODE_SLOT"), "N")
    yield "environment of a task, compared with this one (- taken away, + added, ~ changed):"
    for sign, name, value in describe_differences(os.environ, environ):
        yield f"    {sign} {name}={shlex.quote(_shorten(value))}"


def _describe_locks(workdir: Workdir) -> Iterator[str | None]:
    """Print where the locks are, and yield what is wrong there."""
    for path in lock_paths(workdir, os.environ):
        folder = _nearest(path.parent)
        trouble = lock_trouble(folder)
        mount = mount_of(folder)
        kind = "unknown file system" if mount is None else mount.type
        show(f"lock file:      {path} ({kind}): {trouble or 'locks exclude on this node'}")
        if mount is not None and mount.local_lock_options:
            trouble = f"with the mount option {mount.local_lock_options[0]} locks hold on one node only"
            show(f"                {trouble}")
        yield trouble
