"""A tasklist that is a template: a command, and values for its fields. Each combination of values is a task."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.tasklists.command_template import BoundTemplate, CommandTemplate
from taskfarmer_mpi.tasklists.lines import ComputedLines, Lines, TaskLines, read_task_lines
from taskfarmer_mpi.tasklists.value_lists import Values, parse_values

MAX_TASKS = 2**27
"""How many tasks a template may describe."""

_FEW = 10_000
"""Up to so many values of a field are kept as a tuple, which is faster."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FORM = "a line is `command = ...` or `name = values`"


class TemplateTaskList:
    r"""A command with fields, and the values of each field; the tasks are all combinations of them.

    The file has one definition per line; blank lines and those that start with ``#`` do not count::

        command = simulate --mass {mass} --seed {seed}
        mass = 100 200 500
        seed = 1..1000

    The values of the field that is defined last change fastest. The text of a task is its command.
    """

    takes_lines = False

    def __init__(self, path: str | os.PathLike[str], workdir: str | os.PathLike[str]) -> None:
        """Read the template.

        Parameters
        ----------
        path
            The file with the template.
        workdir
            The work directory; not touched.

        Raises
        ------
        UserError
            If it cannot be read, or is in error.
        """
        self.path = str(path)
        self.workdir = str(workdir)
        definitions = _Definitions(self.path, read_task_lines(Path(path), are_tasks=False))
        self._axes = [tuple(axis) if len(axis) <= _FEW else axis for axis in definitions.values.values()]
        self._template = definitions.bind()
        count = math.prod(map(len, self._axes))
        if count > MAX_TASKS:
            raise UserError(f"{path}: {count} combinations; a template can have {MAX_TASKS} tasks")
        self.tasks: Lines = ComputedLines(count, self._combine)

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, taskid: int) -> str:
        return self.tasks[taskid]

    def _combine(self, index: int) -> str:
        values = []
        for axis in reversed(self._axes):
            index, place = divmod(index, len(axis))
            values.append(axis[place])
        return self._template.fill(values[::-1]).strip()


class _Definitions:
    """The lines of a template file, by name."""

    def __init__(self, path: str, lines: TaskLines) -> None:
        self._path = path
        self._lines: dict[str, int] = {}
        self.values: dict[str, Values] = {}
        self._command: CommandTemplate | None = None
        for index, line in enumerate(lines):
            number = lines.line_number(index)
            try:
                self._define(line.removeprefix("\ufeff"), number)
            except ValueError as error:
                raise UserError(f"{path}:{number}: {error}") from error

    def _define(self, line: str, number: int) -> None:
        name, separator, text = (part.strip() for part in line.partition("="))
        if not separator or not _NAME.fullmatch(name):
            raise ValueError(f"{line[:40]!r}: {_FORM}")
        if name in self._lines:
            raise ValueError(f"{name} was defined in line {self._lines[name]} already")
        if not text:
            raise ValueError(f"{name} has no value")
        self._lines[name] = number
        if name == "command":
            self._command = CommandTemplate(text)
        else:
            self.values[name] = parse_values(text)

    def bind(self) -> BoundTemplate:
        """Return the command, once it is known to fit the values."""
        if self._command is None:
            raise UserError(f"{self._path}: no command; {_FORM}")
        try:
            template = self._command.bind(list(self.values))
        except ValueError as error:
            raise UserError(f"{self._path}:{self._lines['command']}: {error}") from error
        for name, values in self.values.items():
            place = f"{self._path}:{self._lines[name]}"
            if name not in self._command.names:
                raise UserError(f"{place}: the command has no field {{{name}}}")
            if name in self._command.raw_names and values.has_blank:
                raise UserError(f"{place}: a blank value for {{{name}:raw}}")
        return template
