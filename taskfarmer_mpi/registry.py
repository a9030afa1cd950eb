"""Names of tasklist handlers and runners, and the classes behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.runners import BasicRunner, ExecRunner, Runner
from taskfarmer_mpi.tasklist import ListTaskList

_Kind = TypeVar("_Kind")

HANDLERS: Mapping[str, type[ListTaskList]] = {"default": ListTaskList}
RUNNERS: Mapping[str, type[Runner]] = {"default": BasicRunner, "exec": ExecRunner}


def handler_named(name: str) -> type[ListTaskList]:
    """Return the tasklist handler of a name.

    Raises
    ------
    UserError
        If there is none.
    """
    return _named("tasklist handler", HANDLERS, name)


def runner_named(name: str) -> type[Runner]:
    """Return the runner of a name.

    Raises
    ------
    UserError
        If there is none.
    """
    return _named("runner", RUNNERS, name)


def _named(what: str, known: Mapping[str, _Kind], name: str) -> _Kind:
    if name not in known:
        raise UserError(f"unknown {what} {name!r}; known: {', '.join(sorted(known))}")
    return known[name]
