"""Runners and tasklist handlers of a user's own, also those that were written for PyTaskFarmer."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable

from taskfarmer_mpi.common.search_path import own_program
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.runners.registry import HANDLER, RUNNER, Definition, build, check_options, load_class
from taskfarmer_mpi.runners.shell import Launch, Runner
from taskfarmer_mpi.tasklists.lines import Handler, Lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
    cls = load_class(HANDLER, definition)

    def make() -> Any:
        return build(cls, definition, tasklist, workdir)

    handler: Handler = make()
    return handler if isinstance(getattr(handler, "tasks", None), Lines) else ForeignHandler(handler, make, tasklist)


def is_foreign(definition: Definition) -> bool:
    """Whether a handler is of a class that does not promise to leave the work directory alone."""
    return not definition.class_path.startswith("taskfarmer_mpi.")


class ForeignRunner:
    """A runner that was written for PyTaskFarmer: it runs a task itself, and so each of its tasks gets a process for it."""

    def __init__(self, definition: Definition) -> None:
        self._argv = [
            *own_program("taskfarmer_mpi.runners.pytaskfarmer_task"),
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


class ForeignHandler:
    """A handler that was written for PyTaskFarmer, with what ours have.

    Its own list of tasks is replaced by ours if that is a plain list of texts. Anything else that it keeps stays as it is,
    and it is made anew where a task is asked for that came later.
    """

    def __init__(self, handler: Any, make: Callable[[], Any], tasklist: str) -> None:
        """Adopt a handler.

        Parameters
        ----------
        handler
            The handler.
        make
            Makes it anew.
        tasklist
            Path of the tasklist.

        Raises
        ------
        UserError
            If its tasks are not lines of text.
        """
        self._handler = handler
        self._make = make
        own = getattr(handler, "tasks", None)
        self.path = tasklist
        self.takes_lines = _is_list_of_texts(self._handler)
        """Whether a text can become a task; else only the class itself knows how to make one."""
        items = own if isinstance(own, Iterable) else (self._handler[number] for number in range(len(self._handler)))
        texts = [str(item) for item in items]
        for number, text in enumerate(texts):
            if "\n" in text or "\0" in text or not text.strip():
                kind = type(self._handler).__name__
                raise UserError(f"{tasklist}: {kind} makes task {number} {text[:60]!r}; a task is one line of text")
        self.tasks = ListedLines(texts)

    @property
    def tasks(self) -> Lines:
        """The texts of the tasks, by ID."""
        return self._tasks

    @tasks.setter
    def tasks(self, tasks: Lines) -> None:
        self._tasks = tasks
        if self.takes_lines:
            self._handler.tasks = tasks

    def __getitem__(self, taskid: int) -> str:
        try:
            return str(self._handler[taskid])
        except IndexError:  # it made something of each line when it was made: that line was not there yet
            self._handler = self._make()
            self.tasks = self._tasks
            return str(self._handler[taskid])


def _is_list_of_texts(handler: Any) -> bool:
    own = vars(handler).get("tasks") if hasattr(handler, "__dict__") else None
    return isinstance(own, list) and all(isinstance(text, str) for text in own)
