"""What comes before a command: nothing that goes wrong there may look like tasks that failed, which is exit code 1.

Here and in what is imported here, nothing is imported but the lightest parts of the standard library.
"""

from __future__ import annotations

import errno
import gc
import os
import sys

from taskfarmer_mpi.cli.streams import say, settle_streams
from taskfarmer_mpi.common.search_path import settle_search_path

TYPE_CHECKING = False  # as in typing, which a user's file may stand before until the search path is settled
if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_USAGE, EXIT_LEFT = 2, 75
EXIT_BUG = 70
"""An error of this program, shown with a traceback (EX_SOFTWARE of sysexits.h)."""

_FEW_COLLECTIONS = 50_000
"""New objects after which Python looks for garbage: none of the many that a start makes is garbage."""


def enter(prog: str, module: str, argv: Sequence[str] | None) -> int:
    """Run a command and return its exit code.

    Parameters
    ----------
    prog
        Its name, for messages.
    module
        Where its function ``run`` is, which takes the arguments and returns the exit code.
    argv
        The arguments; None for those of the process.
    """
    gc.set_threshold(_FEW_COLLECTIONS)
    try:
        return _run(prog, module, argv)
    finally:
        gc.freeze()  # or Python would look through all of it once more before it ends


def _run(prog: str, module: str, argv: Sequence[str] | None) -> int:
    settle_search_path()
    settle_streams()
    try:
        __import__(module)
    except (ImportError, OSError, AttributeError, SyntaxError) as error:
        return _refuse(prog, error)
    try:
        return int(sys.modules[module].run(sys.argv[1:] if argv is None else argv))
    except ImportError as error:
        return _refuse(prog, error)
    except Exception as error:
        return report_bug(prog, error)


def report_bug(prog: str, error: Exception) -> int:
    """Say what no part of this program expected, now that it is caught; return the exit code.

    Without descriptors anything can fail, the import of what would show a traceback, too, and it is no fault of the program.
    """
    if isinstance(error, OSError) and error.errno == errno.EMFILE:
        say(f"{prog}: {error.filename or 'a file'}: {error.strerror}; raise the limit (ulimit -n)", to="stderr")
        return EXIT_LEFT
    import traceback

    say("".join(traceback.format_exception(error)).rstrip(), to="stderr")
    return EXIT_BUG


def _refuse(prog: str, error: Exception) -> int:
    """Say that the installation is not in order on this node."""
    reason = " ".join(str(error).split()) or type(error).__name__
    say(f"{prog}: cannot begin on {os.uname().nodename} with {sys.executable}: {reason}", to="stderr")
    return EXIT_USAGE
