"""What all farmers of one work directory have in common."""

from __future__ import annotations

from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.policies.rules import Rules
from taskfarmer_mpi.tasklists.lines import Handler
from taskfarmer_mpi.workdir.catalog import Catalog
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.locks import WorkLock


class Farm(Value):
    """A tasklist and the work directory where it is worked on."""

    workdir: Workdir
    lock: WorkLock
    handler: Handler
    """What makes commands of tasks."""
    catalog: Catalog
    """The tasks."""
    rules: Rules = Rules()
    """What is done about tasks that last too long or fail."""

    @classmethod
    def of(
        cls,
        workdir: Workdir,
        lock: WorkLock,
        handler: Handler,
        listed: int | None = None,
        rules: Rules | None = None,
        accepted: int | None = None,
    ) -> Farm:
        """Put a farm together.

        Parameters
        ----------
        workdir, lock
            The work directory and its lock.
        handler
            The handler of the tasklist; its tasks become those of the work directory.
        listed
            How many tasks of the tasklist plain farmers may know; None for all.
        rules
            What is done about tasks that last too long or fail; None for nothing.
        accepted
            How many lines the tasklist had when changes of it were accepted last; None if none ever were.
        """
        lines = handler.tasks.lines if isinstance(handler.tasks, Catalog) else handler.tasks
        catalog = Catalog(lines, len(lines) if listed is None else listed, workdir.tasks_added, accepted)
        handler.tasks = catalog
        return cls(workdir, lock, handler, catalog, rules or Rules())

    def command_of(self, task: int) -> str:
        """Return what is run for a task; errors are those of the handler, which may be a user's."""
        return self.catalog.text(task) if task == self.catalog.then else self.handler[task]
