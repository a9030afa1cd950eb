"""Where Python looks for modules: not in the current directory, unless the user says so."""

import os
import sys


def forget_current_directory() -> None:
    """Take the current directory off the search path, where ``python -m`` puts it; ``PYTHONPATH`` stays as it is."""
    if sys.path and sys.path[0] == os.getcwd() and not sys.flags.safe_path:
        del sys.path[0]
