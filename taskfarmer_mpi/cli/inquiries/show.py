"""Show all that is known of a task: its command, where it is, and each of its runs, with its end and what it used."""

from __future__ import annotations

import argparse

from taskfarmer_mpi.cli.arguments import add_workdir, task_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.workdir.files import Workdir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_workdir(parser)
    parser.add_argument("id", type=task_id, metavar="ID", help="the task")
    parser.add_argument(
        "--state",
        action="store_true",
        help="print one word for programs: success, failed (or removed: it will not run), or running (or not begun)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print what is known."""
    from taskfarmer_mpi.workdir.files import Workdir

    workdir = Workdir.existing(arguments.workdir)
    if arguments.state:
        print(_say_state(workdir, arguments.id))
    else:
        _show_all(workdir, arguments.id)
    return 0


def _show_all(workdir: Workdir, task: int) -> None:
    from taskfarmer_mpi.cli.console import warn
    from taskfarmer_mpi.cli.streams import show
    from taskfarmer_mpi.common.wording import say_time
    from taskfarmer_mpi.directives.book import read_book
    from taskfarmer_mpi.errors import UserError
    from taskfarmer_mpi.history.last_runs import read_last_runs
    from taskfarmer_mpi.history.runs import Attempt, FarmerHistory
    from taskfarmer_mpi.policies.settings import without_barriers
    from taskfarmer_mpi.status.reasons import find_reasons

    runs: list[tuple[FarmerHistory, Attempt]] = []

    def watch(histories: list[FarmerHistory]):  # type: ignore[no-untyped-def]
        def see(number: int, run: Attempt) -> None:
            if run.task_id == task:
                runs.append((histories[number], run))

        return see

    last_runs, troubles = read_last_runs(workdir, watch)
    warn(troubles)
    if task >= len(last_runs):
        raise UserError(f"{workdir.path}: there is no task {task}; it has {len(last_runs)} tasks, from 0 on")
    show(f"task {task}: {last_runs.state(task).value}")
    show(f"command: {last_runs.texts[task]}")
    if settings := without_barriers(read_book(workdir).text_of(task)):
        show(f"by #TF lines: {settings}")
    for reason in find_reasons(workdir, last_runs, task):
        show(f"why it does not run: {reason}")
    for history, run in sorted(runs, key=lambda pair: pair[1].begin):
        who = history.identity
        begin = say_time(run.begin, run.begin + 1e6)
        show(f"{begin}  {who.host}, rank {who.rank}, slot {run.slot}: {_say_end(run)}")
    _show_logs(workdir, task)


def _show_logs(workdir: Workdir, task: int) -> None:
    from shlex import quote

    from taskfarmer_mpi.cli.streams import show
    from taskfarmer_mpi.logs.reading import Logs

    folders = dict.fromkeys((workdir.log_folder(task), workdir.logs))
    found = [path for folder in folders for path in folder.glob(f"log_{task}*")]
    for path in sorted(found, key=lambda path: (len(path.name), path.name)):
        if path.name == f"log_{task}" or path.name.startswith(f"log_{task}."):
            show(f"log: {path}")
    for number, packed in sorted(Logs(workdir, [task]).packed(task).items()):
        command = f"taskfarmer-ctl log {quote(str(workdir.path))} {task} --attempt {number}"
        show(f"log of attempt {number}, {packed.length} bytes: {command}")


def _say_state(workdir: Workdir, task: int) -> str:
    """Return the state of a task in the words of workflow managers."""
    from taskfarmer_mpi.errors import UserError
    from taskfarmer_mpi.history.task_states import Place, TaskStates
    from taskfarmer_mpi.history.task_texts import count_tasks
    from taskfarmer_mpi.workdir.configuration import read_config

    count = count_tasks(workdir, read_config(workdir))
    if task >= count:
        raise UserError(f"{workdir.path}: there is no task {task}; it has {count} tasks, from 0 on")
    states = TaskStates(workdir)
    states.look(count)
    return {Place.FINISHED: "success", Place.FAILED: "failed", Place.REMOVED: "failed"}.get(
        Place(states.places[task]), "running"
    )


def _say_end(run) -> str:  # type: ignore[no-untyped-def]
    from taskfarmer_mpi.common.causes import describe_cause
    from taskfarmer_mpi.common.wording import say_duration, say_memory
    from taskfarmer_mpi.history.runs import Outcome

    how = run.outcome.value
    if run.outcome in (Outcome.FAILED, Outcome.KILLED, Outcome.LOST):
        how = f"{how}: {describe_cause(run.returncode, cause=run.cause)}"
    words = [how]
    if run.end is not None:
        words.append(f"after {say_duration(max(run.end - run.begin, 0.0))}")
    words += [f"CPU {say_duration(run.cpu)}"] if run.cpu else []
    words += [f"peak memory {say_memory(run.max_rss)}"] if run.max_rss else []
    return ", ".join(words)
