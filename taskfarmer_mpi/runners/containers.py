"""Runners that run each task in a container: they turn its command into the command line of the container's program.

Command lines, as the programs' manuals have them: shifter(1), apptainer-exec(1), and podman-run(1), to which podman-hpc
passes on what it does not know itself.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence

from taskfarmer_mpi.common.plugin_options import is_true, one_line, words_of
from taskfarmer_mpi.errors import OptionError, UserError
from taskfarmer_mpi.runners.shell import BASH, LONGEST_ARGUMENT, Launch, ProgramFinder

PATIENCE = 5.0
"""How long a container has to end after SIGTERM [s]."""

_GPUS = {"nv": "--nv", "rocm": "--rocm"}
_LIST_OPERATORS = re.compile(r";|\|\||(?<!&)&(?!&)")
"""What binds as weakly as the ``&&`` between setup and task, or more so. (It can be quoted: braces do no harm then.)"""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(=.*)?", re.DOTALL)
_IN_TEMPDIR = """dir=$(mktemp -d) || exit; trap 'rm -rf -- "$dir"' EXIT; trap : TERM; """
"""With SIGTERM trapped, bash waits for the end of the container before it removes the directory."""
_PART = LONGEST_ARGUMENT // 4
"""How long a part of a text is that is too long for one argument [characters, of up to 4 bytes each]."""
_JOIN_PARTS = """eval "set --"$'\\n'"$(IFS=; printf %s "$*")\""""
"""Has bash run the text whose parts are its arguments, without any argument."""


class _ContainerRunner:
    """What the runners have in common."""

    def __init__(
        self, words: Sequence[str], last: Sequence[str], *, setup: str, tempdir_words: str = "", patience: float = 0.0
    ) -> None:
        """Take the parts of the command line.

        Parameters
        ----------
        words
            The program and its options.
        last
            What comes between the options and the arguments of bash.
        setup
            What bash runs before the task.
        tempdir_words
            Options, in shell syntax, that make ``$dir`` the task's directory; empty if it has none of its own.
        patience
            As in `Launch` [s].
        """
        self._words = list(words)
        self._last = list(last)
        self._setup = one_line("setup", setup, may_be_empty=True)
        self._tempdir_words = tempdir_words
        self._patience = PATIENCE if tempdir_words else patience
        self._programs = ProgramFinder()

    def launch(self, command: str) -> Launch:
        """Return how to start the container with the task in it."""
        last = [*self._last, "-c", *_arguments(shell_text(self._setup, command))]
        environ = {"BASH_ENV": ""}  # it names a file that the image lacks
        if self._tempdir_words:
            script = f'{_IN_TEMPDIR}{shlex.join(self._words)} {self._tempdir_words} "$@"'
            return Launch(BASH, [BASH, "-c", script, BASH, *last], environ=environ, patience=self._patience)
        argv = self._words + last
        return Launch(self._programs.find(argv[0]) or argv[0], argv, environ=environ, patience=self._patience)


class ShifterRunner(_ContainerRunner):
    """Runs each task in a Shifter container: ``shifter --image IMAGE -- /bin/bash -c "SETUP && TASK"``."""

    def __init__(
        self, image: str, setup: str = "", volumes: str = "", modules: str = "", tempdir: str | bool = False
    ) -> None:
        """Take the options.

        Parameters
        ----------
        image
            Name of the image.
        setup
            Shell commands that are run before the task.
        volumes
            Volume bindings, with blanks between them.
        modules
            Shifter modules, with blanks between them.
        tempdir
            Whether each task is run in a temporary directory of its own.

        Raises
        ------
        OptionError
            If an option has a value that it cannot take.
        """
        super().__init__(
            [
                *("shifter", "--image", _image(image)),
                *(f"-V{volume}" for volume in volumes.split()),
                *(f"-m{module}" for module in modules.split()),
            ],
            ["--", BASH],
            setup=setup,
            tempdir_words='--workdir="$dir"' if is_true("tempdir", tempdir) else "",
        )


class ApptainerRunner(_ContainerRunner):
    """Runs each task in an Apptainer container: ``apptainer exec IMAGE /bin/bash -c "SETUP && TASK"``."""

    def __init__(
        self,
        image: str,
        setup: str = "",
        volumes: str = "",
        environment: str = "",
        gpu: str | bool = False,
        tempdir: str | bool = False,
        arguments: str = "",
        program: str = "apptainer",
    ) -> None:
        """Take the options.

        Parameters
        ----------
        image
            A SIF file, a sandbox directory or a URI (``docker://...``).
        setup, tempdir
            As for Shifter.
        volumes
            Bindings ``SOURCE[:TARGET[:OPTIONS]]``, with blanks between them.
        environment
            ``NAME=VALUE``, with blanks between them, quoted as in a shell. (Apptainer passes on the whole environment.)
        gpu
            Whether the task gets the GPUs: no, yes or ``nv`` (NVIDIA), ``rocm`` (AMD).
        arguments
            Further options for the command line, quoted as in a shell.
        program
            Name or path of the program: ``singularity``, for example.
        """
        variables = [item for item in _variables(environment) if "=" in item]
        if any('"' in item for item in variables):
            raise OptionError("environment", 'Apptainer takes no double quote (") in a value')
        flag = _GPUS.get(str(gpu).lower(), "--nv") if is_true("gpu", gpu, also=list(_GPUS)) else None
        super().__init__(
            [
                *(one_line("program", program), "exec", *([flag] if flag else [])),
                *(f"--env={_csv_field(item) if item.count('=') > 1 else item}" for item in variables),
                *(f"--bind={volume}" for volume in volumes.split()),
                *words_of("arguments", arguments),
            ],
            [_image(image), BASH],
            setup=setup,
            tempdir_words='--bind="$dir" --pwd="$dir"' if is_true("tempdir", tempdir) else "",
            patience=PATIENCE,
        )


class PodmanHPCRunner(_ContainerRunner):
    """Runs each task in a Podman container: ``podman-hpc run --entrypoint=/bin/bash IMAGE -c "SETUP && TASK"``.

    The container is no child of the program, so it gets what farmers know their tasks' processes by: the variables
    ``TASKFARMER_*``, and the lock on descriptor 3.
    """

    def __init__(
        self,
        image: str,
        setup: str = "",
        volumes: str = "",
        environment: str = "",
        gpu: str | bool = False,
        tempdir: str | bool = False,
        arguments: str = "",
        program: str = "podman-hpc",
    ) -> None:
        """Take the options.

        Parameters
        ----------
        image
            Name of the image.
        setup, volumes, gpu, tempdir, arguments
            As for Apptainer; ``gpu`` is yes or no, and a volume has a target.
        environment
            ``NAME=VALUE``, or ``NAME`` to pass on a variable of the farmer, with blanks between them, quoted as in a shell.
        program
            Name or path of the program: ``podman``, for example, which knows no ``--gpu``.

        Raises
        ------
        OptionError
            If an option has a value that it cannot take.
        UserError
            If the working directory, which is to be that of the tasks, is gone.
        """
        has_tempdir = is_true("tempdir", tempdir)
        here = _working_directory()
        super().__init__(
            [
                *(one_line("program", program), "run", "--rm", "--init", "--preserve-fds=1", f"--entrypoint={BASH}"),
                *("--env=PROC_NUMBER", "--env=TASKFARMER_*", *(f"--env={item}" for item in _variables(environment))),
                *(["--gpu"] if is_true("gpu", gpu) else []),
                *(f"--volume={volume}" for volume in volumes.split()),
                _mount(here),
                *([] if has_tempdir else [f"--workdir={here}"]),
                *words_of("arguments", arguments),
            ],
            [_image(image)],
            setup=setup,
            tempdir_words='--volume="$dir:$dir" --workdir="$dir"' if has_tempdir else "",
            patience=PATIENCE,
        )


def shell_text(setup: str, command: str) -> str:
    """Return what bash is to run: ``setup && task``.

    A task with operators of its own gets braces, so that all of it depends on the setup.
    """
    if not setup:
        return f" {command}" if command[:1] in ("-", "+") else command  # else bash would take it for an option
    if _LIST_OPERATORS.search(command):
        return f"{setup} && {{\n{command}\n}}"  # on lines of their own: the task can end with a comment
    return f"{setup} && {command}"


def _arguments(text: str) -> list[str]:
    """Return what follows ``bash -c``: a text too long for one argument goes in parts, which all programs hand on."""
    if len(text.encode("utf-8", "surrogateescape")) <= LONGEST_ARGUMENT:
        return [text]
    return [_JOIN_PARTS, BASH, *(text[start : start + _PART] for start in range(0, len(text), _PART))]


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError as error:
        raise UserError(f"the working directory cannot be used: {error.strerror}") from error


def _mount(folder: str) -> str:
    """Return Podman's option that shows a directory at the same path in the container."""
    return f"--mount=type=bind,{_csv_field(f'source={folder}')},{_csv_field(f'target={folder}')}"


def _csv_field(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if re.search('[",\n]', text) else text


def _image(image: str) -> str:
    if image.startswith("-"):
        raise OptionError("image", f"{image!r} is not the name of an image")
    return one_line("image", image)


def _variables(environment: str) -> list[str]:
    items = words_of("environment", environment)
    for item in items:
        if not _VARIABLE.fullmatch(item):
            raise OptionError("environment", f"{item!r} is neither NAME=VALUE nor NAME")
    return items
