"""Find out what may keep a farm from working here: one page for a support ticket.

Versions, MPI and how it was launched, the time left of the batch job, hosts and CPUs, file systems, whether locks exclude.
Under a launcher (srun -N5 taskfarmer-ctl doctor WORKDIR) all ranks take part: one page comes from rank 0, with a proof that
locks exclude between the nodes. Nothing is run, and nothing is left behind. The exit code is 1 if something needs a mend.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable
from pathlib import Path

from taskfarmer_mpi.cli.arguments import file_name
from taskfarmer_mpi.cli.diagnosis.installation import Finding, find_launch, find_mpi, find_time, find_versions
from taskfarmer_mpi.cli.diagnosis.node_facts import (
    RankFacts,
    describe_hosts,
    describe_silence,
    find_differences,
    find_places,
    own_facts,
)
from taskfarmer_mpi.cli.streams import show
from taskfarmer_mpi.common.values import as_dict
from taskfarmer_mpi.errors import FarmError, UserError
from taskfarmer_mpi.rendezvous import startup
from taskfarmer_mpi.rendezvous.communicator import Comm
from taskfarmer_mpi.rendezvous.connection import connect
from taskfarmer_mpi.rendezvous.exchange import DismissedError, collect, words_of_rank_0
from taskfarmer_mpi.rendezvous.launcher import launched_rank
from taskfarmer_mpi.rendezvous.patience import Patience
from taskfarmer_mpi.workdir.files import Workdir, node_name
from taskfarmer_mpi.workdir.lock_files import lock_paths
from taskfarmer_mpi.workdir.locks import WorkLock

PATIENCE = 30.0
"""How long to wait for other ranks [s]."""
WIDTH = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "workdir",
        nargs="?",
        type=file_name,
        default=Path(),
        metavar="WORKDIR",
        help="the work directory, or where it will be (default: this one)",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the page on rank 0; return 1 if something needs a mend."""
    workdir = Workdir.meant(arguments.workdir)
    comm, warning = connect("auto", patience=PATIENCE)
    if comm.size == 1 and launched_rank(os.environ) != 0:
        return 0  # one of many that MPI does not connect: the first one says so
    code, error = 0, None
    try:
        code = _lead(comm, workdir, warning, as_json=arguments.json) if comm.rank == 0 else _follow(comm, workdir)
    except UserError as trouble:
        error = trouble
        startup.refuse(comm, error)
    sys.stdout.flush()
    comm.leave()
    if error is not None:
        raise error
    return code


# -- the ranks --------------------------------------------------------------------------------------


def _follow(comm: Comm, workdir: Workdir) -> int:
    """Do this rank's part; return the exit code, which is rank 0's matter."""
    comm.send(0, "facts", own_facts(workdir))
    try:
        for kind, _ in words_of_rank_0(comm, Patience(PATIENCE)):
            if kind == "begin":
                startup.follow_startup(comm, startup.hello("doctor"), _probe_lock, Patience(PATIENCE))
                break
    except (DismissedError, FarmError):
        pass
    return 0


def _probe_lock(folder: str) -> WorkLock:
    return WorkLock(Workdir(folder), [Path(folder) / "lock"], f"doctor on {node_name()}")


def _lead(comm: Comm, workdir: Workdir, warning: str | None, *, as_json: bool) -> int:
    if not workdir.path.is_dir():
        raise UserError(f"{workdir.path}: no such directory")
    others = set(range(1, comm.size))
    answers: dict[int, RankFacts] = collect(comm, "facts", others, Patience(PATIENCE))
    facts = dict(sorted(({0: own_facts(workdir)} | answers).items()))
    machines = len({one.machine for one in facts.values()})
    page = {
        "Versions": find_versions(),
        "MPI": [*find_mpi(os.environ), *find_launch(comm.size, os.environ, warning)],
        "Time": [find_time(os.environ)],
        "Hosts": [*describe_hosts(facts), *describe_silence(others - facts.keys())],
        "Files": [
            *find_places(workdir, os.environ, machines),
            *find_differences(facts),
            *_exclusion_between(comm, workdir, facts),
        ],
    }
    troubles = sum(finding.mend is not None for findings in page.values() for finding in findings)
    if as_json:
        content = {topic: [as_dict(finding) for finding in findings] for topic, findings in page.items()}
        print(json.dumps({"needs_mending": troubles, "findings": content}, indent=1))
    else:
        for line in _lines(page, troubles):
            show(line)
    return min(troubles, 1)


# -- findings about several ranks -------------------------------------------------------------------


def _exclusion_between(comm: Comm, workdir: Workdir, facts: dict[int, RankFacts]) -> list[Finding]:
    """Prove with a lock of its own, where the farm's locks are, that they exclude between the ranks."""
    if comm.size == 1:
        return []
    folder = lock_paths(workdir, os.environ)[0].parent
    topic = "locks between ranks"
    try:
        with tempfile.TemporaryDirectory(prefix=".lock-probe-", dir=folder) as probe:
            Workdir(probe).create()
            for rank in facts.keys() - {0}:
                comm.send(rank, "begin")
            startup.lead_startup(
                comm, startup.hello("doctor"), _probe_lock(probe), probe, startup.Limits(PATIENCE, PATIENCE)
            )
    except UserError as error:
        startup.refuse(comm, error)
        return [Finding(topic, "do not exclude, or could not be tried", str(error))]
    except OSError as error:
        startup.refuse(comm, UserError(str(error)))
        return [Finding(topic, f"could not be tried: {error}", f"make {folder} writable")]
    hosts = len({one.host for one in facts.values()})
    where = f"on {hosts} hosts" if hosts > 1 else "of this host"
    return [Finding(topic, f"exclude: none of {comm.size - 1} other ranks {where} got a lock that rank 0 held")]


# -- the page ---------------------------------------------------------------------------------------


def _lines(page: dict[str, list[Finding]], troubles: int) -> Iterable[str]:
    yield f"taskfarmer-ctl doctor on {node_name()}, {time.strftime('%Y-%m-%d %H:%M:%S %z')}"
    for topic, findings in page.items():
        yield ""
        yield topic
        for finding in findings:
            yield f"  {finding.topic + ':':<20} {finding.text}"
            if finding.mend is not None:
                yield from textwrap.wrap(finding.mend, WIDTH, initial_indent="  !! ", subsequent_indent="     ")
    yield ""
    yield "nothing needs a mend" if troubles == 0 else f"{troubles} of these need{'s' * (troubles == 1)} a mend: see !!"
