"""Where Python looks for modules: first where its own are, and in the current directory only if the user names it.

This package is in a folder, or in an archive: `taskfarmer.pyz`, made by ``scripts/pyz``, whose ``__main__`` starts any
module that is named to it after `MODULE`.
"""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
"""The folder or the archive that this package is in."""
MODULE = "module:"
"""Begins the first argument of an archive of which a module is to be run as a program."""


def own_command() -> list[str]:
    """Return the command of a farmer under this Python."""
    return [sys.executable, "-m", "taskfarmer_mpi"] if os.path.isdir(ROOT) else [sys.executable, ROOT]


def own_program(module: str) -> list[str]:
    """Return the command that runs a module of this package alone, which is to find the others by itself."""
    path = os.path.join(ROOT, *module.split(".")) + ".py"
    return [sys.executable, "-P", *([path] if os.path.isdir(ROOT) else [ROOT, MODULE + module])]


def read_own(*names: str) -> str:
    """Return the text of a file that belongs to this package, given by its folders and its name."""
    path = os.path.join(ROOT, "taskfarmer_mpi", *names)
    if os.path.isdir(ROOT):
        with open(path, encoding="utf-8") as file:
            return file.read()
    from zipimport import zipimporter

    return zipimporter(ROOT).get_data(path).decode("utf-8")


def settle_search_path() -> None:
    """Put the standard library first, so that no file of a user's replaces a part of it, and forget the current directory.

    ``python -m`` puts that directory first, and an empty entry of ``PYTHONPATH`` (``/x:``) means it, too, mostly by mistake.
    One that ``PYTHONPATH`` names stays, behind the standard library.
    """
    standard = os.path.dirname(os.__file__)
    named = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    try:
        current = os.getcwd()
    except OSError:  # it was removed
        current = ""
    if not sys.flags.safe_path:
        is_named = not current or any(os.path.realpath(entry) == os.path.realpath(current) for entry in named)
        sys.path[:] = [entry for entry in sys.path if entry and (is_named or entry != current)]
    sys.path.sort(key=lambda entry: not (entry == standard or entry == f"{standard}/lib-dynload" or entry.endswith(".zip")))
