"""Batch scripts for Slurm: each is whole, so that a user copies one file, and all are made of one template.

A line ``#: NAME ...`` of the template says in which scripts the lines after it are; ``#: all`` stands for every one, and
with ``unfilled`` they are left out of a script that is made for one job.
"""

from __future__ import annotations

import difflib

from taskfarmer_mpi.common.search_path import read_own
from taskfarmer_mpi.errors import UserError

SCRIPTS = {
    "multinode": "one job of many nodes, joined by MPI",
    "array": "an array of farmers without MPI",
    "requeue": "as multinode, and puts itself back into the queue until the list is done",
    "mixed": "an MPI job that submits an array to the same list",
}
"""What each script is for."""

_MARK = "#: "


def make_script(name: str, *, is_filled: bool = False) -> str:
    """Return the text of a batch script.

    Parameters
    ----------
    name
        Which.
    is_filled
        Whether it will have its arguments in itself.

    Raises
    ------
    UserError
        If there is none of this name.
    """
    if name not in SCRIPTS:
        near = difflib.get_close_matches(name.removesuffix(".sh"), SCRIPTS, n=1, cutoff=0.0)
        raise UserError(f"{name}: no such script; did you mean {near[0]}? There are {', '.join(SCRIPTS)}")
    lines = []
    is_part = True
    for line in read_own("cli", "templates", "batch.sh").splitlines(keepends=True):
        if line.startswith(_MARK):
            marks = line[len(_MARK) :].split()
            is_part = not {name, "all"}.isdisjoint(marks) and not (is_filled and "unfilled" in marks)
        elif is_part:
            lines.append(line)
    return "".join(lines).replace("@NAME@", name)
