"""Where Python looks for modules: first where its own are, and in the current directory only if the user names it."""

import os
import sys


def settle_search_path() -> None:
    """Put the standard library first, so that no file of a user's replaces a part of it, and forget the current directory.

    ``python -m`` puts that directory first, and an empty entry of ``PYTHONPATH`` (``/x:``) means it, too, mostly by mistake.
    One that ``PYTHONPATH`` names stays, behind the standard library.
    """
    standard = os.path.dirname(os.__file__)
    named = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    try:
        current = os.getcwd()
    except OSError:  # it was removed
        current = ""
    if not sys.flags.safe_path:
        is_named = not current or any(os.path.realpath(entry) == os.path.realpath(current) for entry in named)
        sys.path[:] = [entry for entry in sys.path if entry and (is_named or entry != current)]
    sys.path.sort(key=lambda entry: not (entry == standard or entry == f"{standard}/lib-dynload" or entry.endswith(".zip")))
