"""Whatever happens in whatever order, each task is recorded once, and none is ever in two hands."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fakes import ids_in
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from properties.actors import PATIENCE, Farmer, PlainFarmer, World, add, remove, retry
from properties.kernel import Fate, Fault, Killed
from properties.profiles import IS_LONG
from taskfarmer_mpi.errors import FarmError, ShortageError, UserError
from taskfarmer_mpi.upkeep import recovery
from taskfarmer_mpi.upkeep.census import reclaim
from taskfarmer_mpi.workdir.journal_reading import open_journals

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
"""Where files cost nothing; what is on disk is the simulated kernel's matter."""

_FAULT = st.one_of(
    st.none(), st.builds(Fault, st.sampled_from(Fate), st.integers(0, 30), st.sampled_from([0.0, 0.3, 0.9, 1.0]))
)
_CODE = st.sampled_from([0, 0, 1])
_WHICH = st.integers(0, 7)


class Protocol(RuleBasedStateMachine):
    """Farmers and commands on one work directory, which die, lose their locks and lose what was not on disk."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY))
        self.farmers: list[Farmer] = []
        self.plain: list[PlainFarmer] = []
        self.orphans: list[Farmer] = []
        """Dead farmers whose tasks live."""
        self.has_plain_losses = False
        """Whether a plain farmer died with a task, or while it rewrote the list."""
        self.interrupted: set[str] = set()
        """Who died in the middle of an operation: what it did is not known before it is recovered."""
        self.is_checked = True
        """Whether a farmer of ours was started since the last loss of power."""
        self.last_calls = 0
        """How many calls the last operation made."""
        self._names = (f"actor{number}" for number in count())
        self._patches = ExitStack()
        self.is_begun = False

    @initialize(tasks=st.integers(1, 9))
    def begin(self, tasks: int) -> None:
        self.is_begun = True
        self.world = World(self.folder, tasks)
        self._patches.enter_context(self.world.kernel.patched())
        self._patches.enter_context(pytest.MonkeyPatch.context()).setattr(recovery, "find_processes", lambda _: [])
        self.world.prepared("the first")

    def _act(self, actor: str, operation: Callable[[], Any], fault: Fault | None = None) -> bool:
        """Let one process do something, and die of it if that is its fate; return whether it came to its end."""
        kernel = self.world.kernel
        kernel.meanwhile = lambda: self._others_go_on(actor)
        try:
            with kernel.acting(actor, fault):
                operation()
        except Killed:
            self.last_calls = kernel.last_calls
            self.interrupted.add(actor)
            if fault is not None and fault.fate is Fate.POWER:
                self._lose_power(round(fault.share * 10))
            else:
                self._bury(actor)
        except (FarmError, UserError, OSError) as error:
            self.last_calls = kernel.last_calls
            if actor not in kernel.was_cut:
                raise
            if not isinstance(error, ShortageError):
                self.interrupted.add(actor)
                self._bury(actor)
        else:
            self.last_calls = kernel.last_calls
            return True
        return False

    def _others_go_on(self, cut_off: str) -> None:
        """Have another farmer take over and work while one is cut off; the lease has seen to it that its tasks died."""
        self._see_cut(cut_off)
        others = [farmer for farmer in self.farmers if farmer.name != cut_off]
        name = others[0].name if others else next(self._names)
        with self.world.kernel.acting(name):
            if not others:
                others = [Farmer(self.world, name)]
                self.farmers.append(others[0])
            others[0].recover()
            try:
                others[0].visit(2)
                others[0].start()
            except FarmError:
                if name not in self.world.kernel.was_cut:
                    raise
        self.world.truth.see_others()

    def _see_cut(self, name: str) -> None:
        for farmer in self.farmers:
            if farmer.name == name:
                farmer.may_start = False
                farmer.tasks.back += [farmer.task(task_id) for task_id in farmer.running()]
        self.world.truth.interrupt(name)
        self.world.truth.see_retry()

    def _bury(self, actor: str) -> None:
        self.world.kernel.bury(actor)
        self.world.truth.interrupt(actor)
        self.farmers = [farmer for farmer in self.farmers if farmer.name != actor]
        self.plain = [farmer for farmer in self.plain if farmer.name != actor]

    def _lose_power(self, seed: int) -> None:
        self.is_checked = False
        everyone: list[Farmer | PlainFarmer] = [*self.farmers, *self.plain, *self.orphans]
        self.has_plain_losses |= any(farmer.task is not None for farmer in self.plain)
        self.orphans.clear()
        for actor in {*self.interrupted, *(farmer.name for farmer in everyone)}:
            self._bury(actor)
        self.interrupted.update(farmer.name for farmer in everyone)
        self.world.kernel.lose_power(seed)
        self.world.truth.lose_power()

    # -- farmers ------------------------------------------------------------------------------------

    def _farmer(self, which: int) -> Farmer:
        return self.farmers[which % len(self.farmers)]

    @precondition(lambda self: len(self.farmers) < 3)
    @rule(fault=_FAULT)
    def birth(self, fault: Fault | None) -> None:
        name = next(self._names)
        self.is_checked |= self._act(name, lambda: self.farmers.append(Farmer(self.world, name)), fault)

    @precondition(lambda self: self.farmers)
    @rule(which=_WHICH, tasks=st.integers(0, 4), fault=_FAULT)
    def visit(self, which: int, tasks: int, fault: Fault | None) -> None:
        farmer = self._farmer(which)
        self._act(farmer.name, lambda: farmer.visit(tasks), fault)

    @precondition(lambda self: self.farmers)
    @rule(which=_WHICH, tasks=st.integers(1, 4), codes=st.lists(_CODE, min_size=1, max_size=4), is_recorded=st.booleans())
    def work(self, which: int, tasks: int, codes: list[int], is_recorded: bool) -> None:
        """Take tasks and run some of them, as farmers do most of the time."""
        farmer = self._farmer(which)

        def live() -> None:
            farmer.visit(tasks)
            farmer.start()
            for task_id, code in zip(farmer.running(), codes, strict=False):
                farmer.end(task_id, code)
            if is_recorded:
                farmer.visit(0)

        self._act(farmer.name, live)

    @precondition(lambda self: self.farmers)
    @rule(which=_WHICH, most=st.sampled_from([1, 99]), fault=_FAULT)
    def start(self, which: int, most: int, fault: Fault | None) -> None:
        farmer = self._farmer(which)
        self._act(farmer.name, lambda: farmer.start(most), fault)

    @precondition(lambda self: self.farmers)
    @rule(which=_WHICH, fault=_FAULT)
    def give_back_queue(self, which: int, fault: Fault | None) -> None:
        farmer = self._farmer(which)
        self._act(farmer.name, farmer.give_back_queue, fault)

    @precondition(lambda self: any(farmer.running() for farmer in self.farmers))
    @rule(which=_WHICH, code=_CODE, fault=_FAULT)
    def end(self, which: int, code: int, fault: Fault | None) -> None:
        busy = [(farmer, task_id) for farmer in self.farmers for task_id in farmer.running()]
        farmer, task_id = busy[which % len(busy)]
        self._act(farmer.name, lambda: farmer.end(task_id, code), fault)

    @precondition(lambda self: self.farmers)
    @rule(which=_WHICH, fault=_FAULT)
    def drop_all(self, which: int, fault: Fault | None) -> None:
        farmer = self._farmer(which)
        self._act(farmer.name, farmer.drop_all, fault)

    @precondition(lambda self: self.farmers)
    @rule(which=_WHICH, fault=_FAULT)
    def recover(self, which: int, fault: Fault | None) -> None:
        farmer = self._farmer(which)
        self._act(farmer.name, farmer.recover, fault)

    @precondition(lambda self: any(not farmer.tasks and not farmer.running() for farmer in self.farmers))
    @rule(which=_WHICH, fault=_FAULT)
    def leave(self, which: int, fault: Fault | None) -> None:
        idle = [farmer for farmer in self.farmers if not farmer.tasks and not farmer.running()]
        farmer = idle[which % len(idle)]
        if self._act(farmer.name, farmer.leave, fault):
            self.farmers.remove(farmer)

    @precondition(lambda self: self.farmers)
    @rule(which=_WHICH)
    def death(self, which: int) -> None:
        self._bury(self._farmer(which).name)

    @precondition(lambda self: any(farmer.running() for farmer in self.farmers))
    @rule(which=_WHICH)
    def death_with_living_tasks(self, which: int) -> None:
        busy = [farmer for farmer in self.farmers if farmer.running()]
        farmer = busy[which % len(busy)]
        farmer.lose_life()
        self.farmers.remove(farmer)
        self.orphans.append(farmer)

    @precondition(lambda self: self.orphans)
    @rule()
    def orphans_end(self) -> None:
        self._bury(self.orphans.pop().name)

    @precondition(lambda self: self.farmers)
    @rule(which=_WHICH)
    def cut(self, which: int) -> None:
        farmer = self._farmer(which)
        self._see_cut(farmer.name)
        self.world.kernel.cut_off(farmer.name)

    @rule(seed=st.integers(0, 5))
    def power(self, seed: int) -> None:
        self._lose_power(seed)

    # -- commands -----------------------------------------------------------------------------------

    @rule(tasks=st.integers(1, 3), fault=_FAULT)
    def add(self, tasks: int, fault: Fault | None) -> None:
        name = next(self._names)
        self._act(name, lambda: add(self.world, name, tasks), fault)

    @rule(tasks=st.integers(1, 2))
    def grow(self, tasks: int) -> None:
        """Append lines to the tasklist, which the next birth sees."""
        with self.world.tasklist.open("a") as file:
            file.writelines(f"more {number}\n" for number in range(tasks))

    @rule(ids=st.none() | st.sets(st.integers(0, 9), min_size=1, max_size=4), fault=_FAULT)
    def retry(self, ids: set[int] | None, fault: Fault | None) -> None:
        name = next(self._names)
        self._act(name, lambda: retry(self.world, name, ids), fault)

    @rule(ids=st.sets(st.integers(0, 9), min_size=1, max_size=4), fault=_FAULT)
    def remove(self, ids: set[int], fault: Fault | None) -> None:
        name = next(self._names)
        self._act(name, lambda: remove(self.world, name, ids), fault)

    @precondition(lambda self: self.farmers)
    @rule(which=_WHICH, ids=st.sets(st.integers(0, 9), min_size=1, max_size=4))
    def cancel(self, which: int, ids: set[int]) -> None:
        farmer = self._farmer(which)
        self._act(farmer.name, lambda: farmer.cancel(ids))

    @precondition(lambda self: all(farmer.task is None for farmer in self.plain))
    @rule(fault=_FAULT)
    def reclaim(self, fault: Fault | None) -> None:
        name = next(self._names)
        self._act(name, lambda: reclaim(self.world.farm(name), PATIENCE), fault)

    # -- plain farmers ------------------------------------------------------------------------------

    def _may_be_mistaken(self) -> bool:
        """Whether a plain farmer could hide what a farmer that died had done; docs/design.md says so."""
        names = [path.stem for path in self.journals()]
        return not self.is_checked or any(name in self.interrupted or name.startswith("ctl-") for name in names)

    def journals(self) -> list[Path]:
        """Return the journals of those that live, or are not recovered yet."""
        return open_journals(self.world.workdir.farmers)

    def _plain_act(self, farmer: PlainFarmer, operation: Callable[[], Any], fault: Fault | None) -> None:
        if fault is not None:
            fault = Fault(Fate.KILLED, fault.call, 0.0)
        if not self._act(farmer.name, operation, fault):
            self.has_plain_losses = True

    @precondition(lambda self: len(self.plain) < 2)
    @rule()
    def join(self) -> None:
        self.plain.append(PlainFarmer(self.world, next(self._names)))

    @precondition(lambda self: any(farmer.task is None for farmer in self.plain) and not self._may_be_mistaken())
    @rule(fault=_FAULT)
    def pop(self, fault: Fault | None) -> None:
        farmer = next(farmer for farmer in self.plain if farmer.task is None)
        self._plain_act(farmer, farmer.pop, fault)

    @precondition(lambda self: any(farmer.task is not None for farmer in self.plain))
    @rule(code=_CODE)
    def plain_end(self, code: int) -> None:
        farmer = next(farmer for farmer in self.plain if farmer.task is not None)
        self._plain_act(farmer, lambda: farmer.end(code), None)

    @precondition(lambda self: any(farmer.task is not None for farmer in self.plain) and not self._may_be_mistaken())
    @rule(fault=_FAULT)
    def plain_stop(self, fault: Fault | None) -> None:
        farmer = next(farmer for farmer in self.plain if farmer.task is not None)
        self._plain_act(farmer, farmer.put_back, fault)

    @precondition(lambda self: self.plain)
    @rule()
    def plain_death(self) -> None:
        self.has_plain_losses |= self.plain[-1].task is not None
        self._bury(self.plain[-1].name)

    # -- what must hold -----------------------------------------------------------------------------

    @invariant()
    def nothing_is_wrong(self) -> None:
        if self.is_begun:
            self.world.truth.check()

    def teardown(self) -> None:
        """Bring the list to its end with one more farmer, and look what is there."""
        try:
            if self.is_begun:
                self._finish()
        finally:
            for farmer in (*self.farmers, *self.orphans):
                self.world.kernel.bury(farmer.name)
            self._patches.close()
            shutil.rmtree(self.folder)

    def _finish(self) -> None:
        for plain in self.plain:
            if plain.task is not None:
                self._act(plain.name, partial(plain.end, 0))
        for farmer in [*self.farmers, *self.orphans]:
            self._bury(farmer.name)
        self.orphans.clear()
        with self.world.kernel.acting("the last"):
            last = Farmer(self.world, "the last")
            self.farmers.append(last)
            last.recover()
            reclaimed = reclaim(last.farm, PATIENCE)
            assert self.has_plain_losses or not reclaimed, f"in nobody's hands: {reclaimed}"
            self._work_off(last)
            last.recover()
            last.leave()
        workdir = self.world.workdir
        done = [*self.world.truth.recorded(), *self.world.truth.removed()]
        assert sorted(done) == list(range(len(last.farm.catalog)))
        assert ids_in(workdir.toprocess) + ids_in(workdir.added) == []
        assert self.journals() == []

    def _work_off(self, last: Farmer) -> None:
        for _ in range(100):
            last.visit(3)
            if not last.tasks.queue:
                return
            last.start()
            for task_id in last.running():
                last.end(task_id, 0)
        raise AssertionError("the list has no end")


TestProtocol = Protocol.TestCase
TestProtocol.settings = settings(
    max_examples=1500 if IS_LONG else 40,
    stateful_step_count=60 if IS_LONG else 40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def protocol() -> Iterator[Protocol]:
    """Return a model to be played by hand: what a long search found is played here for good."""
    protocol = Protocol()
    yield protocol
    protocol.teardown()


def test_tasks_whose_addition_died_are_on_the_disk_before_they_are_reclaimed(protocol: Protocol) -> None:
    protocol.begin(tasks=1)
    protocol.add(tasks=2, fault=Fault(Fate.KILLED, 6, 1.0))
    protocol.reclaim(fault=None)
    protocol.power(seed=0)


def test_a_retry_may_take_off_what_was_recorded_while_its_node_was_cut_off(protocol: Protocol) -> None:
    protocol.begin(tasks=1)
    protocol.birth(fault=None)
    protocol.work(which=0, tasks=1, codes=[0], is_recorded=False)
    protocol.retry(ids={0}, fault=Fault(Fate.CUT_OFF, 0, 0.0))
    protocol.nothing_is_wrong()
