"""Lists on a real NFS, worked through by nodes with kernels of their own; see scripts/nfs-nodes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from helpers import Process, Site, wait_for

from campaign.notes import LABEL, Notes

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "scripts" / "nfs-nodes"
CHECKER = ROOT / "tests" / "checker.py"
HALTED = Path(__file__).with_name("halted.py")
EXPORT = "/srv/farm"
MOUNT = "/mnt/farm"
LEASE = 10
"""The shortest lease of the Linux server [s]."""


class Nodes:
    """An NFS server and its clients, from start to `stop`."""

    def __init__(self, *, nodes: int = 2, version: str = "4.2", lease: int = LEASE, options: str = "") -> None:
        self.kind = (version, options)
        """Version of NFS, and other options of the mount."""
        self.names = [f"node{number}" for number in range(1, nodes + 1)]
        words = ["start", "--nodes", nodes, "--version", version, "--lease", lease, "--options", options]
        said = subprocess.run([BENCH, *map(str, words)], check=True, stdout=subprocess.PIPE, text=True, timeout=120).stdout
        self.environ = dict(word.split("=", 1) for word in shlex.split(said)[1:])
        self.folder = Path(self.environ["NFS_NODES"])
        self.notes = Path(self.environ["NFS_NODES_NOTES"])

    def run(self, node: str, *words: str | Path, cwd: str = MOUNT, deadline: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command on a node, and wait for it."""
        command = [*self.words(node, cwd=cwd), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=deadline, env=os.environ | self.environ)

    def words(self, node: str, *, cwd: str = MOUNT) -> list[str | Path]:
        """Return the words before a command that make it one on a node."""
        return [BENCH, "run", "--cwd", cwd, node]

    def kill(self, node: str) -> None:
        """Lose a node at once."""
        self._do("kill", node)

    def boot(self, node: str) -> None:
        """Start a node that was lost."""
        self._do("boot", node)

    def cut(self, node: str) -> None:
        """Cut a node from the network."""
        self._do("cut", node)

    def join(self, node: str) -> None:
        """Bring a node back to the network."""
        self._do("join", node)

    def cut_for(self, node: str, seconds: float) -> None:
        """Cut a node from the network for some time [s]."""
        self.cut(node)
        time.sleep(seconds)
        self.join(node)

    def save(self, folder: Path) -> None:
        """Keep all lists and notes in a new directory of this machine."""
        self.run("server", "cp", "-r", EXPORT, self.notes / "lists", cwd="/")
        shutil.copytree(self.notes, folder)

    def stop(self) -> None:
        """End and remove everything."""
        self._do("stop")

    def _do(self, *words: str) -> None:
        subprocess.run([BENCH, *words], check=True, stdout=subprocess.DEVNULL, timeout=120, env=os.environ | self.environ)


class NFSFarm:
    """One list on NFS, and its farmers."""

    def __init__(self, site: Site, nodes: Nodes, name: str, seconds: Sequence[float], codes: Sequence[int] = ()) -> None:
        self._site = site
        self.nodes = nodes
        self.name = name
        self.notes = Notes(nodes.notes / name)
        self.count = len(seconds)
        self._trace = nodes.notes / name / "trace"
        draft = nodes.notes / name / "tasks"
        draft.write_text("".join(f"{line}\n" for line in self.notes.tasks(seconds, codes)))
        made = nodes.run("node1", "sh", "-c", f"mkdir {name} && cp {draft} {name}/tasks")
        assert made.returncode == 0, made.stderr

    def start(self, node: str, label: str, *words: str | Path, prefix: Sequence[str | Path] = (), **environ: str) -> Process:
        """Start a command beside the list, on a node."""
        environment = self._site.environ(**self.nodes.environ, **{LABEL: label}, **environ)
        return self._site.start(*self.nodes.words(node, cwd=f"{MOUNT}/{self.name}"), *prefix, *words, environ=environment)

    def farm(self, node: str, label: str, *arguments: str | Path, prefix: Sequence[str | Path] = ()) -> Process:
        """Start a farmer of ours on a node."""
        return self.start(node, label, sys.executable, "-m", "taskfarmer_mpi", *arguments, "tasks", prefix=prefix)

    def pytaskfarmer(self, node: str, label: str, script: Path, slots: int = 1) -> Process:
        """Start a PyTaskFarmer 0.1.0 on a node."""
        return self.start(node, label, script.parent / "python", "-u", script, "-n", str(slots), "tasks")

    def halting(self, call: str, nth: int, seconds: float, file: str = "") -> list[str]:
        """Return the words before a farmer that halt it for some time [s] before its n-th system call of a kind.

        With the name of a file in the work directory, only calls with that file count.
        """
        inject = f"inject={call}:delay_enter={seconds:g}s:when={nth}"
        only = ["-P", f"{MOUNT}/{self.name}/tasks_workdir/{file}"] if file else []
        return ["strace", "-y", "-o", str(self._trace), *only, "-e", f"trace={call}", "-e", inject]

    def halted_call(self) -> str:
        """Return the call before which a farmer halted, and the name of its file."""
        lines = [line for line in self._trace.read_text(errors="replace").splitlines() if line.endswith("(DELAYED)")]
        match = re.match(r"(\w+)\((?:AT_FDCWD<[^>]*>, \"([^\"]*)|\d+<([^>]*)>)", lines[0] if lines else "")
        return f"{match[1]} {_plain_name(match[2] or match[3])}" if match else "unknown"

    def wait_until_halted(self, node: str, label: str, deadline: float = 60) -> int:
        """Wait until a farmer halts; return its process."""
        found = self.nodes.run(
            node, sys.executable, HALTED, f"{LABEL}={label}", str(deadline), cwd="/", deadline=deadline + 30
        )
        assert found.returncode == 0, f"{label} did not halt: {found.stderr}"
        return int(found.stdout)

    def wait_until_ended(self, count: int, deadline: float = 60) -> None:
        """Wait until some runs have come to their end."""
        wait_for(lambda: self.notes.ended() >= count, deadline=deadline, what=f"{count} runs of {self.name}")

    def wait_until_running(self, label: str, count: int, deadline: float = 60) -> None:
        """Wait until a launch has some tasks running."""
        wait_for(lambda: len(self.notes.running(label)) >= count, deadline=deadline, what=f"{count} runs of {label}")

    def wait_until_recorded(self, deadline: float) -> None:
        """Wait until every task has an outcome on the lists."""
        count = ("sh", "-c", f"cat {EXPORT}/{self.name}/tasks_workdir/f[ia]*ed | wc -l")
        wait_for(
            lambda: int(self.nodes.run("server", *count, cwd="/").stdout or 0) >= self.count,
            deadline=deadline,
            what="all outcomes on the lists",
        )

    def faults(self) -> list[str]:
        """Let the checker look at it, on the server, past all caches; return what is wrong."""
        folder = f"{EXPORT}/{self.name}"
        words = ("python3", CHECKER, f"{folder}/tasks_workdir", self.notes.folder, f"{folder}/tasks")
        checked = self.nodes.run("server", *words, cwd="/")
        assert checked.returncode in (0, 1), checked.stderr
        return checked.stdout.splitlines() if checked.returncode else []

    def leftovers(self) -> list[str]:
        """Return the processes of this list that live on nodes, tasks and guardians included."""
        found = []
        for node in self.nodes.names:
            listed = self.nodes.run(node, "python3", CHECKER, "--processes", self._site.mark, cwd="/")
            if listed.returncode == 1:
                found += [f"{node}: {line}" for line in listed.stdout.splitlines()]
        return found


def _plain_name(path: str) -> str:
    """Return the name of a file without what differs from farm to farm."""
    return re.sub(r"\d{8}T\d{6}-.*?-\d+-[0-9a-f]{6}", "FARMER", Path(path).name)
