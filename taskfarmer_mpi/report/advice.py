"""One sentence on how to waste less time next time, computed from what happened. All functions here are pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from operator import itemgetter
from statistics import median

from taskfarmer_mpi.common.causes import JOB_END, TIMEOUT
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.common.wording import count_of, say_duration

SHORT = 0.1
"""Tasks shorter than this spend most of their time on their start [s]."""
WORTH_SAYING = 0.05
"""A part of the slot time from which on it is worth a word."""
FEWER = 0.9
"""So few slots must do, as a part of those that there were, for the advice to ask for fewer."""
MANY_FAILURES = 0.1
"""A part of the tasks from which on their failure is said before all else."""
_SLOTS_TRIED = 2**16
_TASKS_TRIED = 200_000


class Tail(Value):
    """The end of a farm: from when less than half of the slots are busy, for good."""

    length: float
    """[s]"""
    busy: float
    """Mean number of busy slots."""
    slots: float
    """Mean number of slots that there were."""

    @property
    def cost(self) -> float:
        """Slot time in which nothing ran [s]."""
        return self.length * max(self.slots - self.busy, 0.0)


class Cut(Enum):
    """What cut runs short, and how to waste less that way."""

    JOB_END = ("the end of the job", "ask for more time, or let --task-time say how long a task takes")
    TIMEOUT = ("--timeout", "let --task-time say how long a task takes, so that none is started too late")
    STOP = ("a stop", "taskfarmer-ctl stop --drain lets them end")
    DEATH = ("the death of their farmers", "look for what ended these: a node, a limit of memory, a kill")


def find_cut(reason: str | None, *, is_in_batch_job: bool) -> Cut:
    """Return what cut runs short, by why their farmer stopped; None if it did not stop, but died.

    In a batch job SIGUSR1 and SIGTERM come at its end, as a rule.
    """
    if reason is None:
        return Cut.DEATH
    if reason == JOB_END or (is_in_batch_job and reason in ("SIGUSR1", "SIGTERM")):
        return Cut.JOB_END
    return Cut.TIMEOUT if reason == TIMEOUT else Cut.STOP


class Facts(Value):
    """What is known of the last session of a farm."""

    is_done: bool
    """Whether every task has ended; before that nothing is said of the order and the end."""
    durations: Sequence[float]
    """What the last runs of the tasks took, in the order of their starts [s]."""
    births: Sequence[float]
    """When each slot was there, from the session's start [s]."""
    span: float
    """How long the session lasted [s]."""
    busy_time: float
    """Slot time in which tasks ran, of all sessions [s]."""
    offered_time: float
    """Slot time that there was, of all sessions [s]."""
    tail: Tail
    ended: int
    """Tasks that ended."""
    failed: int
    failed_time: float
    """Slot time of the last runs of failed tasks [s]."""
    main_cause: str
    """Why most of them failed; empty if that is not known, as with those that PyTaskFarmers ran."""
    spoilt: Mapping[Cut, float]
    """Slot time of runs that were cut short, by what did it [s]."""


class Advice(Value):
    """A sentence, and which part of the slot time it is about."""

    share: float
    text: str


def find_tail(busy: Sequence[float], offered: Sequence[float], width: float) -> Tail:
    """Return the tail of a farm.

    Parameters
    ----------
    busy, offered
        Busy slots and slots that there were, in equal parts of time.
    width
        Length of such a part [s].
    """
    end = max((i + 1 for i, value in enumerate(busy) if value > 0), default=0)
    peak = max(offered[:end], default=0.0)
    begin = max((i + 1 for i in range(end) if busy[i] >= peak / 2), default=0)
    count = end - begin
    if count <= 0:
        return Tail(0.0, 0.0, peak)
    return Tail(count * width, sum(busy[begin:end]) / count, sum(offered[begin:end]) / count)


def simulate(durations: Iterable[float], births: Iterable[float]) -> float:
    """Return when the last task ends if each free slot takes the next one [s].

    Parameters
    ----------
    durations
        What the tasks take, in the order in which they are started [s].
    births
        When each slot is there [s].
    """
    free = sorted(births)
    last = 0.0
    for duration in durations:
        end = free[0] + duration
        heapq.heapreplace(free, end)
        last = max(last, end)
    return last


def advise_order(facts: Facts) -> Advice | None:
    """Compare the order in which the tasks were started with longest first; both are simulated."""
    if not facts.is_done or not facts.births or not facts.durations or facts.span <= 0:
        return None
    saved = simulate(facts.durations, facts.births) - simulate(sorted(facts.durations, reverse=True), facts.births)
    text = f"Ordering the tasks longest first would have saved about {say_duration(saved)} of {say_duration(facts.span)}."
    return Advice(saved / facts.span, text)


def advise_tail(facts: Facts) -> Advice | None:
    """Look at the slots that had nothing to do at the end, and find how many would have done."""
    tail = facts.tail
    if not facts.is_done or not facts.offered_time or tail.length <= 0:
        return None
    text = f"The last {say_duration(tail.length)} kept {tail.busy:.1f} of {tail.slots:.0f} slots busy: "
    enough = fewest_slots(facts)
    if enough is None:
        text += "ask for fewer nodes, or split the longest tasks."
    elif enough <= FEWER * len(facts.births):
        text += f"with the longest tasks first, {count_of(enough, 'slot')} would have taken no longer. Ask for fewer nodes."
    else:
        text += "start the longest tasks earlier, or split them."
    return Advice(tail.cost / facts.offered_time, text)


def fewest_slots(facts: Facts) -> int | None:
    """Return how many slots finish the tasks, longest first, in the time that they took; None if that is not known."""
    if not 0 < len(facts.durations) <= _TASKS_TRIED or len(facts.births) > _SLOTS_TRIED:
        return None
    longest_first = sorted(facts.durations, reverse=True)
    births = sorted(facts.births)
    low, high = 1, len(births)
    while low < high:
        middle = (low + high) // 2
        if simulate(longest_first, births[:middle]) <= facts.span:
            high = middle
        else:
            low = middle + 1
    return low


def advise_few(facts: Facts) -> Advice | None:
    """Look whether there were fewer tasks than slots."""
    slots, tasks = len(facts.births), len(facts.durations)
    if not facts.is_done or not 0 < tasks < slots:
        return None
    text = f"{count_of(tasks, 'task')} on {slots:,} slots: {slots - tasks:,} slots had nothing to do. Ask for fewer nodes."
    return Advice((slots - tasks) / slots, text)


def advise_short(facts: Facts) -> Advice | None:
    """Look whether tasks are so short that starting them is most of the work; a task for each slot is never too many."""
    if len(facts.durations) <= len(facts.births) or not facts.offered_time or median(facts.durations) >= SHORT:
        return None
    idle = 1 - facts.busy_time / facts.offered_time
    length = say_duration(median(facts.durations))
    return Advice(
        max(idle, 0.5), f"Tasks of {length}: start-up dominates. Put many of them into one task, for example in a loop."
    )


def advise_failures(facts: Facts) -> Advice | None:
    """Look whether many tasks failed."""
    if not facts.ended or not facts.failed:
        return None
    by_number = facts.failed / facts.ended
    by_time = facts.failed_time / facts.busy_time if facts.busy_time else 0.0
    why = f", most often with {facts.main_cause}" if facts.main_cause else ": see the ends of their logs"
    text = f"{count_of(facts.failed, 'task')} of {facts.ended:,} ({100 * by_number:.0f} %) failed{why}."
    return Advice(1 + by_number if by_number >= MANY_FAILURES else by_time, text)


def advise_spoilt(facts: Facts) -> Advice | None:
    """Look at the time of runs that were cut short, and by what most of it was."""
    spoilt = sum(facts.spoilt.values())
    if not facts.offered_time or not spoilt:
        return None
    what, mend = max(facts.spoilt.items(), key=itemgetter(1))[0].value
    text = f"{say_duration(spoilt)} of slot time went into runs that were cut short, most by {what}: {mend}."
    return Advice(spoilt / facts.offered_time, text)


def choose_advice(facts: Facts) -> str:
    """Return the sentence about what cost the most."""
    advisers = (advise_short, advise_few, advise_failures, advise_spoilt, advise_order, advise_tail)
    found = [advice for adviser in advisers if (advice := adviser(facts)) is not None and advice.share >= WORTH_SAYING]
    if found:
        return max(found, key=lambda advice: advice.share).text
    if not facts.ended:
        return "No task has ended yet."
    share = 100 * facts.busy_time / facts.offered_time if facts.offered_time else 0.0
    if share >= 90:
        return f"The slots were busy {share:.0f} % of the time: there is little to gain."
    return f"The slots were busy {share:.0f} % of the time; neither the order of the tasks nor the end of the list is why."
