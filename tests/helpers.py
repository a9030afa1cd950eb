"""Starts farmers of every kind for the tests, ends them for certain, and checks what they left in a work directory."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

Found = TypeVar("Found")

ROOT = Path(__file__).resolve().parents[1]
"""The checkout."""
BIN = Path(sys.executable).parent
MPIEXEC = shutil.which("mpiexec", path=f"{BIN}:{os.environ.get('PATH', os.defpath)}") or "mpiexec"
"""That of this environment, else that of the system."""
NAMELESS = "setpriv --reuid 4242 --regid 4242 --clear-groups --inh-caps +dac_read_search --ambient-caps +dac_read_search"
"""Has root run a command as a user without a name, who may read what root may: the checkout can be in root's home."""
MARK = "TEST_FARM_MARK"
"""Variable by which the processes of one test are found, also those that left their session."""

_FOREIGN = ("SCRATCH", "TMP", "TMPDIR", "TEMP", "PYTHON")
_KEPT_PREFIX = "OMPI_ALLOW_RUN_AS_ROOT"
_FOREIGN_PREFIXES = ("PMI", "OMPI_", "HYD", "MPI", "SLURM", "TASKFARMER", "PYTEST", "PROC_NUMBER")


def is_ci() -> bool:
    """Whether nothing may be skipped."""
    return os.environ.get("CI") == "true"


def clean_environment(**more: str) -> dict[str, str]:
    """Return this environment without what farmers react to, and `more`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_KEPT_PREFIX)
        or (name not in _FOREIGN and not name.startswith(_FOREIGN_PREFIXES) and name != MARK)
    }
    return kept | {"PATH": f"{BIN}:{kept.get('PATH', os.defpath)}", "LC_ALL": "C.UTF-8"} | more


def wait_for(look: Callable[[], Found], *, deadline: float, what: str) -> Found:
    """Call `look` until it returns something true, and return that.

    Parameters
    ----------
    look
        What to call, often.
    deadline
        How long to try [s].
    what
        What is waited for, for the failure message.
    """
    end = time.monotonic() + deadline
    while not (found := look()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline:g} s: {what}")
        time.sleep(0.005)
    return found


# -- processes ------------------------------------------------------------------------------------


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def parent_of(pid: int) -> int:
    """Return the parent of a process; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def command_of(pid: int) -> list[str]:
    """Return the arguments of a process; nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")[:-1]
    except OSError:
        return []


def processes_with(mark: str) -> list[int]:
    """Return the processes in whose environment `mark` is."""
    wanted = mark.encode()
    found = []
    for entry in os.listdir("/proc"):
        with suppress(OSError):
            if entry.isdigit() and int(entry) != os.getpid() and wanted in Path(f"/proc/{entry}/environ").read_bytes():
                found.append(int(entry))
    return found


def processes_in(folder: Path) -> list[int]:
    """Return the processes whose working directory is in `folder`."""
    found = []
    for entry in os.listdir("/proc"):
        with suppress(OSError):
            if entry.isdigit() and int(entry) != os.getpid():
                cwd = os.readlink(f"/proc/{entry}/cwd")
                if cwd == str(folder) or cwd.startswith(f"{folder}/"):
                    found.append(int(entry))
    return found


def is_farmer(pid: int) -> bool:
    """Whether a process is a farmer of ours (its guardian and its tasks are not)."""
    command = command_of(pid)
    return "-m" in command and "taskfarmer_mpi" in command and "python" in Path(command[0]).name


class Process:
    """A started command, with its output in files."""

    def __init__(self, command: Sequence[str | Path], folder: Path, environ: Mapping[str, str], cwd: Path) -> None:
        self.launch = uuid.uuid4().hex
        self.stdout_path = folder / f"{self.launch}.out"
        self.stderr_path = folder / f"{self.launch}.err"
        with self.stdout_path.open("wb") as out, self.stderr_path.open("wb") as err:
            self.popen = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**environ, "TEST_FARM_LAUNCH": self.launch},
                cwd=cwd,
                start_new_session=True,
            )
        self.pid = self.popen.pid

    @property
    def stdout(self) -> str:
        """What it wrote to stdout so far."""
        return self.stdout_path.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What it wrote to stderr so far."""
        return self.stderr_path.read_text(errors="replace")

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.popen.poll() is None

    def wait(self, deadline: float) -> int:
        """Return its exit code; fail if it does not end in time [s]."""
        try:
            return self.popen.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {deadline:g} s: {self.popen.args!r}\n{self.said()}") from None

    def succeed(self, deadline: float, *, code: int = 0) -> None:
        """Fail unless it ends in time [s] with `code`."""
        assert self.wait(deadline) == code, self.said()

    def said(self) -> str:
        """Return its output for a failure message."""
        return f"exit code {self.popen.returncode}\nstdout: {self.stdout[-3000:]}\nstderr: {self.stderr[-3000:]}"

    def farmers(self) -> list[int]:
        """Return the farmers of ours that it started, itself included.

        The child of a farmer looks like one, too, until its program begins.
        """
        found = {pid for pid in processes_with(self.launch) if is_farmer(pid) and is_alive(pid)}
        return [pid for pid in found if parent_of(pid) not in found]

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal; nothing happens if it is gone."""
        with suppress(ProcessLookupError):
            self.popen.send_signal(number)


class Site:
    """A directory of one test: starts commands in it, and kills all that is left of them at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mark = f"{MARK}={uuid.uuid4().hex}"
        self._output = path / "output of commands"
        self._output.mkdir()
        self.processes: list[Process] = []

    def environ(self, **more: str) -> dict[str, str]:
        """Return a clean environment in which processes are known as ours."""
        name, _, value = self.mark.partition("=")
        return clean_environment(**{name: value}, **more)

    def tasklist(self, lines: Iterable[str], name: str = "tasks") -> Path:
        """Write a tasklist."""
        path = self.path / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def start(
        self, *command: str | Path, environ: Mapping[str, str] | None = None, cwd: Path | None = None, prefix: str = ""
    ) -> Process:
        """Start a command, with the words of `prefix` before it."""
        words = [*shlex.split(prefix), *command]
        process = Process(words, self._output, self.environ() if environ is None else environ, cwd or self.path)
        self.processes.append(process)
        return process

    def farm(
        self,
        *arguments: str | Path,
        ranks: int = 0,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        prefix: str = "",
    ) -> Process:
        """Start a farmer of ours: plain, or one per rank under mpiexec."""
        launcher: list[str | Path] = [MPIEXEC, "-n", str(ranks)] if ranks else []
        own = (*shlex.split(prefix), sys.executable, "-m", "taskfarmer_mpi")
        return self.start(*launcher, *own, *arguments, environ=environ, cwd=cwd)

    def plain_0_1_0(self, script: Path, *arguments: str | Path, environ: Mapping[str, str] | None = None) -> Process:
        """Start a PyTaskFarmer 0.1.0."""
        return self.start(script.parent / "python", "-u", script, *arguments, environ=environ)

    def leftovers(self) -> list[int]:
        """Return what lives of all that was started here, wherever it went."""
        found = {*processes_with(self.mark), *processes_in(self.path)}
        return sorted(pid for pid in found if is_alive(pid))

    def clear(self) -> None:
        """Kill everything that was started here."""
        end = time.monotonic() + 10
        while left := self.leftovers():
            for pid in left:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            for process in self.processes:
                process.popen.poll()
            assert time.monotonic() < end, f"processes that cannot be killed: {left}"
            time.sleep(0.01)
        for process in self.processes:
            process.wait(10)


# -- the work directory ---------------------------------------------------------------------------

_LINE = re.compile(rb"(0|[1-9][0-9]*) (.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Lists:
    """The IDs on the lists of a work directory, in the order of the files."""

    toprocess: list[int]
    finished: list[int]
    failed: list[int]


def read_list(path: Path, tasks: Sequence[bytes]) -> list[int]:
    """Return the IDs of a list whose every line is whole, well-formed and of the tasklist."""
    data = path.read_bytes() if path.exists() else b""
    assert data == b"" or data.endswith(b"\n"), f"{path}: a torn last line: {data[-60:]!r}"
    found = []
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        match = _LINE.fullmatch(line)
        assert match, f"{path}:{number}: not `ID task`: {line[:80]!r}"
        task_id = int(match[1])
        assert task_id < len(tasks), f"{path}:{number}: ID {task_id} of {len(tasks)} tasks"
        assert match[2] == tasks[task_id], f"{path}:{number}: {line[:80]!r} is not {tasks[task_id][:80]!r}"
        found.append(task_id)
    return found


def accounted(workdir: Path, tasks: Sequence[str] | Sequence[bytes]) -> Lists:
    """Check that every task is on exactly one of the lists, once, and return the lists."""
    lines = [task.encode() if isinstance(task, str) else task for task in tasks]
    lists = Lists(*(read_list(workdir / name, lines) for name in ("toprocess", "finished", "failed")))
    counts = Counter([*lists.toprocess, *lists.finished, *lists.failed])
    often = sorted(task_id for task_id, count in counts.items() if count > 1)
    missing = sorted(set(range(len(lines))) - counts.keys())
    assert not often, f"{workdir}: more than once on the lists: {often[:20]} ({len(often)} tasks)"
    assert not missing, f"{workdir}: on no list: {missing[:20]} ({len(missing)} tasks)"
    return lists


def settled(workdir: Path, tasks: Sequence[str] | Sequence[bytes]) -> Lists:
    """Check that every task is in exactly one of `finished` and `failed`, once, and nothing is to do; return the lists."""
    lists = accounted(workdir, tasks)
    assert lists.toprocess == [], f"{workdir}: still to do: {lists.toprocess[:20]}"
    assert not list((workdir / "farmers").glob("*.journal")), f"{workdir}: journals of farmers that did not end"
    return lists


def read_timeline(workdir: Path) -> list[dict[str, Any]]:
    """Return the events of the timeline, which must be a JSON list of objects."""
    events = json.loads((workdir / "timeline.json").read_text())
    assert isinstance(events, list)
    assert all(isinstance(event, dict) for event in events)
    return events


def slices(workdir: Path) -> list[dict[str, Any]]:
    """Return the slices of the timeline: one per run of a task."""
    return [event for event in read_timeline(workdir) if event["ph"] == "X" and event["cat"] != "farmer"]


def contents(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return type and mode, modification time and content of everything in a folder, to see whether it was touched."""
    found = {}
    for path in sorted([folder, *folder.rglob("*")]):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_mtime_ns, data)
    return found


# -- the witness ----------------------------------------------------------------------------------

_WITNESS = """\
#!/bin/bash
# witness FOLDER ID SECONDS: notes a run in a file of its own, and whether another run of the same task was alive.
exec 9>>"$1/lock.$2" || exit 90
flock -n 9 || : >"$1/overlap.$2.$$"
set -C
n=0
until { : >"$1/run.$2.$n"; } 2>/dev/null; do n=$((n + 1)); done
set +C
echo "start $2 $$ $EPOCHREALTIME ${TASKFARMER_FARMER:--}" >>"$1/run.$2.$n" || exit 91
sleep "$3"
echo "end $2 $EPOCHREALTIME" >>"$1/run.$2.$n" || exit 92
"""


class WitnessedRun(NamedTuple):
    """One run of a task as the task itself saw it."""

    task_id: int
    pid: int
    start: float
    """[s since the epoch]"""
    farmer: str
    """The farmer of ours that ran it, or `-`."""
    end: float | None
    """[s since the epoch]; None if it did not come to its end."""

    @property
    def farmer_pid(self) -> int:
        """Process ID of the farmer, which is part of its name."""
        return int(self.farmer.split("-")[-2])


class Witness:
    """Tasks that note each of their runs in files of their own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder / "runs"
        self.folder.mkdir()
        self.script = folder / "witness"
        self.script.write_text(_WITNESS)
        self.script.chmod(0o755)

    def task(self, task_id: int, seconds: float) -> str:
        """Return the line of a task that lasts some time; any farmer can run it, with a shell or without."""
        return f"{self.script} {self.folder} {task_id} {seconds:g}"

    def tasks(self, count: int, seconds: Callable[[int], float] | float) -> list[str]:
        """Return the lines of `count` tasks."""
        return [self.task(i, seconds(i) if callable(seconds) else seconds) for i in range(count)]

    def runs(self) -> dict[int, list[WitnessedRun]]:
        """Return all runs by task, the oldest first."""
        found: dict[int, list[WitnessedRun]] = {}
        for path in self.folder.glob("run.*"):
            for run in _parse_run(path.read_text()):
                found.setdefault(run.task_id, []).append(run)
        for runs in found.values():
            runs.sort(key=lambda run: run.start)
        return found

    def overlaps(self) -> list[str]:
        """Return the runs that found another run of the same task alive."""
        return sorted(path.name for path in self.folder.glob("overlap.*"))

    def once_each(self, count: int) -> dict[int, WitnessedRun]:
        """Check that each task ran exactly once, to its end; return the runs."""
        runs = self.runs()
        assert self.overlaps() == []
        assert sorted(runs) == list(range(count))
        often = {task_id: len(of_task) for task_id, of_task in runs.items() if len(of_task) > 1}
        assert not often, f"ran more than once: {often}"
        assert all(of_task[0].end is not None for of_task in runs.values())
        return {task_id: of_task[0] for task_id, of_task in runs.items()}


def _parse_run(text: str) -> Iterator[WitnessedRun]:
    lines = [line.split() for line in text.splitlines()]
    if lines and lines[0][0] == "start":
        _, task_id, pid, start, farmer = lines[0]
        end = float(lines[1][2]) if len(lines) > 1 else None
        yield WitnessedRun(int(task_id), int(pid), float(start), farmer, end)


@dataclass(slots=True)
class Stopwatch:
    """Wall and monotonic time since it was made."""

    started: float = field(default_factory=time.monotonic)

    def read(self) -> float:
        """Return the time since the start [s]."""
        return time.monotonic() - self.started
