"""A task farmer for many nodes: every line of a tasklist is run once, and nothing is lost when a job is killed.

From Python: `Farm` and `FarmExecutor`, which are imported when they are asked for, and not before.
"""

__version__ = "0.2.0"

_PLACES = {
    "Farm": "api.farm",
    "FarmExecutor": "api.executor",
    "TaskOutcome": "api.outcomes",
    "FarmerError": "api.farmer_process",
    "KeyConflictError": "api.keys",
    "FarmError": "errors",
    "UserError": "errors",
}

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.api.executor import FarmExecutor as FarmExecutor
    from taskfarmer_mpi.api.farm import Farm as Farm
    from taskfarmer_mpi.api.farmer_process import FarmerError as FarmerError
    from taskfarmer_mpi.api.keys import KeyConflictError as KeyConflictError
    from taskfarmer_mpi.api.outcomes import TaskOutcome as TaskOutcome
    from taskfarmer_mpi.errors import FarmError as FarmError
    from taskfarmer_mpi.errors import UserError as UserError


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
