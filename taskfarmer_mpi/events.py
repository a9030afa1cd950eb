"""Tells how many events ROOT files have, with PyROOT where it is there, else with uproot.

Run as a program, it counts with PyROOT: names of files come in on stdin, results go to stdout, each as one line of JSON.
PyROOT has a process of its own, since it takes signals, and hundreds of megabytes, for itself. That program imports nothing
of this package.
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
    if importlib.util.find_spec("ROOT") is not None:
        counts = _count_elsewhere(paths)
        if counts is not None:
            return counts
    uproot = importlib.import_module("uproot")
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(lambda path: _count_with_uproot(uproot, path), paths))


def _count_with_uproot(uproot: Any, path: str) -> int | str:
    try:
        with uproot.open({path: None}) as file:
            return int(file[TREE].num_entries)
    except (LookupError, AttributeError):
        return _NO_TREE
    except Exception as error:  # uproot has no error of its own for files that are cut off, or that it cannot read
        return f"cannot be read as a ROOT file: {_one_line(error)}"


def _count_elsewhere(paths: list[str]) -> list[int | str] | None:
    """Count with PyROOT in another process; None if it fails there."""
    command = [sys.executable, "-P", os.path.abspath(__file__)]
    result = subprocess.run(command, input=json.dumps(paths), capture_output=True, text=True, check=False)
    lines = result.stdout.splitlines()
    if result.returncode != 0 or not lines:
        return None
    counts: list[int | str] = json.loads(lines[-1])  # ROOT itself may have said something before
    return counts


def _count_with_root(paths: list[str]) -> list[int | str]:
    root = importlib.import_module("ROOT")
    root.PyConfig.IgnoreCommandLineOptions = True
    root.gROOT.SetBatch(True)
    return [_count_in_file(root, path) for path in paths]


def _count_in_file(root: Any, path: str) -> int | str:
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
    print(json.dumps(_count_with_root(json.load(sys.stdin))))  # noqa: T201
