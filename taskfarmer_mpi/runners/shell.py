"""Runners: how a task's command becomes a process. They start nothing themselves."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from types import MappingProxyType

from taskfarmer_mpi.common.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object

BASH = "/bin/bash"
SCRIPT_FD = 9
"""The descriptor from which bash reads a line that is too long for an argument."""
LONGEST_ARGUMENT = 128 * 1024 - 1
"""What the kernel takes as one argument of a program [bytes]: MAX_ARG_STRLEN of execve(2), without the NUL."""

_RUN_SCRIPT = f'eval -- "$(</dev/fd/{SCRIPT_FD})" {SCRIPT_FD}<&-'
"""Has bash read the descriptor and then close it, so that the commands of the line do not inherit it."""

_PLAIN_WORDS = re.compile(r"[A-Za-z0-9_@%+:,./-]+(?:[ \t]+[A-Za-z0-9_@%+:,./=-]+)*", re.ASCII)
"""Lines that mean the same to bash as split at blanks: no quotes, expansions, redirections, assignments or operators."""

_BASH_WORDS = frozenset(
    [
        ".",
        ":",
        "[",
        "]]",
        "alias",
        "bg",
        "bind",
        "break",
        "builtin",
        "caller",
        "case",
        "cd",
        "command",
        "compgen",
        "complete",
        "compopt",
        "continue",
        "coproc",
        "declare",
        "dirs",
        "disown",
        "do",
        "done",
        "echo",
        "elif",
        "else",
        "enable",
        "esac",
        "eval",
        "exec",
        "exit",
        "export",
        "false",
        "fc",
        "fg",
        "fi",
        "for",
        "function",
        "getopts",
        "hash",
        "help",
        "history",
        "if",
        "in",
        "jobs",
        "kill",
        "let",
        "local",
        "logout",
        "mapfile",
        "popd",
        "printf",
        "pushd",
        "pwd",
        "read",
        "readarray",
        "readonly",
        "return",
        "select",
        "set",
        "shift",
        "shopt",
        "source",
        "suspend",
        "test",
        "then",
        "time",
        "times",
        "trap",
        "true",
        "type",
        "typeset",
        "ulimit",
        "umask",
        "unalias",
        "unset",
        "until",
        "wait",
        "while",
    ]
)
"""Builtins and keywords of bash that may be a plain word: bash runs them itself, even where a program has the name."""


class Launch(Value, is_frequent=True):
    """How to start a task."""

    program: str
    """Path of the program."""
    argv: list[str]
    """What the program sees as its arguments; the first one is its name as it was typed."""
    fallback: str = ""
    """The line for bash if the kernel refuses the program, as a shell does with a script that has no ``#!`` line."""
    environ: Mapping[str, str] = MappingProxyType({})
    """What is added to the task's environment."""
    patience: float = 0.0
    """How long the program has to end by itself after SIGTERM when the task is stopped, before it is killed [s]."""
    script: bytes = b""
    """What the program finds in descriptor `SCRIPT_FD`, if anything."""


class Runner(Protocol):
    """Turns a task into what is to be started."""

    def launch(self, command: str) -> Launch:
        """Return how to start the command of a task."""


class ProgramFinder:
    """Finds programs on ``PATH`` and remembers them, so that a million tasks search once."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def find(self, word: str) -> str | None:
        """Return the path of a program, or None."""
        path = self._found.get(word)
        if path is None:
            import shutil

            path = shutil.which(word)
            if path is not None:
                self._found[word] = path
        return path


def launch_bash(command: str) -> Launch:
    """Return how bash is started with a line of any length."""
    script = command.encode("utf-8", "surrogateescape")
    if len(script) > LONGEST_ARGUMENT:
        return Launch(BASH, [BASH, "-c", _RUN_SCRIPT], script=script)
    return Launch(BASH, [BASH, "-c", "--", command])


class BasicRunner:
    """Runs a line as bash would.

    A line without shell syntax whose first word is a program is started directly, which is twice as fast; every other line
    goes through ``/bin/bash -c``. (``BASH_ENV`` is read in the second case only.)
    """

    def __init__(self) -> None:
        self._programs = ProgramFinder()
        functions = (name[len("BASH_FUNC_") : -2] for name in os.environ if name.startswith("BASH_FUNC_"))
        self._shell_words = _BASH_WORDS.union(functions)

    def launch(self, command: str) -> Launch:
        """Return the program itself, or bash with the line."""
        if not _PLAIN_WORDS.fullmatch(command):
            return launch_bash(command)
        words = command.split()
        name = words[0]
        program = None if name in self._shell_words else self._programs.find(name)
        return launch_bash(command) if program is None else Launch(program, words, command)


class ExecRunner:
    """Splits a line at white space and starts the program without a shell, as PyTaskFarmer does."""

    def __init__(self) -> None:
        self._programs = ProgramFinder()

    def launch(self, command: str) -> Launch:
        """Return the words of the line, the first one as a path if it is found on ``PATH``."""
        words = command.split() or [""]
        return Launch(self._programs.find(words[0]) or words[0], words)
