"""Runners and tasklist handlers of a user's own, also those that were written for PyTaskFarmer."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from taskfarmer_mpi import foreign
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.registry import HANDLER, RUNNER, Definition, build, check_options, load_class
from taskfarmer_mpi.runners import Launch, Runner
from taskfarmer_mpi.tasklist import Handler, Lines

TERMINATE_PATIENCE = 0.5
"""How long ``terminate`` of a runner may take when a task is stopped [s]."""


def make_runner(definition: Definition) -> Runner:
    """Return the runner that a definition describes.

    Raises
    ------
    UserError
        If there is none.
    """
    cls = load_class(RUNNER, definition)
    if callable(getattr(cls, "launch", None)):
        runner: Runner = build(cls, definition)
        return runner
    check_options(cls, definition)
    return ForeignRunner(definition)


def make_handler(definition: Definition, tasklist: str, workdir: str) -> Handler:
    """Read a tasklist as a definition says.

    Parameters
    ----------
    definition
        The definition of the handler.
    tasklist, workdir
        Paths of the tasklist and of the work directory.

    Raises
    ------
    UserError
        If the definition or the tasklist is in error.
    """
    handler = build(load_class(HANDLER, definition), definition, tasklist, workdir)
    if not isinstance(getattr(handler, "tasks", None), Lines):
        _adopt(handler, tasklist)
    adopted: Handler = handler
    return adopted


def is_foreign(definition: Definition) -> bool:
    """Whether a handler is of a class that does not promise to leave the work directory alone."""
    return not definition.class_path.startswith("taskfarmer_mpi.")


class ForeignRunner:
    """A runner that was written for PyTaskFarmer: it runs a task itself, and so each of its tasks gets a process for it."""

    def __init__(self, definition: Definition) -> None:
        self._argv = [
            sys.executable,
            "-P",
            os.path.abspath(foreign.__file__),
            definition.class_path,
            json.dumps(definition.options),
        ]

    def launch(self, command: str) -> Launch:
        """Return the process that makes a runner and has it run the command."""
        return Launch(sys.executable, [*self._argv, command], patience=TERMINATE_PATIENCE)


class ListedLines(Lines):
    """The texts of tasks as a list."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def text(self, index: int) -> str:
        """Return the text of one task."""
        return self._texts[index]


def _adopt(handler: Any, tasklist: str) -> None:
    """Give a handler that was written for PyTaskFarmer what ours have."""
    texts = getattr(handler, "tasks", None)
    if not isinstance(texts, Iterable):
        texts = [handler[number] for number in range(len(handler))]
    listed = [str(text) for text in texts]
    for number, text in enumerate(listed):
        if "\n" in text or "\0" in text or not text.strip():
            kind = type(handler).__name__
            raise UserError(f"{tasklist}: {kind} makes task {number} {text[:60]!r}; a task is one line of text")
    handler.path = tasklist
    handler.tasks = ListedLines(listed)
    handler.takes_lines = getattr(handler, "takes_lines", True)
