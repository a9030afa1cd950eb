"""A work directory whose farmers were halted stays so until a user says otherwise."""

from __future__ import annotations

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.workdir.files import Workdir, read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from taskfarmer_mpi.workdir.farm import Farm


def refuse_halted(workdir: Workdir, given: Mapping[str, str]) -> None:
    """Refuse to begin where farmers were halted, unless a rule for halts is given now.

    Raises
    ------
    UserError
        If they were, and none is.
    """
    if "halt" in given:
        return
    try:
        reason = read_file(workdir.halted)
    except OSError:
        return  # what is wrong with the work directory is told where it is read next
    if reason is not None:
        raise UserError(
            f"{workdir.path}: halted: {reason.decode('utf-8', 'replace').strip()}; to go on: --halt never, or another limit"
        )


def lift_halt(farm: Farm, given: Mapping[str, str], patience: float) -> None:
    """Let farmers work again, as a user has given another rule.

    Parameters
    ----------
    farm
        Whose lock is not held.
    given
        The rules of this command.
    patience
        How long to wait for the lock [s].
    """
    if "halt" in given and farm.workdir.halted.exists():
        with farm.lock.held(patience):
            farm.workdir.halted.unlink(missing_ok=True)
