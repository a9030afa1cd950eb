"""What is to be run: a **tasklist** is a file, a **handler** turns it into **tasks**, a task is a line with an integer ID.

What always holds: the ID of a task is its index among the lines that PyTaskFarmer counts, and never changes; a handler's
constructor reads, and writes nothing; the command of a task is made of its text alone, when it is asked for.

Begin with `task` (the values that cross all borders), then `lines` (the default handler, and what handlers derive from).
"""

from __future__ import annotations

from taskfarmer_mpi.common.public_names import finder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.tasklists.atlas import AthenaTaskList as AthenaTaskList
    from taskfarmer_mpi.tasklists.atlas import TransformTaskList as TransformTaskList
    from taskfarmer_mpi.tasklists.fill import FillTaskList as FillTaskList
    from taskfarmer_mpi.tasklists.lines import Handler as Handler
    from taskfarmer_mpi.tasklists.lines import Lines as Lines
    from taskfarmer_mpi.tasklists.lines import ListTaskList as ListTaskList
    from taskfarmer_mpi.tasklists.table import TableTaskList as TableTaskList
    from taskfarmer_mpi.tasklists.task import Run as Run
    from taskfarmer_mpi.tasklists.task import Task as Task
    from taskfarmer_mpi.tasklists.template import TemplateTaskList as TemplateTaskList

__getattr__ = finder(
    __name__,
    {
        "lines": "Handler Lines ListTaskList",
        "fill": "FillTaskList",
        "table": "TableTaskList",
        "template": "TemplateTaskList",
        "atlas": "TransformTaskList AthenaTaskList",
        "task": "Task Run",
    },
)
