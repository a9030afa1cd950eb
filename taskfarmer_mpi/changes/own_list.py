"""A list of tasks that is in no file of the user's: it comes from standard input or the command line.

It is read once and kept in the work directory, as `tasklist`, so that all ranks and later runs have it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.errors import UserError, describe
from taskfarmer_mpi.policies.rules import read_rules
from taskfarmer_mpi.workdir.configuration import read_config
from taskfarmer_mpi.workdir.files import Workdir, read_file, temporary_file, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.upkeep.plan import Plan, Request

log = Log(__name__)

NAME = "tasklist"
"""The file in the work directory."""


def plan_own_list(request: Request, make_plan: Callable[[Request], Plan], check_locks: Callable[[Workdir], object]) -> Plan:
    """Complete a request whose list is in no file, and keep the list once all about it is checked.

    Parameters
    ----------
    request
        What the user asked for; it names a work directory.
    make_plan
        Completes one whose list is in a file.
    check_locks
        Refuses a work directory whose lock files cannot be used.

    Raises
    ------
    UserError
        If that is not enough to begin, or the work directory has another list; nothing was changed.
    """
    workdir = Workdir(request.workdir or ".")
    path = workdir.path / NAME
    inner = replace(request, tasklist=path, values=None)
    data = None if request.values is None else _encode_values(request.values)
    stored = read_config(workdir)
    if stored is not None and stored.tasklist != str(path):
        raise UserError(f"{workdir.path}: made for {stored.tasklist}, not for a list of its own: give it another --workdir")
    known = _read_known(path)
    if stored is not None and known is not None:
        if data is not None and not (known.startswith(data) and data.count(b"\n") == stored.begun):
            raise UserError(
                f"{workdir.path}: made for another list than that after ':::': leave that away to go on, or give another"
                " --workdir"
            )
        log.info("%s is the list; standard input is not read", path)
        return make_plan(inner)
    plan = make_plan(inner)
    if data is None:
        data = _read_input()
        if not data.strip():
            raise UserError("-: standard input is empty: there is nothing to do, and nothing was begun")
    _check(plan, data, "the list after ':::'" if request.values is not None else "-")
    check_locks(workdir)
    workdir.create()
    _keep(path, data)
    return plan


def _encode_values(values: tuple[str, ...]) -> bytes:
    for value in values:
        if not value.strip() or value != value.strip() or value.startswith("#") or "\n" in value or "\r" in value:
            raise UserError(f"::: {value[:60]!r}: not a line of a list: one is not blank, has no blanks around it and no #")
    return "".join(f"{value}\n" for value in values).encode("utf-8", "surrogateescape")


def _read_known(path: Path) -> bytes | None:
    try:
        return read_file(path)
    except OSError as error:
        raise UserError(describe(error, path)) from error


def _read_input() -> bytes:
    if sys.stdin is None:
        raise UserError("-: standard input is closed")
    try:
        data = sys.stdin.buffer.read()
    except OSError as error:
        raise UserError(f"-: cannot read standard input: {error.strerror}") from error
    return data if not data or data.endswith(b"\n") else data + b"\n"


def _check(plan: Plan, data: bytes, name: str) -> None:
    """Have the handler read the list before it is kept."""
    from taskfarmer_mpi.runners.pytaskfarmer import is_foreign, make_handler

    if is_foreign(plan.handler):
        return  # one for PyTaskFarmer may write to the work directory
    fd = os.memfd_create(NAME)
    place = f"/proc/self/fd/{fd}"
    try:
        write_all(fd, data)
        handler = make_handler(plan.handler, place, plan.workdir)
        if handler.tasks.directives:
            from taskfarmer_mpi.tasklists.directives import refuse_unmet

            refuse_unmet(place, handler.tasks.directives, read_rules(plan.rules))
    except UserError as error:
        raise UserError(str(error).replace(place, name)) from error
    finally:
        os.close(fd)


def _keep(path: Path, data: bytes) -> None:
    """Put the list at its place, unless another farm was quicker, with the same one."""
    try:
        with temporary_file(path) as (fd, temporary):
            write_all(fd, data)
            os.fsync(fd)
            os.link(temporary, path)
    except FileExistsError:
        if read_file(path) != data:
            raise UserError(f"{path}: another list was begun there: go on without one, or remove that file") from None
    except OSError as error:
        raise UserError(describe(error, path)) from error
