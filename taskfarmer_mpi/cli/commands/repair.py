"""Find and mend damage that another program, a full disk or a broken file server did to the lists and journals.

Damage is a line with NUL bytes, a torn line, one of a task that does not exist or has another text, a task that is there
twice, and one that is on no list; and a line of a journal, but for its last ones, that cannot be read. What the lists should
be is known from the journals of all farmers, of which every readable line counts. Each fault is one line: where, what, and
the mend. Without --apply nothing is changed; with it damaged files are kept as NAME.damaged.1.
Exit code 0: nothing is wrong, or it is mended; 1: something is wrong; 2: farmers are at work, or the journals do not tell.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from taskfarmer_mpi.cli.arguments import add_workdir
from taskfarmer_mpi.cli.streams import show
from taskfarmer_mpi.common.wording import count_of
from taskfarmer_mpi.repair.damage import Fault
from taskfarmer_mpi.repair.mending import find_damage, find_damaged_journals, mend, mend_journals
from taskfarmer_mpi.upkeep.reopening import LOCK_PATIENCE, reopen_farm
from taskfarmer_mpi.workdir.files import Workdir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_workdir(parser)
    parser.add_argument("--apply", action="store_true", help="mend what is wrong; without it nothing is changed")


def run(arguments: argparse.Namespace) -> int:
    """Say what is wrong, and mend it if that is wanted: first the journals, as these say what the lists should be."""
    farm = reopen_farm(Workdir.existing(arguments.workdir), os.environ)
    journals = find_damaged_journals(farm, LOCK_PATIENCE)
    count = _show([fault for journal in journals for fault in journal.faults])
    kept: list[Path] = []
    if arguments.apply:
        kept += mend_journals(farm, journals, LOCK_PATIENCE)
        damage = find_damage(farm, LOCK_PATIENCE)
        kept += mend(farm, damage, LOCK_PATIENCE)
    else:
        damage = find_damage(farm, LOCK_PATIENCE, {journal.path: journal.after for journal in journals})
    count += _show(damage.faults)
    if not count:
        show("nothing is wrong")
        return 0
    found = count_of(count, "fault")
    if not arguments.apply:
        show(f"{found}; nothing was changed: --apply mends them")
        return 1
    show(f"{found} mended; as they were: {', '.join(map(str, kept)) or 'no list was there'}")
    return 0


def _show(faults: list[Fault]) -> int:
    """Print faults; return how many there are."""
    show(*map(str, faults))
    return len(faults)
