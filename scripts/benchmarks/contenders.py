"""The programs that are compared, and how each of them is started."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.folders import BenchError, check_finished, write_tasklist

SLOTS = 2
POLL = 0.02
"""How often the farmer's peak memory is read [s]."""

MONITORS = """\
[lines]
Monitor = taskfarmer_mpi.monitors.JSONLinesMonitor
path = events.jsonl

[metrics]
Monitor = taskfarmer_mpi.monitors.OpenMetricsMonitor
path = metrics.prom

[hanging]
Monitor = hanging.Hanging
"""
HANGING = """\
import time

class Hanging:
    def handle(self, event):
        time.sleep(1000)
"""


@dataclass(frozen=True)
class Contender:
    """A program that works through a list of commands."""

    name: str
    tasks: int
    run: Callable[[Path, int], float]
    """Runs so many tasks in a directory; returns how long it took [s]."""
    times: list[float] = field(default_factory=list)
    """What was measured [s]."""

    @property
    def rates(self) -> list[float]:
        """What was measured [tasks/s]."""
        return [self.tasks / duration for duration in self.times]


class Programs:
    """How each contender is started."""

    def __init__(self, python: str) -> None:
        self.python = python
        folder = Path(python).parent
        path = f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        # Some move the lock out of the work directory; without bytecode each start would compile the whole program anew.
        left_out = ("SCRATCH", "TMP", "TMPDIR", "PYTHONDONTWRITEBYTECODE")
        self.environ = {name: value for name, value in os.environ.items() if name not in left_out} | {"PATH": path}
        self.environ.setdefault("UCX_TLS", "tcp,sm,self")
        self.mpiexec = shutil.which("mpiexec", path=path)
        self.command: list[str] = []
        """What was measured last."""

    def xargs(self, folder: Path, tasks: int) -> float:
        """Run the tasks with xargs."""
        numbers = folder / "numbers"
        numbers.write_text("".join(f"{number}\n" for number in range(tasks)))
        return self.measure(folder, ["xargs", f"-P{SLOTS}", "-n1", "/bin/true"], stdin=numbers)

    def parallel(self, folder: Path, tasks: int) -> float:
        """Run the tasks with GNU parallel."""
        (folder / "numbers").write_text("".join(f"{number}\n" for number in range(tasks)))
        command = ["parallel", "--will-cite", f"-j{SLOTS}", "-a", "numbers", "/bin/true"]
        return self.measure(folder, command, environ=self.environ | {"HOME": str(folder)})

    def farm(self, folder: Path, tasks: int) -> float:
        """Run the tasks with one farmer of ours."""
        write_tasklist(folder, tasks)
        duration = self.measure(folder, self.farm_command())
        check_finished(folder, tasks)
        return duration

    def farm_command(self, slots: int = SLOTS) -> list[str]:
        """Return the command of a plain farmer of ours."""
        return [self.python, "-m", "taskfarmer_mpi", "--mpi", "off", "--proc", str(slots), "tasks"]

    def farm_with_mpi(self, folder: Path, tasks: int) -> float:
        """Run the tasks with one slot on each of two ranks."""
        write_tasklist(folder, tasks)
        farmer = [self.python, "-m", "taskfarmer_mpi", "--proc", "1", "tasks"]
        duration = self.measure(folder, [str(self.mpiexec), "-n", str(SLOTS), *farmer])
        check_finished(folder, tasks)
        return duration

    def watched(self, *options: str) -> Callable[[Path, int], float]:
        """Return what runs the tasks with one farmer of ours that is looked at meanwhile.

        Its time is the wall time that it prints: what it waits for monitors after that has nothing to do with tasks.
        """

        def run(folder: Path, tasks: int) -> float:
            write_tasklist(folder, tasks)
            (folder / "monitors.ini").write_text(MONITORS)
            (folder / "hanging.py").write_text(HANGING)
            command = [*self.farm_command()[:-1], *options, "tasks"]
            self.measure(folder, command, environ=self.environ | {"PYTHONPATH": str(folder), "COLUMNS": "100"})
            check_finished(folder, tasks)
            match = re.search(r"([0-9.]+) s wall time", (folder / "output").read_text(errors="replace"))
            if match is None:
                raise BenchError(f"{folder}: no wall time in the output")
            return float(match[1])

        return run

    def hyperqueue(self, folder: Path, tasks: int) -> float:
        """Run the tasks with HyperQueue; its server and worker run already."""
        hq = ["hq", "--server-dir", str(folder / "server")]
        with background(folder, [*hq, "server", "start"]):
            wait_for(lambda: not call(folder, [*hq, "server", "info"]), "the HyperQueue server")
            with background(folder, [*hq, "worker", "start", "--cpus", str(SLOTS)]):
                wait_for(lambda: not call(folder, [*hq, "worker", "info", "1"]), "the HyperQueue worker")
                job = ["submit", "--array", f"1-{tasks}", "--stdout", "none", "--stderr", "none", "--wait", "/bin/true"]
                duration = self.measure(folder, [*hq, *job])
            call(folder, [*hq, "server", "stop"])
        return duration

    def measure(
        self, folder: Path, command: list[str], *, stdin: Path = Path(os.devnull), environ: Mapping[str, str] | None = None
    ) -> float:
        """Run a command to its end and return its wall time [s].

        Raises
        ------
        BenchError
            If its exit code is not 0.
        """
        self.command = command
        with stdin.open("rb") as source, (folder / "output").open("wb") as output:
            began = time.perf_counter()
            code = subprocess.run(
                command, cwd=folder, stdin=source, stdout=output, stderr=output, env=environ or self.environ, check=False
            ).returncode
            duration = time.perf_counter() - began
        if code != 0:
            raise BenchError(f"{' '.join(command)}: exit code {code}; see {folder / 'output'}")
        return duration

    def farm_memory(self, folder: Path, tasks: int) -> tuple[float, float]:
        """Run the tasks with one farmer of ours; return its wall time [s] and its peak memory [MiB].

        The peak is VmHWM, which the kernel keeps for each process alone: that of the tasks is not in it.
        """
        write_tasklist(folder, tasks)
        with (folder / "output").open("wb") as output:
            began = time.perf_counter()
            process = subprocess.Popen(
                self.farm_command(), cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self.environ
            )
            peak = 0
            while process.poll() is None:
                peak = max(peak, read_peak(process.pid))
                time.sleep(POLL)
            duration = time.perf_counter() - began
        check_finished(folder, tasks)
        return duration, peak / 1024


def read_peak(pid: int) -> int:
    """Return the peak memory of a process so far [KiB]; 0 if it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def call(folder: Path, command: list[str]) -> int:
    """Run a command silently and return its exit code."""
    silent = subprocess.DEVNULL
    return subprocess.run(command, cwd=folder, stdin=silent, stdout=silent, stderr=silent, check=False).returncode


@contextmanager
def background(folder: Path, command: list[str]) -> Iterator[None]:
    """Have a command run during a `with` block."""
    silent = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=folder, stdin=silent, stdout=silent, stderr=silent)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def wait_for(is_ready: Callable[[], bool], what: str) -> None:
    """Wait until something is ready.

    Raises
    ------
    BenchError
        If it is not within 20 s.
    """
    deadline = time.monotonic() + 20
    while not is_ready():
        if time.monotonic() > deadline:
            raise BenchError(f"{what} did not start within 20 s")
        time.sleep(0.1)


def choose_watched(programs: Programs, tasks: int) -> list[Contender]:
    """Return farmers of ours that are looked at in several ways; one that is not comes first."""
    return [
        Contender("unwatched", tasks, programs.watched("--progress", "none")),
        Contender("--progress lines", tasks, programs.watched("--progress", "lines")),
        Contender("--progress bar", tasks, programs.watched("--progress", "bar")),
        Contender("JSONLinesMonitor", tasks, programs.watched("--progress", "none", "-m", "lines")),
        Contender("OpenMetricsMonitor", tasks, programs.watched("--progress", "none", "-m", "metrics")),
        Contender("a monitor that hangs", tasks, programs.watched("--progress", "none", "-m", "hanging")),
    ]
