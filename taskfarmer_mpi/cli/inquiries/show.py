"""Show all that is known of a task: its command, where it is, and each of its runs, with its end and what it used."""

from __future__ import annotations

import argparse

from taskfarmer_mpi.cli.arguments import add_workdir, task_id


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_workdir(parser)
    parser.add_argument("id", type=task_id, metavar="ID", help="the task")


def run(arguments: argparse.Namespace) -> int:
    """Print what is known."""
    from shlex import quote

    from taskfarmer_mpi.cli.console import warn
    from taskfarmer_mpi.cli.streams import show
    from taskfarmer_mpi.common.wording import say_time
    from taskfarmer_mpi.directives.book import read_book
    from taskfarmer_mpi.errors import UserError
    from taskfarmer_mpi.history.last_runs import read_last_runs
    from taskfarmer_mpi.history.runs import Attempt, FarmerHistory
    from taskfarmer_mpi.logs.reading import Logs
    from taskfarmer_mpi.workdir.files import Workdir

    workdir = Workdir.existing(arguments.workdir)
    runs: list[tuple[FarmerHistory, Attempt]] = []

    def watch(histories: list[FarmerHistory]):  # type: ignore[no-untyped-def]
        def see(number: int, run: Attempt) -> None:
            if run.task_id == arguments.id:
                runs.append((histories[number], run))

        return see

    last_runs, troubles = read_last_runs(workdir, watch)
    warn(troubles)
    if arguments.id >= len(last_runs):
        raise UserError(f"{workdir.path}: there is no task {arguments.id}; it has {len(last_runs)} tasks, from 0 on")
    show(f"task {arguments.id}: {last_runs.state(arguments.id).value}")
    show(f"command: {last_runs.texts[arguments.id]}")
    if settings := read_book(workdir).text_of(arguments.id):
        show(f"by #TF lines: {settings}")
    for history, run in sorted(runs, key=lambda pair: pair[1].begin):
        who = history.identity
        begin = say_time(run.begin, run.begin + 1e6)
        show(f"{begin}  {who.host}, rank {who.rank}, slot {run.slot}: {_say_end(run)}")
    for path in sorted(workdir.logs.glob(f"log_{arguments.id}*"), key=lambda path: (len(path.name), path.name)):
        if path.name == f"log_{arguments.id}" or path.name.startswith(f"log_{arguments.id}."):
            show(f"log: {path}")
    for number, packed in sorted(Logs(workdir, [arguments.id]).packed(arguments.id).items()):
        command = f"taskfarmer-ctl log {quote(str(workdir.path))} {arguments.id} --attempt {number}"
        show(f"log of attempt {number}, {packed.length} bytes: {command}")
    return 0


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
