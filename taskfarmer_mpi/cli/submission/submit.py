"""Submit a farm to Slurm in one line: fills the batch script that `taskfarmer-ctl script` prints, and calls sbatch.

Before TASKLIST are options of this command and of sbatch, as `-p debug` or `--account=m1234`; after it those of
taskfarmer-mpi. Without -N or -t it asks for what an earlier run of the list tells, else for what the script has; it says
which.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from taskfarmer_mpi.cli.arguments import file_name
from taskfarmer_mpi.cli.parsing import Parser, did_you_mean
from taskfarmer_mpi.cli.submission.words import split_words, values_of
from taskfarmer_mpi.errors import UserError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.cli.submission.filling import Job
    from taskfarmer_mpi.tasklists.lines import Lines
    from taskfarmer_mpi.upkeep.plan import Request
    from taskfarmer_mpi.workdir.files import Workdir

_PATIENCE = 120.0
"""How long sbatch may take [s]."""
_NOT_HERE = {
    "--wrap": "the script is made here",
    "--test-only": "--dry-run shows what would be submitted",
    "--wait": "taskfarmer-ctl wait WORKDIR waits for the list",
    "-W": "taskfarmer-ctl wait WORKDIR waits for the list",
}
"""Options of sbatch that make no sense here, and why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    from taskfarmer_mpi.cli.submission.times import job_time

    parser.usage = f"{parser.prog} [-N N] [-t TIME] [--until-done] [SBATCH-OPTION...] TASKLIST [OPTION...]"
    parser.add_argument(
        "-N", "--nodes", type=_nodes, metavar="N", help="nodes, with one farmer on each; MIN-MAX: as many as there are"
    )
    parser.add_argument(
        "-t", "--time", type=job_time, metavar="TIME", help="how long the job may take: 8h, 90m, 1d12h, or as Slurm has it"
    )
    parser.add_argument(
        "-c",
        "--cpus-per-task",
        type=_number,
        metavar="N",
        help="CPUs on each node (default: all that the smallest node has)",
    )
    parser.add_argument(
        "-a",
        "--array",
        type=_array,
        metavar="N",
        help="N farmers on a node each, without MPI, which start as nodes become free",
    )
    parser.add_argument(
        "--until-done",
        action="store_true",
        help="put the job back into the queue when its time is up, until the list is done or no task ended in a run",
    )
    parser.add_argument("--dry-run", action="store_true", help="print script and command, and submit nothing")
    parser.add_argument(
        "tasklist", type=file_name, metavar="TASKLIST", help="the tasklist, and then options of taskfarmer-mpi"
    )


def _number(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 999999")
    return int(text)


def _nodes(text: str) -> str:
    low, _, high = text.partition("-")
    if _number(low) > _number(high or low):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of nodes, like 5 or 2-5")
    return text


def _array(text: str) -> str:
    """Parse how many elements, or their indices as sbatch has them."""
    return f"0-{_number(text) - 1}" if re.fullmatch(r"\d+", text) else text


def parse(parser: Parser, argv: Sequence[str]) -> argparse.Namespace:
    """Return what the user typed; exit with a complaint if it makes no sense."""
    words = split_words(argv)
    for word in words.sbatch:
        name = word.partition("=")[0]
        if name in _NOT_HERE:
            parser.complain(f"{name}: not with submit: {_NOT_HERE[name]}")
        if (hint := did_you_mean(name, ("--until-done", "--dry-run"))) is not None:
            parser.complain(f"{name}: unknown option", hint)
    arguments = parser.parse_args([*words.own, *([] if words.tasklist is None else ["--", words.tasklist])])
    if arguments.array is not None and arguments.nodes is not None:
        parser.complain("--array and --nodes: an element of an array has one node: leave one of both away")
    if arguments.array is not None and arguments.until_done:
        parser.complain("--array and --until-done: an array is not put back into the queue: leave one of both away")
    arguments.sbatch, arguments.farm = words.sbatch, words.farm
    return arguments


def run(arguments: argparse.Namespace) -> int:
    """Submit the job, and say which one it is and how to watch it."""
    from taskfarmer_mpi.cli.streams import show
    from taskfarmer_mpi.cli.submission.filling import fill_script

    request = _read_request(arguments)
    job, sentences = _choose(arguments, request, *_read_farm(request))
    script = fill_script(job)
    command = ["sbatch", "--parsable", *arguments.sbatch]
    if arguments.dry_run:
        print(script)
        show(*(f"# {sentence}" for sentence in sentences), f"# {shlex.join(command)} < this script")
        return 0
    _find(command[0])
    show(*sentences)
    number = _submit(command, script)
    show(
        f"submitted job {number}",
        f"watch it: squeue -j {number}; once it has begun: taskfarmer-ctl watch {shlex.quote(job.workdir)}",
        f"stop it: scancel {number}; the same command goes on with what is left",
    )
    return 0


def _read_request(arguments: argparse.Namespace) -> Request:
    """Return what the farm is asked to do."""
    from taskfarmer_mpi.cli.farm import read_options
    from taskfarmer_mpi.cli.options import parse_arguments

    if str(arguments.tasklist) == "-" or ":::" in arguments.farm:
        raise UserError("a batch job needs a file with the list: save it, and give that")
    return read_options(parse_arguments([str(arguments.tasklist), *arguments.farm])).request


def _read_farm(request: Request) -> tuple[Workdir, list[float]]:
    """Return the work directory, and what the tasks that are left will take [s]; all is checked as a farmer does it.

    Nothing is returned of them if there was no earlier run that tells it.
    """
    from taskfarmer_mpi.ordering.forecast import foresee
    from taskfarmer_mpi.runners.pytaskfarmer import is_foreign
    from taskfarmer_mpi.upkeep.plan import make_plan, read_tasklist
    from taskfarmer_mpi.workdir.configuration import read_config
    from taskfarmer_mpi.workdir.files import Workdir

    folder = request.workdir or Path(f"{request.tasklist}_workdir")
    if folder.is_dir() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise UserError(f"{folder}: cannot be used: no permission to read and write there")
    plan = make_plan(request)
    workdir = Workdir(plan.workdir)
    if is_foreign(plan.handler):  # it may write into the work directory
        return workdir, []
    handler = read_tasklist(plan)
    earlier, order = (request.rules.get(name, "") for name in ("durations", "order"))
    seconds = [duration for _, duration in foresee(handler, workdir, earlier, order or "given")]
    stored = read_config(workdir)
    return workdir, seconds if stored is None else [*seconds, *_foresee_appended(handler.tasks, stored.listed, workdir)]


def _foresee_appended(lines: Lines, listed: int, workdir: Workdir) -> list[float]:
    """Return what the lines of a tasklist will take that the work directory does not know yet [s]."""
    from taskfarmer_mpi.ordering.durations import own_durations
    from taskfarmer_mpi.ordering.guesses import guess_durations, program_of
    from taskfarmer_mpi.workdir.catalog import Catalog

    catalog = Catalog(lines, listed, workdir.tasks_added)
    catalog.advance()
    known = own_durations(workdir)
    if not known:
        return []
    return guess_durations(lines, lines.text, known, program_of).seconds[listed + len(catalog.appended) :]


def _choose(
    arguments: argparse.Namespace, request: Request, workdir: Workdir, seconds: list[float]
) -> tuple[Job, list[str]]:
    """Return the job and what is to be said of it."""
    from taskfarmer_mpi.cli.submission.filling import Job
    from taskfarmer_mpi.cli.submission.request import Known, Wish, ask_site, choose, count_nodes

    wish = Wish(
        arguments.nodes, arguments.time, arguments.cpus_per_task, arguments.array, arguments.until_done, request.slots
    )
    partitions = values_of(arguments.sbatch, "-p", "--partition")
    features = [name for name in values_of(arguments.sbatch, "-C", "--constraint") if re.fullmatch(r"\w+", name)]
    asked = choose(wish, ask_site(partitions, features), Known(seconds, count_nodes(workdir)) if seconds else None)
    typed = str(request.workdir or f"{request.tasklist}_workdir")
    words = [str(arguments.tasklist), *arguments.farm]
    return Job(asked.kind, asked.directives, words, typed, sys.executable), asked.sentences


def _find(program: str) -> None:
    import shutil

    if shutil.which(program) is None:
        raise UserError(f"{program}: no such program in PATH: submit where Slurm is; --dry-run shows script and command")


def _submit(command: Sequence[str], script: str) -> str:
    """Return the number of the job that sbatch makes of a script."""
    from taskfarmer_mpi.common.programs import AskError, ask

    try:
        answer = ask(*command, text=script, folder=os.getcwd(), limit=_PATIENCE)
    except AskError as error:
        raise UserError(f"not submitted: {str(error).replace('sbatch: sbatch: ', 'sbatch: ')}") from error
    return answer.strip().partition(";")[0]
