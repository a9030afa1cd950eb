"""Class paths that stand for classes of this package: those of PyTaskFarmer, and those that it had before.

INI files of users, their own modules and every `farm.ini` that was ever written hold such paths; they go on working.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

_PYTASKFARMER = {
    "taskfarmer.runners.BasicRunner": "taskfarmer_mpi.runners.BasicRunner",
    "taskfarmer.runners.ShifterRunner": "taskfarmer_mpi.runners.ShifterRunner",
    "taskfarmer.task.ListTaskList": "taskfarmer_mpi.tasklists.ListTaskList",
    "taskfarmer.tasks.ListTaskList": "taskfarmer_mpi.tasklists.ListTaskList",  # as its documentation has it
    "taskfarmer.atlas.TransformTaskList": "taskfarmer_mpi.tasklists.TransformTaskList",
    "taskfarmer.atlas.AthenaTaskList": "taskfarmer_mpi.tasklists.AthenaTaskList",
}
"""Classes of PyTaskFarmer, and ours of the same name that stand for them."""

_FORMER = {
    "taskfarmer_mpi.containers": "taskfarmer_mpi.runners.containers",
    "taskfarmer_mpi.tasklist": "taskfarmer_mpi.tasklists.lines",
    "taskfarmer_mpi.table": "taskfarmer_mpi.tasklists.table",
    "taskfarmer_mpi.template": "taskfarmer_mpi.tasklists.template",
    "taskfarmer_mpi.atlas": "taskfarmer_mpi.tasklists.atlas",
    "taskfarmer_mpi.task": "taskfarmer_mpi.tasklists.task",
    "taskfarmer_mpi.news": "taskfarmer_mpi.monitors.events",
}
"""Documented modules that have another place since version 0.2."""


def current_path(class_path: str) -> str:
    """Return the documented path of the class that a path stands for; any other path as it is.

    >>> current_path("taskfarmer_mpi.containers.ShifterRunner")
    'taskfarmer_mpi.runners.ShifterRunner'
    """
    module, _, name = class_path.rpartition(".")
    if module in _FORMER:
        return f"{_FORMER[module].rpartition('.')[0]}.{name}"
    return _PYTASKFARMER.get(class_path, class_path)


def find_former_modules() -> None:
    """From now on, have ``import`` find modules under their former names, for users' own classes that derive from ours."""
    if _FINDER not in sys.meta_path:
        sys.meta_path.append(_FINDER)


class _Former:
    """Finds a module under a former name: it has the attributes of today's."""

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in _FORMER else None  # type: ignore[arg-type]

    def create_module(self, _spec: ModuleSpec) -> None:
        """Have Python make an empty module."""

    def exec_module(self, module: ModuleType) -> None:
        today = importlib.import_module(_FORMER[module.__name__])
        module.__dict__.update({name: value for name, value in vars(today).items() if not name.startswith("__")})


_FINDER = _Former()
