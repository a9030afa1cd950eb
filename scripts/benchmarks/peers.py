"""The peers that are programs in Python: each is installed into an environment of its own, in a pinned version."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import SLOTS, Contender, Programs
from benchmarks.folders import BenchError, check_finished, write_tasklist

FUTURES = """\
import subprocess, sys
from mpi4py.futures import MPIPoolExecutor

def run(number):
    return subprocess.call(["/bin/true", str(number)])

if __name__ == "__main__":
    with MPIPoolExecutor() as pool:
        sys.exit(any(pool.map(run, range(int(sys.argv[1])))))
"""


@dataclass(frozen=True)
class Peer:
    """A program of others, as it can be had from the Python Package Index."""

    name: str
    requirements: tuple[str, ...]
    program: str
    """What it is started with, in the folder of programs of its environment."""
    run: Callable[[Programs, Path, Path, int], float]
    """Runs tasks with the program in this place, in a directory; returns how long it took [s]."""


def run_pytaskfarmer(programs: Programs, program: Path, folder: Path, tasks: int) -> float:
    """Run the tasks with PyTaskFarmer."""
    write_tasklist(folder, tasks)
    duration = programs.measure(folder, [str(program), "--proc", str(SLOTS), "--workdir", "tasks_workdir", "tasks"])
    check_finished(folder, tasks)
    return duration


def run_hypershell(programs: Programs, program: Path, folder: Path, tasks: int) -> float:
    """Run the tasks with a HyperShell cluster on this machine, its database left out."""
    write_tasklist(folder, tasks)
    command = [str(program), "cluster", "tasks", "-N", str(SLOTS), "--no-db", "--no-confirm"]
    return programs.measure(folder, command, environ=programs.environ | {"HOME": str(folder)})


def run_disbatch(programs: Programs, program: Path, folder: Path, tasks: int) -> float:
    """Run the tasks with disBatch on this machine."""
    write_tasklist(folder, tasks)
    command = [str(program), "-s", f"localhost:{SLOTS}", "tasks"]
    path = f"{program.parent}{os.pathsep}{programs.environ['PATH']}"
    return programs.measure(folder, command, environ=programs.environ | {"PATH": path})


def run_futures(programs: Programs, program: Path, folder: Path, tasks: int) -> float:
    """Run the tasks with a pool of mpi4py.futures: one rank hands them out, two others run them."""
    (folder / "futures.py").write_text(FUTURES)
    ranks = [str(program.with_name("mpiexec")), "-n", str(SLOTS + 1)]
    return programs.measure(folder, [*ranks, str(program), "-m", "mpi4py.futures", "futures.py", str(tasks)])


PEERS = (
    Peer("mpi4py.futures, 2 workers", ("mpi4py==4.1.2", "mpich==5.0.2"), "python", run_futures),
    Peer("HyperShell, 2 tasks at a time", ("hypershell==2.8.2",), "hs", run_hypershell),
    Peer("disBatch, 2 tasks at a time", ("disbatch==3.0",), "disBatch", run_disbatch),
    Peer("PyTaskFarmer 0.1.0, 2 workers", ("pytaskfarmer==0.1.0",), "pytaskfarmer.py", run_pytaskfarmer),
)


def install(peer: Peer, cache: Path) -> Path:
    """Return the program of a peer; its environment is made if it is missing.

    Raises
    ------
    BenchError
        If it cannot be installed.
    """
    place = cache / "-".join(peer.requirements).replace("==", "-")
    program = place / "bin" / peer.program
    if (place / "installed").exists():
        return program
    steps = (
        [sys.executable, "-m", "venv", "--clear", str(place)],
        [str(place / "bin" / "pip"), "install", *peer.requirements],
    )
    for command in steps:
        step = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if step.returncode != 0 or (command is steps[-1] and not program.exists()):
            last = (step.stderr.strip().splitlines() or [f"{peer.program} is not in it"])[-1]
            raise BenchError(f"{' '.join(peer.requirements)}: {last}")
    (place / "installed").touch()
    return program


def choose_peers(programs: Programs, cache: Path, tasks: int, few: int, say: Callable[[str], None]) -> list[Contender]:
    """Return the peers that can be had here; one line is said for each one that cannot.

    Parameters
    ----------
    programs
        How programs are started.
    cache
        Where the environments are, or are made.
    tasks, few
        Tasks of a run, and of one of PyTaskFarmer, whose time grows with their square.
    say
        Is told the lines.
    """
    chosen = []
    for peer in PEERS:
        try:
            program = install(peer, cache)
        except (BenchError, OSError) as error:
            say(f"left out: {peer.name}: {error}")
            continue
        size = min(tasks, few if peer.requirements[0].startswith("pytaskfarmer") else 4 * few)
        chosen.append(Contender(peer.name, size, bind(peer, programs, program)))
    return chosen


def bind(peer: Peer, programs: Programs, program: Path) -> Callable[[Path, int], float]:
    """Return what runs tasks with a peer."""
    return lambda folder, tasks: peer.run(programs, program, folder, tasks)


def choose_contenders(
    programs: Programs, cache: Path | None, tasks: int, few: int, say: Callable[[str], None]
) -> list[Contender]:
    """Return xargs, ours, and the peers that are installed here or can be had; see `choose_peers`."""
    chosen = [
        Contender("xargs -P2 -n1", tasks, programs.xargs),
        Contender("taskfarmer_mpi, 2 slots", tasks, programs.farm),
    ]
    if programs.mpiexec is not None:
        chosen.append(Contender("taskfarmer_mpi, mpiexec -n 2, 1 slot each", tasks, programs.farm_with_mpi))
    if shutil.which("hq") is not None:
        chosen.append(Contender("HyperQueue, 2 CPUs", tasks, programs.hyperqueue))
    else:
        say("left out: HyperQueue: no hq on PATH; what the Python Package Index has of it contains no such program")
    if shutil.which("parallel") is not None:
        chosen.append(Contender("GNU parallel -j2", min(tasks, 4 * few), programs.parallel))
    else:
        say("left out: GNU parallel: no parallel on PATH")
    if cache is None:
        say(
            f"left out: {', '.join(peer.name.split(',')[0] for peer in PEERS)}: they are installed if --cache DIR says where"
        )
        return chosen
    return chosen + choose_peers(programs, cache, tasks, few, say)
