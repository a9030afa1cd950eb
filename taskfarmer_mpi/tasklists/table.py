"""A tasklist that is a table: the columns of each row fill a command."""

from __future__ import annotations

import csv
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from taskfarmer_mpi.common.plugin_options import one_line
from taskfarmer_mpi.errors import OptionError, UserError
from taskfarmer_mpi.tasklists.command_template import CommandTemplate
from taskfarmer_mpi.tasklists.lines import Lines, TaskLines, read_task_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.tasklists.row_settings import RowSettings

_DELIMITERS = {"tab": "\t", "comma": ",", "semicolon": ";", "blank": " "}
_BY_ENDING = {".tsv": "\t", ".tab": "\t", ".csv": ","}


class TableTaskList:
    r"""A CSV or TSV file with a header: each row is a task, and its columns fill a command.

    The text of a task is its row as it stands in the file; the command is made only when the task is run. Blank lines and
    those that start with ``#`` do not count; the first one that counts is the header. Quotes are as in CSV files, and blanks
    behind a delimiter do not count. Columns named ``TF:cpus`` and so on say what the task of a row has.
    """

    takes_lines = True

    def __init__(
        self, path: str | os.PathLike[str], workdir: str | os.PathLike[str], command: str, delimiter: str = ""
    ) -> None:
        """Read the table and check every row.

        Parameters
        ----------
        path
            The table.
        workdir
            The work directory; not touched.
        command
            The command. ``{name}`` stands for the value in the column of that name, quoted for the shell; ``{name:raw}``
            for the value as it is; ``{{`` and ``}}`` for braces.
        delimiter
            What is between columns: a character, or ``tab``, ``comma``, ``semicolon``, ``blank``. By default a tab in files
            ``*.tsv`` and ``*.tab``, a comma in ``*.csv``, and in others a tab if the header has one, else a comma.

        Raises
        ------
        OptionError
            If an option has a value that it cannot take.
        UserError
            If the table cannot be read, or does not fit the command.
        """
        self.path = str(path)
        self.workdir = str(workdir)
        template = _parse_command(command)
        rows = read_task_lines(Path(path))
        if not rows:
            raise UserError(f"{path}: no header; the first line of a table names its columns")
        place = f"{path}:{rows.line_number(0)}"
        header = rows.pop_first().removeprefix("\ufeff")
        self._delimiter = _delimiter(delimiter, Path(path), header)
        try:
            self._names = [name.strip() for name in self._cells(header)]
            _check_unique(self._names)
            self._template = template.bind(self._names)
            self._settings = self._find_settings()
        except ValueError as error:
            raise UserError(f"{place}: {error}") from error
        self.tasks: Lines = rows
        self._check(rows)
        self.costs: Sequence[float] = ()
        """What each row is expected to last [s], if a column says so."""
        if self._settings is not None:
            self._read_settings(rows, self._settings)

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, taskid: int) -> str:
        try:
            return self.command_of(self.tasks[taskid])
        except ValueError as error:
            raise UserError(f"{self.path}: task {taskid}: {error}") from error

    def _check(self, rows: TaskLines) -> None:
        delimiter = self._delimiter.encode()
        limit = csv.field_size_limit()
        for number, raw in enumerate(map(rows.raw, range(len(rows)))):
            if b'"' not in raw and raw.count(delimiter) == len(self._names) - 1 and len(raw) <= limit:
                continue  # what is so simple need not be parsed, which is slow
            try:
                self._values(rows.text(number))
            except ValueError as error:
                raise UserError(f"{self.path}:{rows.line_number(number)}: {error}") from error

    def _find_settings(self) -> RowSettings | None:
        """Return the columns that say what tasks have, if there are any."""
        if not any(name.startswith("TF:") for name in self._names):
            return None
        from taskfarmer_mpi.tasklists.row_settings import RowSettings

        return RowSettings(self._names)

    def _read_settings(self, rows: TaskLines, settings: RowSettings) -> None:
        from taskfarmer_mpi.tasklists.row_settings import hold_directives, join_directives

        def texts() -> Iterator[str]:
            for number, held in enumerate(hold_directives(rows.directives, len(rows))):
                try:
                    yield settings.read(held, self._values(rows.text(number)))
                except ValueError as error:
                    raise UserError(f"{self.path}:{rows.line_number(number)}: {error}") from error

        rows.directives = join_directives(texts())
        self.costs = settings.costs

    def settings_of(self, directives: Sequence[tuple[int, str]], rows: Sequence[bytes]) -> tuple[tuple[int, str], ...]:
        """Return what the tasks of some rows have that are added, as directives.

        Parameters
        ----------
        directives
            What they have by `#TF` lines.
        rows
            Their texts.

        Raises
        ------
        UserError
            If a row does not fit the header, or has a value that means nothing.
        """
        if self._settings is None:
            return tuple(directives)
        from taskfarmer_mpi.tasklists.row_settings import RowSettings, hold_directives, join_directives

        settings = RowSettings(self._names)

        def texts() -> Iterator[str]:
            for row, held in zip(rows, hold_directives(directives, len(rows)), strict=True):
                text = row.decode("utf-8", "surrogateescape")
                try:
                    yield settings.read(held, self._values(text))
                except ValueError as error:
                    raise UserError(f"{text[:60]!r}: {error}") from error

        return join_directives(texts())

    def costs_of(self, rows: Sequence[str]) -> list[float]:
        """Return what the tasks of some rows are expected to last by a column [s]; NaN where it does not say it.

        Raises
        ------
        ValueError
            If a row does not fit the header, or its cost is none.
        """
        from taskfarmer_mpi.tasklists.row_settings import RowSettings

        settings = RowSettings(self._names)
        for row in rows:
            settings.read("", self._values(row))
        return list(settings.costs) or [math.nan] * len(rows)

    def command_of(self, row: str) -> str:
        """Return the command of a row.

        Raises
        ------
        ValueError
            If the row does not fit the header; the message is the reason.
        """
        return self._template.fill(self._values(row))

    def _values(self, row: str) -> list[str]:
        values = self._cells(row)
        if len(values) != len(self._names):
            hint = ""
            if self._delimiter.isspace() and len(values) < len(self._names):
                hint = '; write "" for an empty value at an end of a row'
            columns = "1 column" if len(values) == 1 else f"{len(values)} columns"
            raise ValueError(f"the row has {columns}, the header {len(self._names)}{hint}")
        return values

    def _cells(self, line: str) -> list[str]:
        reader = csv.reader([line], delimiter=self._delimiter, skipinitialspace=True, strict=True)
        try:
            return next(reader)
        except csv.Error as error:
            reason = str(error)
            if "unexpected end of data" in reason:
                reason = "a quote is not closed on its line; a value cannot go on to the next one"
            raise ValueError(reason) from error


def _parse_command(command: str) -> CommandTemplate:
    try:
        template = CommandTemplate(one_line("command", command))
    except ValueError as error:
        raise OptionError("command", str(error)) from error
    if not template.names:
        raise OptionError("command", "has no field like {name}, so every row would be the same task")
    return template


def _delimiter(option: str, path: Path, header: str) -> str:
    if not option:
        return _BY_ENDING.get(path.suffix.lower(), "\t" if "\t" in header else ",")
    delimiter = _DELIMITERS.get(option.lower(), option)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise OptionError("delimiter", f"{option!r} is neither one character nor one of {', '.join(_DELIMITERS)}")
    return delimiter


def _check_unique(names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise ValueError(f"two columns are named {twice[0]!r}")
