"""What the end of a run means for its task: an outcome, an interruption, or a doubt for a moment."""

from __future__ import annotations

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.farmer.node_doubt import NodeDoubt
from taskfarmer_mpi.farmer.tally import Tally
from taskfarmer_mpi.machine.memory_watch import MemoryWatch
from taskfarmer_mpi.tasklists.task import Run
from taskfarmer_mpi.visits.tasks_in_hand import TasksInHand
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.journal import Journal

log = Log(__name__)


class Judge:
    """Notes each end in the journal of one farmer, and moves the task to where it belongs."""

    def __init__(self, farm: Farm, journal: Journal, tasks: TasksInHand, tally: Tally, doubt: NodeDoubt) -> None:
        self._workdir = farm.workdir
        self._journal = journal
        self._tasks = tasks
        self._tally = tally
        self._doubt = doubt
        self._memory = MemoryWatch.here()

    def look(self) -> None:
        """Notice what kills tasks from outside, if it is time to look."""
        self._memory.look()

    def see(self, run: Run, now: float, *, is_stopping: bool) -> None:
        """Judge a run that ended now, on the farmer's clock [s]; a stop ends all that did not finish by themselves."""
        if run.may_be_interrupted and not is_stopping:
            self._tasks.doubt(run, now)
        elif run.is_finished or not is_stopping:
            self.end(run)
        else:
            self.interrupt(run)

    def end(self, run: Run) -> None:
        """Take a run for its task's outcome."""
        run = self._memory.judge(run)
        self._journal.note_run("end", run)
        self._tasks.outcomes.append(run)
        self._tally.add(run)
        self._doubt.see(run)
        if not run.is_finished:
            log.info("task %d failed with %d; see %s", run.task.id, run.returncode, self._workdir.log(run.task.id))

    def interrupt(self, run: Run) -> None:
        """Note a run that a shutdown cut short: its task is still to do."""
        self._journal.note_run("killed", replace(run, known_cause=Cause.STOPPED))
        self._tally.add(run, is_ended=False)
        self._tasks.back.append(run.task)
