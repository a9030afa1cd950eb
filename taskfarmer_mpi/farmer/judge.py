"""What the end of a run means for its task: an outcome, an interruption, or a doubt for a moment."""

from __future__ import annotations

from contextlib import suppress

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.farmer.node_doubt import NodeDoubt
from taskfarmer_mpi.farmer.outfit import Outfit
from taskfarmer_mpi.farmer.tally import Tally
from taskfarmer_mpi.machine.memory_watch import MemoryWatch
from taskfarmer_mpi.tasklists.task import Run
from taskfarmer_mpi.visits.tasks_in_hand import TasksInHand

log = Log(__name__)


class Judge:
    """Notes each end in the journal of one farmer, and moves the task to where it belongs."""

    def __init__(self, outfit: Outfit, tasks: TasksInHand, tally: Tally, doubt: NodeDoubt) -> None:
        farm = outfit.farm
        self._workdir = farm.workdir
        self._retries = farm.rules.retries
        self._journal = outfit.journal
        self._tasks = tasks
        self._tally = tally
        self._doubt = doubt
        self._logs = outfit.logs
        self._tempdirs = outfit.tempdirs
        self._has_logs = farm.rules.has_logs
        self._memory = MemoryWatch.here()

    def look(self) -> None:
        """Notice what kills tasks from outside, if it is time to look."""
        self._memory.look()

    def see(self, run: Run, now: float, *, is_stopping: bool) -> None:
        """Judge a run that ended now, on the farmer's clock [s]; a stop ends all that did not finish by themselves."""
        if run.may_be_interrupted and not is_stopping:
            self._tasks.doubt(run, now)
        elif run.cause is Cause.MEMORY_SHORT:
            self.interrupt(run, Cause.MEMORY_SHORT)
        elif run.is_finished or not is_stopping or run.cause is Cause.CANCELLED:
            self.end(run, now)
        else:
            self.interrupt(run)

    def end(self, run: Run, now: float) -> None:
        """Take a run for its task's outcome, unless the task is to be tried again."""
        run = self._memory.judge(run)
        pause = self._pause_after(run)
        if pause is not None:
            self._try_again(run, now + pause)
            return
        self._journal.note_run("end", run)
        self._end_tempdir(run, is_kept=not run.is_finished)
        self._tasks.outcomes.append(run)
        if self._logs is not None:
            self._logs.note_end(run, self._tasks.number_of(run.task.id))
        self._tally.add(run)
        if run.cause is not Cause.CANCELLED:
            self._doubt.see(run)
        if not run.is_finished:
            where = self._workdir.log(run.task.id) if self._has_logs else "no log, as --logs none has it"
            log.info("task %d failed with %d; see %s", run.task.id, run.returncode, where)

    def _pause_after(self, run: Run) -> float | None:
        attempts, retries = self._tasks.attempts, self._retries
        if attempts is None or run.is_finished:
            return None
        if self._tasks.settings is not None and (own := self._tasks.settings.of(run.task.id).retries) is not None:
            retries = replace(retries, count=own)
        if not retries.count:
            return None
        return retries.pause_after(run.cause, run.returncode, attempts.failures(run.task.id))

    def _try_again(self, run: Run, moment: float) -> None:
        """Note an attempt that failed; its task goes back to the list, where any farmer can take it."""
        from taskfarmer_mpi.logs.earlier import keep_log

        number = self._tasks.try_again(run.task, moment)
        self._journal.note_run("killed", run, number)
        self._end_tempdir(run)
        self._tally.add(run, is_ended=False)
        self._doubt.see(run)
        with suppress(OSError):  # without the log of an attempt the task can be tried as well
            if self._logs is not None:
                self._logs.keep_attempt(run.task.id, number)
            else:
                keep_log(self._workdir, run.task.id)
        log.info("task %d failed with %d at attempt %d: it is tried again", run.task.id, run.returncode, number)

    def interrupt(self, run: Run, cause: Cause = Cause.STOPPED) -> None:
        """Note a run that a shutdown, or lack of memory, cut short: its task is still to do."""
        self._journal.note_run("killed", replace(run, known_cause=cause))
        self._tally.add(run, is_ended=False)
        self._end_tempdir(run)
        self._tasks.back.append(run.task)

    def _end_tempdir(self, run: Run, *, is_kept: bool = False) -> None:
        if self._tempdirs is not None:
            self._tempdirs.end(run.task.id, is_kept=is_kept)
