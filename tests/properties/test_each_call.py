"""Each operation is hit at each of its system calls, by each fate; the others go on, and the list comes to its end."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, product

import pytest
from fakes import ids_in

from properties.kernel import Fate, Fault
from properties.test_protocol import Protocol

_CUT = 9
"""Number of the call by which a visit that only takes tasks cuts the list."""
Operation = Callable[[Protocol, Fault], None]


def _visit(farm: Protocol, fault: Fault) -> None:
    """Record outcomes of both kinds, and take tasks."""
    farm.work(which=0, tasks=3, codes=[0, 1], is_recorded=False)
    farm.visit(which=0, tasks=2, fault=fault)


def _give_back(farm: Protocol, fault: Fault) -> None:
    """Give tasks back, one of which came later."""
    farm.add(tasks=2, fault=None)
    farm.work(which=0, tasks=6, codes=[0], is_recorded=True)
    farm.visit(which=0, tasks=1, fault=None)
    farm.drop_all(which=0, fault=None)
    farm.visit(which=0, tasks=0, fault=fault)


def _give_back_what_waits(farm: Protocol, fault: Fault) -> None:
    """Give back what waits behind a task that runs."""
    farm.visit(which=0, tasks=3, fault=None)
    farm.start(which=0, most=1, fault=None)
    farm.give_back_queue(which=0, fault=fault)


def _recovery(farm: Protocol, fault: Fault) -> None:
    """Recover one that died with tasks and outcomes, and of one that died before the cut."""
    farm.birth(fault=None)
    farm.birth(fault=None)
    farm.work(which=1, tasks=2, codes=[0], is_recorded=False)
    farm.visit(which=2, tasks=2, fault=Fault(Fate.KILLED, _CUT, 0.0))
    journal = farm.journals()[-1].read_text().splitlines()
    assert '"taken"' in journal[-1], "it died between its journal and the cut"
    assert len(ids_in(farm.world.workdir.toprocess)) == 4
    farm.death(which=1)
    farm.recover(which=0, fault=fault)


def _retry(farm: Protocol, fault: Fault) -> None:
    """Try again what finished and what failed."""
    farm.work(which=0, tasks=4, codes=[0, 1, 0, 1], is_recorded=True)
    farm.retry(ids={0, 1, 3}, fault=fault)


def _retry_for_both_stacks(farm: Protocol, fault: Fault) -> None:
    """Try tasks that were removed, of which one came later."""
    farm.add(tasks=1, fault=None)
    farm.remove(ids={0, 6}, fault=None)
    farm.retry(ids={0, 6}, fault=fault)


def _add(farm: Protocol, fault: Fault) -> None:
    """Add tasks."""
    farm.add(tasks=3, fault=fault)


def _remove(farm: Protocol, fault: Fault) -> None:
    """Take tasks off both stacks; others of them are in a farmer's hands."""
    farm.add(tasks=2, fault=None)
    farm.work(which=0, tasks=2, codes=[0], is_recorded=False)
    farm.remove(ids={0, 1, 3, 5, 6}, fault=fault)


def _cancel(farm: Protocol, fault: Fault) -> None:
    """Record tasks as cancelled that waited for a slot, beside outcomes and tasks that go back."""
    farm.work(which=0, tasks=2, codes=[0], is_recorded=False)
    farm.visit(which=0, tasks=3, fault=None)
    farm.cancel(which=0, ids={2, 4})
    farm.visit(which=0, tasks=1, fault=fault)


def _birth(farm: Protocol, fault: Fault) -> None:
    """Start, with new lines in the tasklist."""
    farm.grow(tasks=2)
    farm.birth(fault=fault)


def _leave(farm: Protocol, fault: Fault) -> None:
    """Leave with nothing in hand."""
    farm.work(which=0, tasks=1, codes=[0], is_recorded=True)
    farm.leave(which=0, fault=fault)


def _visit_after_a_cut(farm: Protocol, fault: Fault) -> None:
    """Visit the lists as one that was cut off, after others have taken over its tasks."""
    farm.birth(fault=None)
    farm.work(which=0, tasks=2, codes=[0], is_recorded=False)
    farm.cut(which=0)
    farm.recover(which=1, fault=None)
    farm.work(which=1, tasks=1, codes=[0], is_recorded=True)
    farm.visit(which=0, tasks=1, fault=fault)


_OPERATIONS: list[Operation] = [
    _visit,
    _give_back,
    _give_back_what_waits,
    _recovery,
    _retry,
    _retry_for_both_stacks,
    _add,
    _remove,
    _cancel,
    _birth,
    _leave,
    _visit_after_a_cut,
]

_FATES = [*product((Fate.KILLED, Fate.CUT_OFF), (0.0, 0.1, 1.0)), *product([Fate.POWER], (0.0, 0.1, 0.2, 0.3, 1.0))]


def _play(operation: Operation, fault: Fault) -> int:
    """Let an operation meet a fault, and the others go on; return how many calls it has had."""
    farm = Protocol()
    try:
        farm.begin(tasks=6)
        farm.birth(fault=None)
        operation(farm, fault)
        calls = farm.last_calls
        if farm.farmers:
            farm.work(which=0, tasks=9, codes=[0, 0], is_recorded=True)
        farm.nothing_is_wrong()
    finally:
        farm.teardown()
    return calls


@pytest.mark.parametrize(("fate", "share"), _FATES, ids=lambda value: getattr(value, "name", value))
@pytest.mark.parametrize("operation", _OPERATIONS, ids=lambda operation: operation.__name__[1:])
def test_the_list_comes_to_its_right_end_whatever_happens_at_any_call(
    operation: Operation, fate: Fate, share: float
) -> None:
    """`share` is which part of a write is done, and tenths of it say what a loss of power takes (`Kernel.lose_power`)."""
    for call in count():
        if _play(operation, Fault(fate, call, share)) <= call:
            break
    print(f"{operation.__name__[1:]}: {fate.value} at each of {call} calls")
    assert call > 0
