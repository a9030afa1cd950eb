"""A list on a local disk, and all that works on it: farmers of every kind, and commands."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import checker
from helpers import BIN, MPIEXEC, Process, Site, clean_environment, command_of, processes_with, wait_for

from campaign.notes import LABEL, Notes

RANK = "${PMI_RANK:-${OMPI_COMM_WORLD_RANK:-0}}"


@dataclass
class Launch:
    """Something that was started."""

    label: str
    kind: str
    """`plain`, `ranks`, `pytaskfarmer`, or the name of a command."""
    process: Process
    fault: str = ""
    """What strace or its shell does to it; nothing if it is left in peace."""
    trace: Path | None = None
    """What strace wrote of it, if that was asked for."""

    def guardians(self) -> list[int]:
        """Return its guardians."""
        return [pid for pid in processes_with(self.process.launch) if any(map(_is_guardian, command_of(pid)))]

    def has_lost_a_process(self) -> bool:
        """Whether strace killed one of its processes, but not the last one."""
        data = self.trace.read_bytes() if self.trace is not None and self.trace.exists() else b""  # not yet
        return b"+++ killed by SIGKILL" in data and self.process.is_running()

    def has_failed(self) -> bool:
        """Whether it could not read the timeline, as one of which another PyTaskFarmer wrote half before it was killed."""
        return "json.decoder.JSONDecodeError" in self.process.stderr

    def kill_family(self) -> None:
        """Kill all its processes, its tasks, too: what a lost node does."""
        end = time.monotonic() + 10
        while left := processes_with(self.process.launch):
            for pid in left:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            self.process.popen.poll()
            assert time.monotonic() < end, f"cannot be killed: {left}"

    def describe(self) -> str:
        """Return what it is, what was done to it, its processes, and the last of what it said."""
        processes = "; ".join(
            f"{pid} {_state(pid)} {' '.join(command_of(pid))[-120:]}" for pid in processes_with(self.process.launch)
        )
        said = self.process.stdout + self.process.stderr
        return f"{self.label} ({self.fault or 'left in peace'}): {processes}\n{said[-1500:]}"


def _state(pid: int) -> str:
    """Return the state of a process, and where in the kernel it waits, if that can be read."""
    with suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return f"{state} {Path(f'/proc/{pid}/wchan').read_text()}"
    return "gone"


def _is_guardian(word: str) -> bool:
    return word.endswith("guardian.py")


class LocalFarm:
    """One list, and what was started on it."""

    def __init__(self, folder: Path, seconds: Sequence[float], codes: Sequence[int]) -> None:
        self.folder = folder
        self.site = Site(folder)
        self.notes = Notes(folder / "noted")
        self.listed = len(seconds)
        self.tasklist = self.site.tasklist(self.notes.tasks(seconds, codes))
        self.workdir = folder / "tasks_workdir"
        self.launches: list[Launch] = []
        self.around: Sequence[str] = ()
        """Words before each command."""

    def farmer(self, *options: str, prefix: Sequence[str] = (), fault: str = "") -> Launch:
        """Start a plain farmer of ours."""
        words: tuple[str | Path, ...] = (*prefix, sys.executable, "-m", "taskfarmer_mpi", *options, self.tasklist)
        return self._start("plain", words, fault)

    def ranks(self, count: int, *options: str, prefix: Sequence[str] = (), victim: int = 0, fault: str = "") -> Launch:
        """Start a job of ours; `prefix` goes before one of its ranks."""
        shell = f'n=$1; shift; [ {RANK} = {victim} ] || shift "$n"; exec "$@"'
        program: tuple[str | Path, ...] = (sys.executable, "-m", "taskfarmer_mpi", *options, self.tasklist)
        words: tuple[str | Path, ...] = (
            MPIEXEC,
            "-n",
            str(count),
            "bash",
            "-c",
            shell,
            "rank",
            str(len(prefix)),
            *prefix,
            *program,
        )
        return self._start("ranks", words, fault)

    def pytaskfarmer(self, script: Path, *, prefix: Sequence[str] = (), fault: str = "") -> Launch:
        """Start a PyTaskFarmer 0.1.0 with one slot."""
        words: tuple[str | Path, ...] = (*prefix, script.parent / "python", "-u", script, "-n", "1", self.tasklist)
        return self._start("pytaskfarmer", words, fault)

    def command(self, name: str, *words: str, prefix: Sequence[str] = (), fault: str = "") -> Launch:
        """Start a command of `taskfarmer-ctl` on the work directory."""
        return self._start(name, (*prefix, BIN / "python", "-m", "taskfarmer_mpi.ctl", name, self.workdir, *words), fault)

    def _start(self, kind: str, words: Sequence[str | Path], fault: str) -> Launch:
        label = f"{kind}{len(self.launches)}"
        process = self.site.start(*self.around, *words, environ=self.site.environ(**{LABEL: label}))
        trace = self.folder / f"trace{len(self.launches)}"
        self.launches.append(Launch(label, kind, process, fault, trace if str(trace) in map(str, words) else None))
        return self.launches[-1]

    def trace(self) -> Path:
        """Return a new path for a trace."""
        return self.folder / f"trace{len(self.launches)}"

    def added_ids(self) -> list[int]:
        """Return the tasks that came by `add`, as far as they are noted whole."""
        path = self.workdir / "tasks.added"
        data = path.read_bytes() if path.exists() else b""
        return [int(task_id) for task_id in re.findall(rb"^(\d+) [^\n]*\n", data, re.MULTILINE)]

    def faults(self) -> list[str]:
        """Return what the checker finds."""
        return checker.faults(self.workdir, self.notes.folder, self.tasklist)

    def leftovers(self, deadline: float = 15) -> list[str]:
        """Return the processes that are left; guardians may take a moment."""
        try:
            wait_for(lambda: not self.site.leftovers(), deadline=deadline, what="all processes leave")
        except AssertionError:
            return [f"left behind: {pid} {' '.join(command_of(pid))}" for pid in self.site.leftovers()]
        return []


def pytaskfarmer_script() -> Path | None:
    """Return the script of PyTaskFarmer 0.1.0, where there is one."""
    path = clean_environment().get("PYTASKFARMER")
    return Path(path) if path else None
