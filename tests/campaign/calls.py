"""System calls of a farmer: traced, counted and disturbed by strace."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

CHANGING = (
    *("write", "pwrite64", "ftruncate", "fdatasync", "fsync", "flock", "openat", "close"),
    *("rename", "unlink", "mkdir", "link", "fchmod", "clone3"),
)
"""Calls by which a farmer changes anything that others can see."""
ERRORS = {
    "write": "EIO ENOSPC EDQUOT ESTALE EINTR EROFS",
    "pwrite64": "EIO ENOSPC ESTALE",
    "ftruncate": "EIO ENOSPC ESTALE EINTR EROFS",
    "fdatasync": "EIO ENOSPC EDQUOT ESTALE",
    "fsync": "EIO ENOSPC EDQUOT ESTALE",
    "flock": "ENOLCK EIO ESTALE EINTR",
    "openat": "EIO ESTALE EACCES EMFILE ENFILE EINTR ENOSPC EROFS",
    "rename": "EIO ENOSPC ESTALE EACCES EROFS",
    "unlink": "EIO ESTALE EACCES EROFS",
    "mkdir": "EIO ENOSPC EACCES EROFS",
    "read": "EIO ESTALE EINTR",
    "pread64": "EIO ESTALE EINTR",
    "newfstatat": "EIO ESTALE EACCES",
    "getdents64": "EIO ESTALE",
    "clone3": "EAGAIN ENOMEM",
}
"""What single calls are made to fail with."""
_CALL = re.compile(r"(\w+)\((.*)")
_WRITING = re.compile(r"O_CREAT|O_RDWR|O_WRONLY|O_TRUNC")
_DRAFT = re.compile(r"(?<=\.)[0-9a-f]{16}$")
_FARMER = re.compile(r"(?:\d{8}T\d{6}|ctl)-.*?-\d+-[0-9a-f]{6}")


@dataclass(frozen=True, slots=True)
class Call:
    """One system call of a trace."""

    name: str
    file: str
    """Name of its file, the same in all runs; empty if it has none in the work directory."""
    path: str
    """The same as this run has it."""
    number: int
    """How many calls of this name there were, this one included."""
    number_with_path: int
    """How many of these had this file."""
    text: str
    """Its line in the trace."""


def traced(out: Path, *words: str) -> list[str]:
    """Return the words before a command by which strace writes all its calls to a file, and does what `words` say."""
    return ["strace", "-y", "-s", "0", "-o", str(out), *words]


def killing(out: Path, call: str, number: int, path: Path | None = None) -> list[str]:
    """Return the words before a command by which it is killed before its n-th call of a name, or of those with one file."""
    only = ["-P", str(path)] if path else []
    return traced(out, *only, "-e", f"inject={call}:signal=SIGKILL:when={number}")


def failing(out: Path, call: str, error: str, number: int) -> list[str]:
    """Return the words before a command by which its n-th call of a name fails."""
    return traced(out, "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={number}")


def excluding_nobody(out: Path) -> list[str]:
    """Return the words before a command by which it gets each lock that it asks for, whoever has it."""
    return traced(out, "-e", "trace=flock", "-e", "inject=flock:retval=0")


def slow(out: Path, seconds: float) -> list[str]:
    """Return the words before a command by which it waits so long before each of its syncs [s]."""
    return traced(out, "-e", "trace=fdatasync,fsync", "-e", f"inject=fdatasync,fsync:delay_enter={seconds:g}s")


def read_calls(trace: Path, folder: Path) -> list[Call]:
    """Return the calls of a trace; files are those below a folder."""
    numbers: Counter[tuple[str, str]] = Counter()
    calls = []
    for line in trace.read_text(errors="replace").splitlines():
        if match := _CALL.match(line):
            name, path = match[1], _path_of(match[2], folder)
            file = _DRAFT.sub("DRAFT", _FARMER.sub("FARMER", path))
            numbers.update([(name, ""), (name, path or ".")])
            calls.append(Call(name, file, path, numbers[name, ""], numbers[name, path or "."], line))
    return calls


def _path_of(arguments: str, folder: Path) -> str:
    """Return the last file of a call below a folder; a call with two paths is known by where it leads to."""
    found = re.findall(rf'[<"]{re.escape(str(folder))}/?([^>"]*)', arguments.partition(") = ")[0])
    return found[-1] or "." if found else ""


def under_lock(calls: list[Call]) -> list[Call]:
    """Return the calls made while the work lock was held, the ones that take and release it included."""
    found: list[Call] = []
    is_held = False
    for call in calls:
        is_lock = call.name == "flock" and call.file == "lock"
        if is_held or is_lock:
            found.append(call)
        if is_lock:
            is_held = "LOCK_UN" not in call.text
    return found


def changing(calls: list[Call]) -> list[Call]:
    """Return the calls that change anything which others can see: files, locks or processes."""
    for_writing = {call.file for call in calls if call.name == "openat" and _WRITING.search(call.text)}
    return [
        call
        for call in calls
        if call.name == "clone3"
        or (
            call.file
            and call.name in CHANGING
            and (call.name != "openat" or _WRITING.search(call.text))
            and (call.name != "close" or call.file in for_writing)
        )
    ]


def in_workdir(calls: list[Call]) -> list[Call]:
    """Return all calls from the first one on that has a file in the work directory."""
    return calls[_first(calls, ".") :]


def from_journal_to_task(calls: list[Call]) -> list[Call]:
    """Return the calls from the first one with the journal of a farmer to the first start of a program after that."""
    begin = _first(calls, "farmers/FARMER.journal")
    starts = [index for index, call in enumerate(calls) if index > begin and call.name == "clone3"]
    return calls[begin : starts[0] if starts else len(calls)]


def _first(calls: list[Call], prefix: str) -> int:
    return next(
        (index for index, call in enumerate(calls) if call.file.startswith(prefix) or (call.file and prefix == ".")),
        len(calls),
    )
