"""Commands with fields: ``{name}`` stands for a value, quoted for the shell.

``{name:raw}`` stands for the value as it is, and ``{{`` and ``}}`` for braces.
"""

from __future__ import annotations

import shlex
import string
from collections.abc import Iterable, Sequence


class CommandTemplate:
    """A command with fields, ready to be filled."""

    def __init__(self, text: str) -> None:
        """Parse a command.

        Raises
        ------
        ValueError
            If its braces are no fields; the message is the reason.
        """
        form = []
        self._fields: list[tuple[str, bool]] = []
        for literal, name, spec, conversion in string.Formatter().parse(text):
            form.append(literal.replace("%", "%%"))
            if name is None:
                continue
            if not name or conversion or spec not in ("", "raw"):
                raise ValueError(
                    f"{_shown(name, spec, conversion)} is no field; write {{name}} or {{name:raw}}, and {{{{ for a brace"
                )
            form.append("%s")
            self._fields.append((name, spec == "raw"))
        self._form = "".join(form)

    @property
    def names(self) -> list[str]:
        """The names of the fields, each once, in the order of the command."""
        return list(dict.fromkeys(name for name, _ in self._fields))

    @property
    def raw_names(self) -> set[str]:
        """The names of those fields whose values are not quoted."""
        return {name for name, is_raw in self._fields if is_raw}

    def bind(self, names: Sequence[str]) -> BoundTemplate:
        """Say where the values of the fields will be: at the place of the field's name in `names`.

        Raises
        ------
        ValueError
            If the name of a field is not there.
        """
        places = {name: place for place, name in enumerate(names)}
        for name in self.names:
            if name not in places:
                hint = "" if name.isidentifier() else f"; braces that are no field are doubled: {{{{{name}}}}}"
                raise ValueError(f"nothing is named {name!r}, a field of the command; {known_names(names)}{hint}")
        return BoundTemplate(self._form, [(places[name], is_raw) for name, is_raw in self._fields])


class BoundTemplate:
    """A command whose fields know where their values are."""

    def __init__(self, form: str, places: Sequence[tuple[int, bool]]) -> None:
        self._form = form
        self._places = places

    def fill(self, values: Sequence[str]) -> str:
        """Return the command with these values."""
        return self._form % tuple(
            [values[place] if is_raw else shlex.quote(values[place]) for place, is_raw in self._places]
        )


def known_names(names: Iterable[str]) -> str:
    """Return a list of names for a message."""
    return f"known: {', '.join(filter(None, names))}"


def _shown(name: str, spec: str | None, conversion: str | None) -> str:
    return f"{{{name}{f'!{conversion}' if conversion else ''}{f':{spec}' if spec else ''}}}"
