"""Recovery of what dead farmers left in their journals.

A farmer is dead if its life lock can be had. Its tasks are settled only when its task lock can be had, too: then no process
of any of them is left. Outcomes that it did not record are recorded; tasks in its hands go back to `toprocess`. Recovery can
die at any point and be done again: it looks up first what the lists and the other journals say already.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from taskfarmer_mpi.common.causes import Cause
from taskfarmer_mpi.common.filesystems import is_there
from taskfarmer_mpi.common.log import Log
from taskfarmer_mpi.common.values import Value, replace
from taskfarmer_mpi.errors import FarmError
from taskfarmer_mpi.lives.life_locks import LifeLock
from taskfarmer_mpi.lives.owner import Owner, find_processes, parse_job
from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.upkeep.holders import is_at_work
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.files import node_name
from taskfarmer_mpi.workdir.journal import Journal, append_record, close_journal
from taskfarmer_mpi.workdir.journal_reading import JournalReader, JournalState, OpenJournals, open_journals, read_records
from taskfarmer_mpi.workdir.journal_records import Identity, read_identity
from taskfarmer_mpi.workdir.lists import Recorded, append_tasks, give_back_tasks, listed_in, strike_out, sync_file

log = Log(__name__)


class Recovery(Value):
    """What a look at the other farmers of a work directory brought."""

    farmers: int = 0
    """Dead farmers whose tasks are settled now."""
    tasks: int = 0
    """Tasks that are back in `toprocess`."""
    unknown: int = 0
    """Dead farmers whose journals name tasks that this work directory does not have."""
    waiting: list[str] = []
    """Dead farmers some of whose tasks still run, and why nothing can be done yet."""
    nodes: list[str] = []
    """Nodes that were lost with these farmers."""
    begin: float = 0.0
    """[s since the epoch]"""
    end: float = 0.0
    """[s since the epoch]"""


class _Dead(Value):
    reader: JournalReader
    locks: list[LifeLock]
    is_lost: bool
    """Whether its node died with it."""

    def let_go(self) -> None:
        """Release its locks."""
        for life in self.locks:
            life.release()

    @property
    def state(self) -> JournalState | None:
        return self.reader.state


def recover(farm: Farm, own: Collection[Path], patience: float) -> Recovery:
    """Settle the tasks of all dead farmers.

    Parameters
    ----------
    farm
        The farm, its lock not held.
    own
        Journals to leave alone.
    patience
        How long to wait for the lock [s].

    Raises
    ------
    LockBusyError
        If others held the lock all that time; then nothing was done.
    """
    begin = time.time()
    dead, waiting = list[_Dead](), list[str]()
    try:
        for path in open_journals(farm.workdir.farmers):
            locks = None if path in own or is_at_work(farm, path) else _seize(farm, path, waiting)
            if locks is not None:
                from taskfarmer_mpi.lives.lost_nodes import is_node_lost

                dead.append(_Dead(JournalReader(path), locks, is_node_lost(path, locks, own)))
                _read(dead, waiting)
        recovery = _settle(farm, dead, patience) if dead else Recovery()
    finally:
        for farmer in dead:
            farmer.let_go()
    return replace(recovery, waiting=waiting, begin=begin, end=time.time())


def recover_at_start(farm: Farm, patience: float) -> Recovery:
    """Settle the tasks of all dead farmers before this one takes any; parameters and errors are those of `recover`.

    Who cannot be settled yet may have noted the ends of tasks that are on the list again, as the cut of it was lost with the
    power. They are taken off it, and recorded when that farmer is settled: run again, they would be recorded twice.
    """
    recovery = recover(farm, (), patience)
    if recovery.waiting:
        readers = [JournalReader(path) for path in open_journals(farm.workdir.farmers)]
        _ended(readers)  # the long way, without the lock; what comes after is short
        with farm.lock.held(patience):
            farm.catalog.advance()
            strike_out(farm, _ended(reader for reader in readers if is_there(reader.path)))
    return recovery


def _ended(readers: Iterable[JournalReader]) -> set[int]:
    """Return the tasks that have ended and are not recorded, by journals that can be read."""
    ended: set[int] = set()
    for reader in readers:
        with suppress(FarmError, FileNotFoundError):
            reader.advance()
            ended |= reader.state.ended.keys() if reader.state is not None else set()
    return ended


def note_recovery(journal: Journal, recovery: Recovery) -> None:
    """Note in a farmer's journal what it recovered, if anything."""
    if recovery.farmers:
        times = {"begin": round(recovery.begin, 6), "end": round(recovery.end, 6)}
        journal.note("recovery", **times, farmers=recovery.farmers, tasks=recovery.tasks)


def _seize(farm: Farm, path: Path, waiting: list[str]) -> list[LifeLock] | None:
    """Return both locks of a dead farmer; None if it lives, its tasks do, or nothing can be known."""
    try:
        who = read_identity(next(read_records(path)), path)
    except (FileNotFoundError, StopIteration):
        return None  # it left since the folder was read
    except FarmError as error:
        waiting.append(str(error))
        return None
    names = (f".{path.stem}.alive", f".{path.stem}.tasks")
    if not (who.alive_lock.endswith(names[0]) and who.task_lock.endswith(names[1])):
        waiting.append(f"{path}: names lock files that are not its own")
        return None
    try:
        life = LifeLock.seize(Path(who.alive_lock))
    except OSError as error:
        farm.workdir.refresh()
        if is_there(path) and _has_tasks(path):
            waiting.append(
                f"whether {who.label} lives is not known ({who.alive_lock}: {error.strerror}); if it does not,"
                f" and the file is missing: touch {who.alive_lock}"
            )
        return None
    if life is None:
        return None
    return _seize_tasks(farm, who, life, waiting)


def _seize_tasks(farm: Farm, who: Identity, life: LifeLock, waiting: list[str]) -> list[LifeLock] | None:
    """Return both locks of a dead farmer if no process of its tasks is left, and else let its life lock go."""
    try:
        tasks = LifeLock.seize(Path(who.task_lock))
    except FileNotFoundError:
        return [life]  # recovery removed it, and died before it removed the other one
    except OSError as error:
        life.release()
        waiting.append(f"{who.task_lock}: {error.strerror}")
        return None
    survivors = _survivors(farm, who) if who.host == node_name() else []
    if tasks is not None and not survivors:
        return [life, tasks]
    for lock in filter(None, (life, tasks)):
        lock.release()
    seen = f": {', '.join(map(str, survivors[:10]))}" if survivors else ""
    waiting.append(f"{who.label} is dead, but processes of its tasks still run on {who.host}{seen}")
    return None


def _read(dead: list[_Dead], waiting: list[str]) -> None:
    """Read the journal of the last one of the dead; leave it alone if what it says is damaged."""
    try:
        dead[-1].reader.advance()
    except FarmError as error:
        waiting.append(str(error))
        dead.pop().let_go()


def _survivors(farm: Farm, who: Identity) -> list[int]:
    """Return the processes of a dead farmer's tasks on this node, also those that let go of its lock."""
    return find_processes(Owner(who.farmer, who.task_lock, str(farm.workdir.path), parse_job(who.job)))


def _has_tasks(path: Path) -> bool:
    reader = JournalReader(path)
    reader.advance()
    return reader.state is not None and bool(reader.state.held or reader.state.ended)


def _settle(farm: Farm, dead: list[_Dead], patience: float) -> Recovery:
    """Bring the tasks of dead farmers to where they belong; of those that left, or live by other locks, nothing is known."""
    others = OpenJournals(farm.workdir.farmers, {farmer.reader.path for farmer in dead})
    recorded = Recorded(farm)
    others.advance()
    recorded.advance()  # the long way, without the lock; what comes after is short
    with farm.lock.held(patience):
        farm.catalog.advance()
        recorded.advance()
        others.advance()
        present = [one for one in dead if is_there(one.reader.path) and all(life.is_in_place() for life in one.locks)]
        settled = [farmer for farmer in present if _is_known(farm, farmer)]
        states = [farmer.state for farmer in settled if farmer.state is not None]
        _record(farm, states, recorded.flags)
        strike_out(farm, {task_id for state in states for task_id in state.ended})
        tasks = _give_back(farm, settled, others.held(), recorded.flags)
        workdir = farm.workdir
        for path in (workdir.toprocess, workdir.added, workdir.finished, workdir.failed, workdir.removed):
            sync_file(path)  # lines that the dead farmers wrote, and that nothing was appended to
        for farmer in settled:
            if farmer.is_lost:
                append_record(farmer.reader.path, "gone", cause=Cause.NODE_LOST)
            close_journal(farmer.reader.path)
    for farmer in settled:
        if farmer.state is not None:
            how = "; its node was lost" if farmer.is_lost else ""
            log.info("recovered %s: %d tasks were in its hands%s", farmer.state.identity.label, len(farmer.state.held), how)
        for life in reversed(farmer.locks):
            with suppress(FileNotFoundError):
                life.path.unlink()
    nodes = {farmer.state.identity.host for farmer in settled if farmer.is_lost and farmer.state is not None}
    return Recovery(len(settled), tasks, len(present) - len(settled), nodes=sorted(nodes))


def _is_known(farm: Farm, farmer: _Dead) -> bool:
    """Whether all its tasks are tasks of this work directory."""
    state = farmer.state
    return state is None or all(task_id < len(farm.catalog) for task_id in (*state.held, *state.ended))


def _record(farm: Farm, states: list[JournalState], recorded: bytearray) -> None:
    """Append the outcomes that the dead farmers had no time to record."""
    for path, is_finished in ((farm.workdir.finished, True), (farm.workdir.failed, False)):
        ids = {task_id for state in states for task_id, code in state.ended.items() if (code == 0) == is_finished}
        missing = [task_id for task_id in sorted(ids) if not recorded[task_id]]
        if missing:
            append_tasks(path, [Task(task_id, farm.catalog[task_id]) for task_id in missing], farm.lock.confirm)
        for task_id in missing:
            recorded[task_id] = 1


def _give_back(farm: Farm, dead: list[_Dead], elsewhere: set[int], recorded: bytearray) -> int:
    """Append to `toprocess` what was in the dead farmers' hands and is nowhere else; return how many tasks."""
    states = [(farmer, farmer.state) for farmer in dead if farmer.state is not None]
    held = {task_id for _, state in states for task_id in state.held if not recorded[task_id]} - elsewhere
    if not held:
        return 0
    to_do = {task_id for path in (farm.workdir.toprocess, farm.workdir.added) for task_id in listed_in(farm, path, held)}
    lost: set[int] = set()
    for farmer, state in states:
        # If some of the tasks that it took last are still on the list, it died before it cut them off, and those that are
        # not there any more were taken by others since. Its journal must say so before the list changes again.
        if state.suspect:
            gone = sorted(state.suspect - to_do) if state.suspect & to_do else []
            append_record(farmer.reader.path, "given", ids=gone)
            lost |= state.held.difference(gone)  # what others took may have been another dead one's
        else:
            lost |= state.held
    from taskfarmer_mpi.upkeep.crashes import fail_crashers, note_attempts

    back = held & lost - to_do
    attempts = note_attempts(farm, [state for _, state in states], back)
    back -= fail_crashers(farm, [(farmer.reader.path, state) for farmer, state in states], back, attempts)
    if farm.workdir.cancels.exists():
        from taskfarmer_mpi.changes.cancellation import remove_cancelled

        back -= remove_cancelled(farm, [state for _, state in states], back)
    give_back_tasks(farm, [Task(task_id, farm.catalog[task_id]) for task_id in back])
    return len(back)
