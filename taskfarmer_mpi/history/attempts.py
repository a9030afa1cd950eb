"""How often tasks were tried: a file that all farmers of a work directory share, written with its lock held.

A line is ``ID number kind farmer``: the `number`-th attempt at a task was not its last. It is on disk before the task is
back on the list, so whoever takes the task knows of it. A line that is there twice, as recovery was cut short, counts once.
"""

from __future__ import annotations

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.workdir.growing_file import GrowingFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FAILED = "failed"
"""The attempt failed, and another one follows."""
CRASHED = "crashed"
"""Its farmer died while it ran."""
RESET = "reset"
"""A user had the task tried again: its budgets begin anew."""
_KINDS = (FAILED, CRASHED, RESET)


class Attempt(Value):
    """One attempt at a task that was not its last."""

    task: int
    number: int
    """From 1 on."""
    kind: str
    farmer: str


def encode_attempts(attempts: Iterable[Attempt]) -> bytes:
    """Encode lines of the file."""
    return b"".join(f"{one.task} {one.number} {one.kind} {one.farmer}\n".encode() for one in attempts)


def parse_attempt(line: bytes) -> Attempt | None:
    """Decode a line, given without its newline; None if it has another form."""
    words = line.decode("utf-8", "replace").split(" ")
    if len(words) != 4 or not (words[0].isdecimal() and words[1].isdecimal()) or words[2] not in _KINDS:
        return None
    return Attempt(int(words[0]), int(words[1]), words[2], words[3])


class _Tries:
    """What is known of one task."""

    __slots__ = ("crashes", "failures", "last", "resets", "seen")

    def __init__(self) -> None:
        self.last = self.failures = self.crashes = self.resets = 0
        self.seen: set[tuple[int, str] | str] = set()

    def add(self, attempt: Attempt) -> None:
        key = attempt.farmer if attempt.kind == CRASHED else (attempt.number, attempt.farmer)  # a farmer dies once
        if key in self.seen:
            return
        self.seen.add(key)
        self.last = max(self.last, attempt.number)
        if attempt.kind == RESET:
            self.failures = self.crashes = 0
            self.resets += 1
        elif attempt.kind == FAILED:
            self.failures += 1
        else:
            self.crashes += 1


class Attempts:
    """Follows the file: each `advance` takes in what has come since."""

    def __init__(self, path: Path) -> None:
        self._file = GrowingFile(path)
        self._tasks: dict[int, _Tries] = {}

    def advance(self) -> None:
        """Take in what was written.

        Raises
        ------
        OSError
            If the file is there and cannot be read.
        """
        for lines, is_anew in self._file.news():
            if is_anew:
                self._tasks.clear()
            for line in lines.split(b"\n")[:-1]:
                attempt = parse_attempt(line)
                if attempt is not None:
                    self.add(attempt)

    def add(self, attempt: Attempt) -> None:
        """Know of an attempt that is about to be written."""
        self._tasks.setdefault(attempt.task, _Tries()).add(attempt)

    def count(self, task: int) -> int:
        """Return how many attempts at a task there were."""
        return self._tasks[task].last if task in self._tasks else 0

    def failures(self, task: int) -> int:
        """Return how many of them failed since its budgets began."""
        return self._tasks[task].failures if task in self._tasks else 0

    def crashes(self, task: int) -> int:
        """Return how many farmers died since then while it ran."""
        return self._tasks[task].crashes if task in self._tasks else 0

    def resets(self, task: int) -> int:
        """Return how often a user had it tried again."""
        return self._tasks[task].resets if task in self._tasks else 0

    def has_crash(self, task: int, farmer: str) -> bool:
        """Whether it is known that a farmer died while it ran."""
        return task in self._tasks and farmer in self._tasks[task].seen
