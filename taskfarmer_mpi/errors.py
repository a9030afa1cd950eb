"""The two families of trouble: what a user can mend, and what stops a farmer that was already at work."""

from __future__ import annotations

import errno

_SHORTAGES = frozenset(
    {
        errno.EAGAIN,
        errno.EHOSTDOWN,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.ENOTCONN,
        errno.EREMOTEIO,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
"""What the system refuses now and may grant a moment later: processes, memory, descriptors, a server's answer."""


class UserError(Exception):
    """A user's mistake or a condition that a user can mend.

    Its message is one line that says where, what and what is allowed. Raised before a task was run; ends the
    command with exit code 2.
    """


class OptionError(UserError):
    """An option of a runner, handler or monitor has a value that it cannot take; who read it adds file and section."""

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(f"{option}: {reason}")


class LockBusyError(UserError):
    """Others held the lock for as long as this farmer was ready to wait."""


class FarmError(Exception):
    """Trouble that appears while tasks run: a full disk, a vanished directory, a damaged list.

    Its running tasks are stopped, and what is known stays in the journal for others. Unless they finish the list, the
    command ends with exit code 75.
    """


class ShortageError(FarmError):
    """Something is short that may come back, and nothing was changed: worth another try after a while."""


def is_shortage(error: BaseException | None) -> bool:
    """Whether an error says that something is short at the moment."""
    return isinstance(error, OSError) and error.errno in _SHORTAGES


def is_own_limit(error: BaseException | None) -> bool:
    """Whether an error says that this process has as many descriptors as it may: nobody but itself can give some back."""
    return isinstance(error, OSError) and error.errno == errno.EMFILE


def describe(error: Exception, place: object) -> str:
    """Return an error in words that name a file: the one that the error names, else the place where it came up."""
    return f"{error.filename or place}: {error.strerror or error}" if isinstance(error, OSError) else str(error)


def farm_error(what: str, error: OSError) -> FarmError:
    """Return what an error of the system is to a farmer that was not about one task, and left all as it was."""
    kind = ShortageError if is_shortage(error) else FarmError
    return kind(f"{what}: {error.strerror}")


class FencedError(FarmError):
    """The farmer was declared dead and its tasks were given to others: it must record nothing more."""
