"""The configuration of a run, as `farm.ini` in its work directory holds it: with it alone a farmer can go on."""

from __future__ import annotations

import configparser
import io
import json
from pathlib import Path

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.runners.class_paths import current_path
from taskfarmer_mpi.runners.registry import Definition
from taskfarmer_mpi.workdir.files import Workdir, read_file

FORMAT = 1


class Stored(Value):
    """What the first farmer of a work directory was told."""

    tasklist: str
    """Absolute path of the tasklist."""
    handler: Definition
    runner: Definition
    directory: str
    """Where it was started: the working directory of its tasks."""
    slots: int | None = 8
    """Slots per farmer; None for one per CPU."""
    listed: int = 0
    """How many tasks the tasklist had: those that plain farmers know of; 0 once changes of it were accepted."""
    digest: str = ""
    """SHA-256 of its first `begun` texts."""
    rules: dict[str, str] = {}
    """What is done about tasks that last too long, fail or take their farmers along, by option."""
    lease: float | None = None
    """After how long without an answer the file system gives locks away [s]; 0: never; None: as each node finds it."""
    cpu_share: int = 100
    """For which part of its CPUs a farmer has slots, where it has one per CPU [%]."""
    accepted: int | None = None
    """How many lines the tasklist had when changes of it were accepted last; None if none ever were."""

    @property
    def begun(self) -> int:
        """How many lines the tasklist had to begin with: those that came later were appended."""
        return self.listed if self.accepted is None else self.accepted


def encode_config(stored: Stored) -> bytes:
    """Encode the content of `farm.ini`."""
    config = _parser()
    config["farm"] = {
        "format": str(FORMAT),
        "directory": _encode_path(stored.directory),
        "slots": _encode_slots(stored),
    }
    if stored.lease is not None:
        config["farm"]["lease"] = f"{stored.lease:g}"
    config["tasklist"] = {"path": _encode_path(stored.tasklist), "tasks": str(stored.listed), "sha256": stored.digest}
    if stored.accepted is not None:
        config["tasklist"]["accepted"] = str(stored.accepted)
    if stored.rules:
        config["rules"] = stored.rules
    for what, definition in (("handler", stored.handler), ("runner", stored.runner)):
        config[what] = {"name": definition.name, "class": definition.class_path, "file": _encode_path(definition.source)}
        config[f"{what} options"] = definition.options
    text = io.StringIO()
    config.write(text)
    return text.getvalue().encode("utf-8", "surrogateescape")


def parse_config(data: bytes, path: Path) -> Stored:
    """Decode the content of `farm.ini`.

    Raises
    ------
    UserError
        If it is damaged, or of a newer version.
    """
    config = _parser()
    try:
        config.read_string(data.decode("utf-8", "surrogateescape"))
        farm, tasklist = config["farm"], config["tasklist"]
        if int(farm["format"]) != FORMAT:
            raise UserError(f"{path}: format {farm['format']} is not {FORMAT}: written by a newer version?")
        return Stored(
            tasklist=_parse_path(tasklist["path"]),
            handler=_definition(config, "handler"),
            runner=_definition(config, "runner"),
            directory=_parse_path(farm["directory"]),
            slots=None if farm["slots"] == "auto" or farm["slots"].endswith("%") else int(farm["slots"]),
            listed=int(tasklist["tasks"]),
            digest=tasklist["sha256"],
            rules=dict(config["rules"]) if config.has_section("rules") else {},
            lease=float(farm["lease"]) if "lease" in farm else None,
            accepted=int(tasklist["accepted"]) if "accepted" in tasklist else None,
            cpu_share=int(farm["slots"][:-1]) if farm["slots"].endswith("%") else 100,
        )
    except (configparser.Error, KeyError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not the configuration of a work directory: {reason}") from error


def _encode_slots(stored: Stored) -> str:
    if stored.slots is not None:
        return str(stored.slots)
    return "auto" if stored.cpu_share == 100 else f"{stored.cpu_share}%"


def _encode_path(path: str) -> str:
    """Encode an absolute path; one that an INI file cannot hold as it is becomes a JSON string."""
    return path if path.strip() == path and path.isprintable() else json.dumps(path)


def _parse_path(text: str) -> str:
    return str(json.loads(text)) if text.startswith('"') else text


def _parser() -> configparser.ConfigParser:
    config = configparser.ConfigParser(interpolation=None, default_section="")
    config.optionxform = str  # type: ignore[assignment,method-assign]
    return config


def _definition(config: configparser.ConfigParser, what: str) -> Definition:
    section = config[what]
    class_path = current_path(section["class"])
    return Definition(section["name"], class_path, dict(config[f"{what} options"]), _parse_path(section["file"]))


def read_config(workdir: Workdir) -> Stored | None:
    """Return the stored configuration of a work directory, or None if it has none.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    try:
        data = read_file(workdir.config)
    except NotADirectoryError as error:
        raise UserError(f"{workdir.path}: not a directory") from error
    except OSError as error:
        raise UserError(f"{workdir.config}: cannot read: {error.strerror}") from error
    return None if data is None else parse_config(data, workdir.config)
