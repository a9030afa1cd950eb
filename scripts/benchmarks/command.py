"""The command `scripts/bench`: what is measured, as tables, as JSON and as plots."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.comparison import compare, comparison_table, run_sizes, run_slots, size_table, slots_table
from benchmarks.contenders import Contender, Programs, call, choose_watched
from benchmarks.crowds import crowd_table, describe_crowd, run_crowd
from benchmarks.folders import BenchError
from benchmarks.machine import describe_machine, describe_versions
from benchmarks.peers import PEERS, choose_contenders

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = ("comparison", "sizes", "slots", "farmers", "watched")
USUAL = PARTS[:4]


def report(line: str) -> None:
    """Tell the user how far it is."""
    sys.stderr.write(line + "\n")


def find_python(wanted: str | None) -> str:
    """Return a Python that has taskfarmer_mpi.

    Raises
    ------
    BenchError
        If there is none.
    """
    candidates = [wanted] if wanted else [sys.executable, str(ROOT / ".venv" / "bin" / "python")]
    for python in candidates:
        if Path(python).exists() and call(Path("/"), [python, "-c", "import filelock, taskfarmer_mpi"]) == 0:
            return os.path.abspath(python)
    tried = " and ".join(candidates)
    raise BenchError(f"no taskfarmer_mpi in {tried}: run scripts/test once, which installs it into .venv, or give --python")


def number(text: str) -> int:
    """Parse a number of things, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def numbers(text: str) -> list[int]:
    """Parse numbers of things between commas, and put them in order."""
    return sorted(number(part) for part in text.split(","))


def pause(text: str) -> float:
    """Parse a pause [s], above 0 and at most a minute."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 60:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time above 0 and up to 60 s")
    return seconds


def parts(text: str) -> list[str]:
    """Parse names of parts between commas."""
    names = text.split(",")
    for name in names:
        if name not in PARTS:
            raise argparse.ArgumentTypeError(f"{name!r} is no part; there are {', '.join(PARTS)}")
    return names


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Return what the user asked for."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure what taskfarmer_mpi costs, beside other programs that run commands; a task is `/bin/true N`.",
        epilog="GNU parallel and HyperQueue take part if `parallel` and `hq` are on PATH. A program that is missing is left"
        " out, with one line.",
    )
    add = parser.add_argument
    add("--parts", type=parts, help=f"what to measure, of {', '.join(PARTS)} (default: all but watched)")
    add("--tasks", type=number, default=10_000, help="tasks in each run (default: 10000)")
    add("--repeats", type=number, default=5, help="runs of each program (default: 5)")
    add(
        "--few",
        type=number,
        default=500,
        help="tasks in a run of PyTaskFarmer, whose time grows with their square; four times as many for GNU parallel and"
        " other programs in Python (default: 500)",
    )
    add("--sizes", type=numbers, default=[1_000, 10_000, 100_000], help="numbers of tasks (default: 1000,10000,100000)")
    add("--slots", type=numbers, default=[1, 2, 4, 8, 16], help="numbers of slots of one farmer (default: 1,2,4,8,16)")
    add("--farmers", type=numbers, help="numbers of farmers of one slot at one lock; nothing else, unless --parts says so")
    add("--each", type=number, default=20, help="tasks for each of those farmers (default: 20)")
    add("--seconds", type=number, default=2, help="how long such a task sleeps [s] (default: 2)")
    add(
        "--poll",
        type=pause,
        default=0.0,
        metavar="S",
        help="let those farmers ask for the lock after such pauses always [s]",
    )
    add("--cache", type=Path, metavar="DIR", help="where the environments of other programs in Python are, or are made")
    add("--dir", type=Path, help="directory where a new one is made for the runs; /dev/shm leaves the disk out")
    add("--json", type=Path, metavar="FILE", help="write machine, versions, commands and the time of each run to this file")
    add("--plots", type=Path, metavar="DIR", help="draw cost against tasks, slots and farmers; needs matplotlib")
    add("--keep", action="store_true", help="keep the directories of all runs")
    add("--python", help="a Python that has taskfarmer_mpi (default: this one, or that in .venv)")
    arguments = parser.parse_args(words)
    arguments.parts = arguments.parts or (["farmers"] if arguments.farmers else list(USUAL))
    arguments.farmers = arguments.farmers or [10, 50, 100, 200]
    return arguments


class Bench:
    """All measurements of one command."""

    def __init__(self, arguments: argparse.Namespace, programs: Programs, folder: Path) -> None:
        self._arguments = arguments
        self._programs = programs
        self._folder = folder
        self.tables: list[str] = []
        self.measured: dict[str, Any] = {
            "machine": describe_machine(),
            "versions": describe_versions(programs.python) | {peer.name: " ".join(peer.requirements) for peer in PEERS},
        }

    def run(self, part: str) -> None:
        """Measure one part."""
        table: list[str] = getattr(self, f"_run_{part}")()
        self.tables += [*table, ""]

    def _run_comparison(self) -> list[str]:
        wanted = self._arguments
        return self._compare("contenders", choose_contenders(self._programs, wanted.cache, wanted.tasks, wanted.few, report))

    def _run_watched(self) -> list[str]:
        return self._compare("watched", choose_watched(self._programs, self._arguments.tasks))

    def _compare(self, name: str, contenders: list[Contender]) -> list[str]:
        place = self._folder / name
        place.mkdir()
        commands = compare(contenders, self._arguments.repeats, place, self._programs, report)
        self.measured[name] = [
            {"name": one.name, "tasks": one.tasks, "command": commands[one.name], "times_s": one.times} for one in contenders
        ]
        return comparison_table(contenders)

    def _run_sizes(self) -> list[str]:
        runs = run_sizes(self._programs, self._arguments.sizes, self._folder, report)
        self.measured["sizes"] = [asdict(run) for run in runs]
        return size_table(runs)

    def _run_slots(self) -> list[str]:
        runs = run_slots(self._programs, self._arguments.slots, self._arguments.tasks, self._folder, report)
        self.measured["slots"] = [asdict(run) for run in runs]
        return slots_table(runs)

    def _run_farmers(self) -> list[str]:
        wanted, runs = self._arguments, []
        for farmers in wanted.farmers:
            place = self._folder / f"farmers-{farmers}"
            place.mkdir()
            load, tasks = os.getloadavg()[0], farmers * wanted.each
            run = run_crowd(
                place,
                self._programs.python,
                self._programs.environ,
                farmers=farmers,
                tasks=tasks,
                seconds=wanted.seconds,
                poll=wanted.poll,
            )
            runs.append(run)
            self.measured.setdefault("crowds", []).append(describe_crowd(run) | {"load_before": load})
            report(f"{farmers} farmers: {run.wall:.1f} s, ideal {run.ideal:.0f} s; the load average was {load:.1f} before")
        return crowd_table(runs)


def main() -> int:
    """Measure, and print tables."""
    arguments = parse_arguments()
    folder: Path | None = None
    try:
        programs = Programs(find_python(arguments.python))
        folder = Path(tempfile.mkdtemp(prefix="taskfarmer-bench.", dir=arguments.dir))
        bench = Bench(arguments, programs, folder)
        for part in arguments.parts:
            bench.run(part)
        if arguments.json is not None:
            arguments.json.write_text(json.dumps(bench.measured, indent=1) + "\n")
        if arguments.plots is not None:
            from benchmarks.plots import draw

            draw(bench.measured, arguments.plots)
    except (BenchError, OSError) as error:
        report(f"scripts/bench: {error}")
        if folder is not None:
            report(f"the runs so far are in {folder}")
        return 2
    machine = bench.measured["machine"]
    where = f"{machine['cpus']} CPUs, Linux {machine['linux']}, files in {folder.parent}"
    sys.stdout.write("\n".join([*bench.tables, f"{arguments.repeats} runs each, in turn; {where}"]) + "\n")
    if not arguments.keep:
        shutil.rmtree(folder)
    return 0
