"""Names of runners, tasklist handlers and monitors: from a name to a definition in an INI file, to a class, to an object.

A definition is a section of an INI file, as PyTaskFarmer has them::

    [name]
    Runner = package.Class
    option = value

with ``TaskList`` or ``Monitor`` instead of ``Runner`` for the other kinds. Only the section that is asked for is looked at
closer, and only its class is imported.
"""

from __future__ import annotations

import configparser
import importlib
import os
import stat
from pathlib import Path

from taskfarmer_mpi.common.log import Log, output
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.errors import OptionError, UserError
from taskfarmer_mpi.runners.class_paths import current_path, find_former_modules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

log = Log(__name__)


class Kind(Value):
    """What definitions there are."""

    label: str
    key: str
    """The option that names the class."""
    folder: str
    """Where definitions are, in ``~/.pytaskfarmer``."""
    built_in: dict[str, str]
    """Class by name."""
    methods: tuple[tuple[str, ...], ...]
    """What a class must have: all of one of these."""


RUNNER = Kind(
    "runner",
    "Runner",
    "runners.d",
    {"default": "taskfarmer_mpi.runners.BasicRunner", "exec": "taskfarmer_mpi.runners.ExecRunner"},
    (("launch",), ("run", "terminate")),
)
HANDLER = Kind(
    "tasklist handler",
    "TaskList",
    "tasklists.d",
    {"default": "taskfarmer_mpi.tasklists.ListTaskList"},
    (("__getitem__", "__len__"),),
)
FILL = "taskfarmer_mpi.tasklists.FillTaskList"
"""The handler of a list whose lines fill a command that a user has given."""
MONITOR = Kind("monitor", "Monitor", "monitors.d", {}, (("handle",),))


class Definition(Value):
    """What a name stands for."""

    name: str
    class_path: str
    """Package, module and class, with dots between them."""
    options: dict[str, str] = {}
    source: str = ""
    """The file that it is from; empty if it is built in."""

    @property
    def place(self) -> str:
        """Where it is defined, for messages."""
        return f"{self.source}: [{self.name}]" if self.source else self.name

    def is_same(self, other: Definition) -> bool:
        """Whether it means the same class with the same options, wherever it is from."""
        return (self.class_path, self.options) == (other.class_path, other.options)

    def describe(self) -> str:
        """Return it in one line."""
        options = ", ".join(f"{key} = {value}" for key, value in self.options.items())
        origin = f" from {self.source}" if self.source else ""
        return f"{self.name!r} ({self.class_path}{', ' if options else ''}{options}){origin}"


def ini_files(kind: Kind) -> list[Path]:
    """Return the files that may have definitions of a kind; later ones outweigh earlier ones."""
    home = os.path.expanduser("~/.pytaskfarmer")  # stays as it is where this user has no home
    folders = [Path.cwd()] if home.startswith("~") else [Path(home) / kind.folder, Path.cwd()]
    return [path for folder in folders for path in _ini_files_in(folder)]


def _ini_files_in(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if name.endswith(".ini")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:  # HOME is another user's, say: nobody asked for what is there
        log.info("%s: cannot look for INI files: %s", folder, error.strerror)
        return []


def find(kind: Kind, name: str) -> Definition:
    """Return the definition of a name.

    Raises
    ------
    UserError
        If there is none, or it cannot be read, or others could have written it.
    """
    files, broken = _read_files(kind)
    chosen = [file for file in files if name in file.names(kind)]
    if name in kind.built_in:
        for file in chosen:
            log.warning("%s: [%s] is left out: this name is built in, so give it another one", file.path, name)
        return Definition(name, kind.built_in[name])
    if not chosen:
        known = sorted({*kind.built_in, *(known for file in files for known in file.names(kind))})
        read = ", ".join(str(file.path) for file in files)
        read = read or f"none (*.ini in ~/.pytaskfarmer/{kind.folder} and in {Path.cwd()})"
        troubles = "".join(f"{trouble}; " for trouble in broken)
        names = ", ".join(known) or "none"
        raise UserError(f"{troubles}unknown {kind.label} {name!r}; known: {names}; files that were read: {read}")
    for trouble in broken:
        log.warning("%s; the file is left out", trouble)
    outweighed = f", which outweighs {', '.join(str(file.path) for file in chosen[:-1])}" if len(chosen) > 1 else ""
    log.info("%s %r is defined in %s%s", kind.label, name, chosen[-1].path, outweighed)
    chosen[-1].check_trust()
    return _definition(kind, chosen[-1].config[name], chosen[-1].path)


def _read_files(kind: Kind) -> tuple[list[_IniFile], list[UserError]]:
    """Read the files that may have definitions of a kind; also return what is wrong with those that cannot be read."""
    files: list[_IniFile] = []
    broken: list[UserError] = []
    for path in ini_files(kind):
        try:
            files.append(_IniFile.read(path))
        except UserError as error:
            broken.append(error)
    return files, broken


class _IniFile(Value):
    """What an INI file says, and who could have written it."""

    path: Path
    config: configparser.ConfigParser
    owner: int
    """Number of the user."""
    mode: int

    @classmethod
    def read(cls, path: Path) -> _IniFile:
        """Read a file; what is no regular file is an error, as a pipe would never end."""
        try:
            with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise UserError(f"{path}: not a file")
                data = file.read()
        except OSError as error:
            raise UserError(f"{path}: cannot read: {error.strerror}") from error
        return cls(path, _parse(path, data), status.st_uid, status.st_mode)

    def names(self, kind: Kind) -> list[str]:
        """Return the names that it defines."""
        return [section for section in self.config.sections() if self.config.has_option(section, kind.key)]

    def check_trust(self) -> None:
        """Refuse a file that others wrote or could change: it says what code is run."""
        if self.owner not in (0, os.geteuid()):
            raise UserError(f"{self.path}: belongs to another user (number {self.owner}): copy it to use its definitions")
        if self.mode & stat.S_IWOTH:
            raise UserError(f"{self.path}: everybody can write to this file: chmod o-w it to use its definitions")


def _parse(path: Path, data: bytes) -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        config.read_string(data.decode())
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from error
    except configparser.Error as error:
        line, reason = _reason(error)
        raise UserError(f"{path}:{line}: {reason}") from error
    return config


def _reason(error: configparser.Error) -> tuple[int, str]:
    """Return the line of an error and what is wrong there."""
    if isinstance(error, configparser.MissingSectionHeaderError):
        return error.lineno, f"no section header like [name] before {error.line.strip()[:60]!r}"
    if isinstance(error, configparser.DuplicateSectionError):
        return error.lineno or 0, f"section [{error.section}] is there twice"
    if isinstance(error, configparser.DuplicateOptionError):
        return error.lineno or 0, f"option {error.option!r} is there twice in section [{error.section}]"
    if isinstance(error, configparser.ParsingError):
        line, text = error.errors[0]
        shown = text.strip().strip("'\"").removesuffix("\\n")[:60]  # before Python 3.13 it is the line as Python writes it
        return line, f"neither a section header nor `option = value`: {shown!r}"
    return 0, " ".join(str(error).split())


def _definition(kind: Kind, section: configparser.SectionProxy, path: Path) -> Definition:
    try:
        options = dict(section)
    except configparser.InterpolationError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: [{section.name}] {reason}; write %% for a percent sign") from error
    class_path = options.pop(kind.key)
    return Definition(section.name, current_path(class_path), options, str(path))


def load_class(kind: Kind, definition: Definition) -> type[Any]:
    """Import the class of a definition.

    Raises
    ------
    UserError
        If it cannot be imported, or is none of its kind.
    """
    place = f"{definition.place} {kind.key} = {definition.class_path}"
    module, _, name = definition.class_path.rpartition(".")
    if not module:
        raise UserError(f"{place}: not the path of a class, like package.module.Class")
    find_former_modules()
    try:
        found = getattr(importlib.import_module(module), name, None)
    except (Exception, SystemExit) as error:
        raise UserError(f"{place}: cannot import {module}: {_one_line(error)}") from error
    output.pass_to_logging()
    if not isinstance(found, type):
        raise UserError(f"{place}: module {module} has no class {name}")
    if not any(all(callable(getattr(found, method, None)) for method in methods) for methods in kind.methods):
        wanted = " or ".join(" and ".join(methods) for methods in kind.methods)
        raise UserError(f"{place}: not a {kind.label}: it has no {wanted}")
    return found


def check_options(cls: type[Any], definition: Definition, given: int = 0) -> None:
    """Check the options of a definition against the constructor of its class.

    Parameters
    ----------
    cls
        The class.
    definition
        What to check.
    given
        How many of the constructor's first arguments are not options.

    Raises
    ------
    UserError
        If an option is unknown or missing.
    """
    import inspect

    parameters = list(inspect.signature(cls).parameters.values())[given:]
    named = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes = f"{cls.__name__} takes {', '.join(named) or 'no options'}"
    is_open = any(p.kind == p.VAR_KEYWORD for p in parameters)
    for key in definition.options:
        if key not in named and not is_open:
            raise UserError(f"{definition.place} {key}: unknown option; {takes}")
    for key, parameter in named.items():
        if parameter.default is parameter.empty and key not in definition.options:
            raise UserError(f"{definition.place} {key}: this option is missing; {takes}")


def build(cls: type[Any], definition: Definition, *arguments: object) -> Any:
    """Make the object that a definition describes.

    Raises
    ------
    UserError
        If its options are not those of the class, or it cannot be made.
    """
    if definition.source or definition.options:
        check_options(cls, definition, len(arguments))
    try:
        return cls(*arguments, **definition.options)
    except OptionError as error:
        raise UserError(f"{definition.place} {error}") from error
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{definition.place}: cannot make a {cls.__name__}: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
