"""A tasklist whose lines fill a command, as with GNU parallel: ``{}`` stands for a line, ``{.}`` for it without ending."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from taskfarmer_mpi.common.plugin_options import one_line
from taskfarmer_mpi.errors import OptionError, UserError
from taskfarmer_mpi.tasklists.lines import Lines, read_task_lines

_PLACE = re.compile(r"\{(?:(#)|([1-9]\d{0,3})?(\.|//|/\.|/)?)\}")
_ENDING = re.compile(r"\.[^/.]*\Z")


class FillTaskList:
    """Lines that fill a command: each line is a task, and what stands for it in the command is quoted for the shell.

    =================  ==========================================================================
    ``{}``             the line
    ``{.}``            without its ending: what follows the last dot of the last part of a path
    ``{/}``, ``{//}``  the last part of a path, and the folder of that
    ``{/.}``           the last part without its ending
    ``{1}``, ``{2}``   columns; also ``{1.}``, ``{1/}``, ``{1//}``, ``{1/.}``
    ``{#}``            the number of the task, from 1 on: its ID + 1
    =================  ==========================================================================

    Columns are separated by tabs where the line has one, else by white space. Other braces stay as they are. A command that
    nothing stands in gets `` {}`` at its end.
    """

    takes_lines = True

    def __init__(self, path: str | os.PathLike[str], workdir: str | os.PathLike[str], command: str) -> None:
        """Read the lines, and check that each has the columns that the command needs.

        Parameters
        ----------
        path
            The lines.
        workdir
            The work directory; not touched.
        command
            The command.

        Raises
        ------
        OptionError
            If the command is no line.
        UserError
            If the lines cannot be read, or one has too few columns.
        """
        self.path = str(path)
        self.workdir = str(workdir)
        text = one_line("command", command)
        if "\0" in text:
            raise OptionError("command", "has a NUL byte")
        self._command = text if _PLACE.search(text) else f"{text} {{}}"
        self._columns = max((int(match[2] or 0) for match in _PLACE.finditer(self._command)), default=0)
        lines = read_task_lines(Path(path))
        self.tasks: Lines = lines
        for number in range(len(lines)) if self._columns else ():
            if trouble := self._trouble(lines.text(number)):
                raise UserError(f"{path}:{lines.line_number(number)}: {trouble}")

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, taskid: int) -> str:
        text = self.tasks[taskid]
        if trouble := self._trouble(text):
            raise UserError(f"{self.path}: task {taskid}: {trouble}")
        return fill(self._command, text, taskid + 1)

    def _trouble(self, line: str) -> str | None:
        if not self._columns or (count := len(split_columns(line))) >= self._columns:
            return None
        return f"the line has {count} column{'' if count == 1 else 's'}, and the command {{{self._columns}}}"


def split_columns(line: str) -> list[str]:
    """Return the columns of a line."""
    return line.split("\t") if "\t" in line else line.split()


def fill(command: str, line: str, number: int) -> str:
    """Return a command in which a line, and the number of its task, stand in the places that are for them."""
    columns = split_columns(line)

    def value(match: re.Match[str]) -> str:
        if match[1]:
            return str(number)
        return shlex.quote(_change(columns[int(match[2]) - 1] if match[2] else line, match[3] or ""))

    return _PLACE.sub(value, command)


def _change(text: str, how: str) -> str:
    """Return a part of a path, as GNU parallel has it."""
    if how == "//":
        return os.path.dirname(text.rstrip("/") or text) or "."
    if how.startswith("/"):
        text = text.rpartition("/")[2]
    return _ENDING.sub("", text) if how.endswith(".") else text
