"""Public names of a folder that are found in its modules when they are asked for, and not before: a start costs less so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module


def finder(package: str, modules: Mapping[str, str]) -> Callable[[str], object]:
    """Return a ``__getattr__`` for a package (PEP 562).

    Parameters
    ----------
    package
        Its name.
    modules
        For each of its modules, the public names in it, with blanks between them.
    """
    places = {name: module for module, names in modules.items() for name in names.split()}

    def find(name: str) -> object:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{places[name]}"), name)

    return find
