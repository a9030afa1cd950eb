"""What must be true of tasks at any moment, whoever died: kept apart from the code under test."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


def ids_of(path: Path) -> list[int]:
    """Return the IDs of a list's whole lines, in their order."""
    data = path.read_bytes() if path.exists() else b""
    return [int(line.partition(b" ")[0]) for line in data.split(b"\n")[:-1]]


@dataclass
class Truth:
    """Who runs which task, and what came of each."""

    workdir: Path
    running: dict[int, str] = field(default_factory=dict)
    """By whom a task is run at this moment."""
    noted: set[int] = field(default_factory=set)
    """Tasks whose end is known to outlive the death of who ran them."""
    safe: set[int] = field(default_factory=set)
    """Tasks whose outcome was recorded by a visit that came to its end: also a loss of power leaves it."""
    outcomes: defaultdict[int, set[bool]] = field(default_factory=lambda: defaultdict(set))
    """How the runs of a task ended since it was last asked for: whether with 0."""

    before_retry: dict[int, bool] = field(default_factory=dict)
    """What the lists said when a retry began that has not come to its end."""
    is_asked_for: Callable[[int, bool], bool] = lambda *_: False
    """Whether that retry is to take a task with its outcome off the lists."""

    def start(self, task_id: int, owner: str) -> None:
        """Note that a task is run."""
        assert task_id not in self.running, f"task {task_id} runs at {self.running[task_id]} and {owner} at once"
        assert task_id not in self.removed(), f"task {task_id} is run by {owner}, although it was removed"
        assert task_id not in self.noted, f"task {task_id} is run again by {owner}, although its end was noted"
        self.running[task_id] = owner

    def end(self, task_id: int, *, is_finished: bool) -> None:
        """Note how a run ended."""
        del self.running[task_id]
        self.outcomes[task_id].add(is_finished)

    def interrupt(self, owner: str) -> None:
        """Note that all runs of an owner were killed."""
        self.running = {task_id: who for task_id, who in self.running.items() if who != owner}

    def recorded(self) -> dict[int, bool]:
        """Return what the lists say of each task that has ended; each must be there once, as it ended."""
        lines = [(i, True) for i in ids_of(self.workdir / "finished")] + [
            (i, False) for i in ids_of(self.workdir / "failed")
        ]
        counts = Counter(task_id for task_id, _ in lines)
        assert [task_id for task_id, count in counts.items() if count > 1] == [], "recorded twice"
        wrong = {task_id for task_id, is_finished in lines if is_finished not in self.outcomes[task_id]}
        assert not wrong, f"recorded otherwise than they ended: {sorted(wrong)}"
        twice = counts.keys() & set(self.removed())
        assert not twice, f"recorded and removed: {sorted(twice)}"
        return dict(lines)

    def removed(self) -> list[int]:
        """Return the tasks that were taken off the list; each must be there once."""
        ids = ids_of(self.workdir / "removed")
        assert len(ids) == len(set(ids)), "removed twice"
        return ids

    def check(self) -> None:
        """Check what must be true at any moment."""
        lost = self.safe - self.recorded().keys()
        assert not lost, f"outcomes were lost: {sorted(lost)}"

    def see_others(self) -> None:
        """Note what others recorded while a retry is under way: what it is asked for it may find then, and take off."""
        self.before_retry |= {task: how for task, how in self.recorded().items() if self.is_asked_for(task, how)}

    def see_retry(self) -> None:
        """Note what the retry that is under way has taken off the lists."""
        for task_id in self.before_retry.keys() - self.recorded().keys():
            self.outcomes.pop(task_id, None)
            self.noted.discard(task_id)
            self.safe.discard(task_id)

    def lose_power(self) -> None:
        """Note that all runs were killed, and what was not on disk may be gone."""
        self.running.clear()
        self.noted &= self.recorded().keys()
