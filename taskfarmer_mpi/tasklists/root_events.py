"""Tells how many events ROOT files have, with PyROOT where it is there, else with uproot.

Run as a program, it counts: the library is its argument, names of files come in on stdin, results go to stdout, each as one
line of JSON. Both libraries get processes of their own, as they take long for files with many branches, and hundreds of
megabytes, and PyROOT signals, too. That program imports nothing of this package.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

TREE = "CollectionTree"
"""The tree whose entries are the events."""
READERS = 16
"""How many files are looked at at the same time: it hides the latency of a file system."""
COUNTERS = 8
"""How many processes count at the same time."""
FILES_PER_COUNTER = 8
"""A process is worth its start if it has this many files."""

_MARK = b"root"
"""What ROOT files begin with."""
_NO_TREE = f"no tree {TREE}"

_known: dict[tuple[str, int, int], int] = {}
"""Counts of this process by path, size and time of the last change: a tasklist that grows is read again and again."""


def check_files(paths: Sequence[str]) -> list[str | None]:
    """Return for each file what keeps it from being read as a ROOT file; None if nothing is seen.

    What is not on this machine's file systems (``root://...``) is not looked at.
    """
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(_check_file, paths))


def _check_file(path: str) -> str | None:
    if is_remote(path):
        return None
    try:
        with open(path, "rb") as file:
            return None if file.read(len(_MARK)) == _MARK else "not a ROOT file"
    except OSError as error:
        return str(error.strerror)


def is_remote(path: str) -> bool:
    """Whether a path is the address of a file elsewhere."""
    return "://" in path


def count_events(paths: Sequence[str]) -> list[int | str]:
    """Return for each file how many events it has, or what keeps them from being counted.

    Raises
    ------
    ImportError
        If neither PyROOT nor uproot is there.
    """
    keys = [_identify(path) for path in paths]
    new = [key for key in dict.fromkeys(keys) if key not in _known]
    troubles: dict[tuple[str, int, int], str] = {}
    for key, count in zip(new, _count([path for path, _, _ in new]), strict=True):
        if isinstance(count, int):
            _known[key] = count
        else:
            troubles[key] = count
    return [troubles.get(key) or _known[key] for key in keys]


def _identify(path: str) -> tuple[str, int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return path, 0, 0
    return path, status.st_size, status.st_mtime_ns


def _count(paths: list[str]) -> list[int | str]:
    if not paths:
        return []
    for library in ("ROOT", "uproot"):
        if importlib.util.find_spec(library) is not None:
            counts = _count_with(library, paths)
            if counts is not None:
                return counts
    raise ImportError("neither PyROOT nor uproot works here")


def _count_with(library: str, paths: list[str]) -> list[int | str] | None:
    """Count in several processes; None if the library does not work."""
    counters = min(COUNTERS, -(-len(paths) // FILES_PER_COUNTER))
    shares = [paths[number::counters] for number in range(counters)]
    with ThreadPoolExecutor(counters) as pool:
        results = list(pool.map(lambda share: _run_counter(library, share), shares))
    counts: list[int | str] = [""] * len(paths)
    for number, result in enumerate(results):
        if result is None:
            return None
        counts[number::counters] = result
    return counts


def _run_counter(library: str, paths: list[str]) -> list[int | str] | None:
    from taskfarmer_mpi.common.search_path import own_program  # not where this is a program of its own

    command = [*own_program("taskfarmer_mpi.tasklists.root_events"), library]
    result = subprocess.run(command, input=json.dumps(paths), capture_output=True, text=True, check=False)
    lines = result.stdout.splitlines()
    if result.returncode != 0 or not lines:
        return None
    counts: list[int | str] = json.loads(lines[-1])  # ROOT itself may have said something before
    return counts


def _count_with_uproot(paths: list[str]) -> list[int | str]:
    uproot = importlib.import_module("uproot")
    return [_count_in_uproot_file(uproot, path) for path in paths]


def _count_in_uproot_file(uproot: Any, path: str) -> int | str:
    try:
        with uproot.open({path: None}) as file:
            return int(file[TREE].num_entries)
    except (LookupError, AttributeError):
        return _NO_TREE
    except Exception as error:  # uproot has no error of its own for files that are cut off, or that it cannot read
        return f"cannot be read as a ROOT file: {_one_line(error)}"


def _count_with_root(paths: list[str]) -> list[int | str]:
    root = importlib.import_module("ROOT")
    root.PyConfig.IgnoreCommandLineOptions = True
    root.gROOT.SetBatch(True)
    return [_count_in_root_file(root, path) for path in paths]


def _count_in_root_file(root: Any, path: str) -> int | str:
    try:
        file = root.TFile.Open(path)
    except OSError as error:
        return f"cannot be read as a ROOT file: {_one_line(error)}"
    if not file or file.IsZombie():
        return "cannot be read as a ROOT file"
    try:
        tree = file.Get(TREE)
        return int(tree.GetEntries()) if tree and hasattr(tree, "GetEntries") else _NO_TREE
    finally:
        file.Close()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


if __name__ == "__main__":
    count = {"ROOT": _count_with_root, "uproot": _count_with_uproot}[sys.argv[1]]
    print(json.dumps(count(json.load(sys.stdin))))  # noqa: T201
