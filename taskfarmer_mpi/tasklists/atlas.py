"""Tasklists of ROOT files, each of which is the input of an ATLAS program."""

from __future__ import annotations

import os
import re
import shlex
from abc import ABC, abstractmethod
from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from taskfarmer_mpi.common.plugin_options import one_line, whole_number
from taskfarmer_mpi.errors import OptionError, UserError
from taskfarmer_mpi.tasklists.lines import ComputedLines, Lines, read_task_lines
from taskfarmer_mpi.tasklists.root_events import check_files, count_events

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_BYTE_STREAM = "BS"
"""The type of input that is no ROOT file, but raw data."""


class _Piece(NamedTuple):
    """What one task works on."""

    task_id: int
    file: str
    file_id: int
    """Index of the file in the tasklist."""
    part: int | None
    """Index of the task among those of its file; None if that is not split."""


class _FileTaskList(ABC):
    """What both handlers do: a task is a file, or a number of events of it."""

    takes_lines = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        workdir: str | os.PathLike[str],
        max_events: str | None,
        options: Mapping[str, str],
        *,
        are_root_files: bool = True,
    ) -> None:
        self.path = str(path)
        self.workdir = str(workdir)
        self._output_folder = os.path.realpath(f"{workdir}/output")
        self._max_events = None if max_events is None else whole_number("maxEventsPerJob", max_events, least=1)
        self._options = [_program_option(key, value) for key, value in options.items()]
        self._lines = read_task_lines(Path(path), are_tasks=False)
        self._files = [line.removeprefix("\ufeff") for line in self._lines]
        if are_root_files:
            self._report(check_files(self._files), "task" if self._max_events is None else "file")
        self._ends = None if self._max_events is None else self._split(self._max_events)
        count = len(self._files) if self._ends is None else (self._ends[-1] if self._ends else 0)
        self.tasks: Lines = ComputedLines(count, lambda task_id: self._command(self._piece(task_id)))

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, taskid: int) -> str:
        return self.tasks[taskid]

    def prepare_workdir(self) -> None:
        """Make the directory for the outputs."""
        Path(self._output_folder).mkdir(exist_ok=True)

    @abstractmethod
    def _command(self, piece: _Piece) -> str:
        """Return the command of a task."""

    def _split(self, max_events: int) -> array[int]:
        """Return for each file the number of tasks up to its last one."""
        try:
            counts = count_events(self._files)
        except ImportError as error:
            reason = "needs PyROOT or uproot to count events: pip install 'taskfarmer-mpi[atlas]'"
            raise OptionError("maxEventsPerJob", reason) from error
        self._report([count if isinstance(count, str) else None for count in counts], "file")
        return array("Q", accumulate(-(-int(count) // max_events) for count in counts))

    def _piece(self, task_id: int) -> _Piece:
        if self._ends is None:
            return _Piece(task_id, self._files[task_id], task_id, None)
        file_id = bisect_right(self._ends, task_id)
        first = self._ends[file_id - 1] if file_id else 0
        return _Piece(task_id, self._files[file_id], file_id, task_id - first)

    def _range_options(self, piece: _Piece, count_option: str) -> dict[str, str]:
        """Return the options for the events of a task."""
        if piece.part is None or self._max_events is None:
            return {}
        return {"skipEvents": str(piece.part * self._max_events), count_option: str(self._max_events)}

    def _report(self, troubles: Sequence[str | None], what: str) -> None:
        bad = [number for number, trouble in enumerate(troubles) if trouble]
        if not bad:
            return
        first = bad[0]
        place = f"{self.path}:{self._lines.line_number(first)}"
        more = f" (other files in error: {len(bad) - 1})" if len(bad) > 1 else ""
        raise UserError(f"{place}: {what} {first}: {self._files[first]}: {troubles[first]}{more}")


class TransformTaskList(_FileTaskList):
    """Runs an ATLAS transform on each ROOT file of the tasklist, and copies its output to ``WORKDIR/output`` with rsync.

    The output of the file with index I is ``OUTPUT.I.root``; of its part P, ``OUTPUT.I.P.root``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        workdir: str | os.PathLike[str],
        transform: str,
        input: str,  # noqa: A002
        output: str,
        maxEventsPerJob: str | None = None,  # noqa: N803
        **kwargs: str,
    ) -> None:
        """Read the tasklist and look at its files.

        Parameters
        ----------
        path
            The tasklist.
        workdir
            The work directory; not touched.
        transform
            The transform (``Reco_tf.py``).
        input, output
            Types of the input and output files (``HITS``, ``RDO``).
        maxEventsPerJob
            Split each file into tasks of so many events.
        kwargs
            Options of the transform, as ``--key='value'``.

        Raises
        ------
        OptionError
            If an option has a value that it cannot take.
        UserError
            If the tasklist or one of its files cannot be read.
        """
        self._transform = one_line("transform", transform)
        self._input = one_line("input", input)
        self._output = one_line("output", output)
        is_root = not self._input.startswith(_BYTE_STREAM)
        super().__init__(path, workdir, maxEventsPerJob, kwargs, are_root_files=is_root)

    def _command(self, piece: _Piece) -> str:
        part = "" if piece.part is None else f".{piece.part}"
        output = f"{self._output}.{piece.file_id}{part}.root"
        own = {f"input{self._input}File": piece.file, f"output{self._output}File": output}
        own |= self._range_options(piece, "maxEvents")
        words = [self._transform, *self._options, *(f"--{key}={_quoted(value)}" for key, value in own.items())]
        return f"{' '.join(words)} && rsync -avr {shlex.quote(output)} {shlex.quote(self._output_folder)}"


class AthenaTaskList(_FileTaskList):
    """Runs athena on each ROOT file of the tasklist, and copies its output to ``WORKDIR/output/OUTPUT.ID`` with rsync."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        workdir: str | os.PathLike[str],
        jobOptions: str,  # noqa: N803
        output: str,
        maxEventsPerJob: str | None = None,  # noqa: N803
        **kwargs: str,
    ) -> None:
        """Read the tasklist and look at its files.

        Parameters
        ----------
        path, workdir, maxEventsPerJob, kwargs
            As for transforms.
        jobOptions
            The job options to run.
        output
            Name of the output file.
        """
        self._job_options = one_line("jobOptions", jobOptions)
        self._output = one_line("output", output)
        super().__init__(path, workdir, maxEventsPerJob, kwargs)

    def _command(self, piece: _Piece) -> str:
        own = {"filesInput": piece.file} | self._range_options(piece, "evtMax")
        words = ["athena.py", *self._options, *(f"--{key}={_quoted(value)}" for key, value in own.items())]
        target = f"{self._output_folder}/{self._output}.{piece.task_id}"
        copy = f"rsync -avr {shlex.quote(self._output)} {shlex.quote(target)}"
        return f"{' '.join(words)} {self._job_options} && {copy}"


def _program_option(key: str, value: str) -> str:
    """Return an option of the program: the value is wrapped in quotes, so that it can close them and open new ones.

    A value that is several words so has a blank before it: what Python's argparse finds behind ``=`` is always one.
    """
    if not _KEY.fullmatch(key):
        raise OptionError(key, "not a name that an option can have")
    wrapped = f"'{one_line(key, value, may_be_empty=True)}'"
    try:
        words = shlex.split(wrapped)
    except ValueError as error:
        reason = "its quotes do not match; it is put into single quotes, and can close and open them, but in pairs"
        raise OptionError(key, reason) from error
    return f"--{key}={wrapped}" if len(words) == 1 else f"--{key} {wrapped}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"
