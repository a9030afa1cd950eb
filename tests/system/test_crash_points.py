"""A farmer dies at each of its system calls in turn; a restart always brings the list to its end."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from helpers import Process, Site, Stopwatch, Witness, settled, slices, wait_for

TASKS = 6
CALLS = {
    "write": 1,
    "pwrite64": 1,
    "ftruncate": 1,
    "fdatasync": 1,
    "fsync": 1,
    "rename,renameat,renameat2": 1,
    "flock": 1,
    "unlink,unlinkat": 1,
    "openat": 7,
}
"""Each system call at which a farmer dies, and how many calls lie between two deaths."""
RECOVERY_CALLS = ("ftruncate", "fdatasync", "rename,renameat,renameat2", "flock", "unlink,unlinkat", "write")
"""The system calls by which recovery changes anything."""


@dataclass
class _Case:
    """A list whose farmer is to die at one call."""

    site: Site
    strace: str
    calls: str
    number: int

    def __post_init__(self) -> None:
        self._name = f"{self.calls.partition(',')[0]}{self.number}"
        self._released = self.site.path / f"released_{self._name}"
        self._witness = Witness(self.site.path / f"witness_{self._name}")
        witness = f"{self._witness.script} {self._witness.folder}"
        self._long = [f"S=30; test -e {self._released} && S=0; {witness} {i} $S" for i in (TASKS, TASKS + 1)]

    def die_at_work(self) -> bool:
        """Let the farmer die and start it again; return whether it did die."""
        tasks = self._witness.tasks(TASKS, 0.01)
        tasklist = self.site.tasklist(tasks, self._name)
        first = self._doomed(tasklist)
        code = first.wait(60)
        is_killed = code in (-9, 137)
        assert is_killed or code == 0, first.said()
        self._complete(tasklist, tasks)
        return is_killed

    def die_in_recovery(self) -> bool:
        """Let a farmer die with tasks in its hands, and the next one while it recovers them; return whether that did die."""
        tasks = [*self._witness.tasks(TASKS, 0.01), *self._long]
        tasklist = self.site.tasklist(tasks, self._name)
        first = self.site.farm("-n", "2", tasklist)
        wait_for(lambda: {TASKS, TASKS + 1} <= self._witness.runs().keys(), deadline=30, what="the long tasks run")
        first.kill(signal.SIGKILL)
        first.wait(10)
        second = self._doomed(tasklist)
        is_killed = self._dies_before_it_works(second)
        self._released.touch()
        self._complete(tasklist, tasks)
        return is_killed

    def _doomed(self, tasklist: Path) -> Process:
        # without -f only the farmer itself is traced, not what it starts
        fault = f"inject={self.calls}:signal=SIGKILL:when={self.number}"
        prefix = f"{self.strace} -o /dev/null -e trace={self.calls} -e {fault}"
        return self.site.farm("-n", "2", tasklist, prefix=prefix)

    def _dies_before_it_works(self, farmer: Process) -> bool:
        """Wait until a farmer dies or runs a task; kill it in that case; return whether it died by itself."""
        before = self._count_runs()
        wait_for(lambda: not farmer.is_running() or self._count_runs() > before, deadline=60, what="a death or a task")
        if not farmer.is_running():
            return True
        for pid in farmer.farmers():
            os.kill(pid, signal.SIGKILL)
        farmer.wait(10)
        return False

    def _count_runs(self) -> int:
        return sum(map(len, self._witness.runs().values()))

    def _complete(self, tasklist: Path, tasks: list[str]) -> None:
        self.site.farm("-n", "2", "--lock-timeout", "10", tasklist).succeed(60)
        workdir = Path(f"{tasklist}_workdir")
        assert settled(workdir, tasks).failed == []
        assert self._witness.overlaps() == []
        assert sorted(self._witness.runs()) == list(range(len(tasks)))
        traced = Counter(event["args"]["task"] for event in slices(workdir) if event["args"]["outcome"] == "finished")
        assert traced == Counter(range(len(tasks)))


def _count_deaths(cases: Iterator[_Case], die: Callable[[_Case], bool]) -> int:
    """Let farmers die, two at a time, until one of them does not; return how many did."""
    deaths = 0
    with ThreadPoolExecutor(2) as pairs:
        while True:
            killed = list(pairs.map(die, [next(cases), next(cases)]))
            deaths += sum(killed)
            if not all(killed):
                return deaths


@pytest.mark.parametrize("calls", CALLS)
def test_a_restart_completes_the_list_after_death_at_any(calls: str, site: Site, strace: str) -> None:
    watch = Stopwatch()
    cases = (_Case(site, strace, calls, number) for number in count(1, CALLS[calls]))
    deaths = _count_deaths(cases, _Case.die_at_work)
    print(f"{calls}: {deaths} deaths in {watch.read():.0f} s")
    assert deaths > 0


@pytest.mark.parametrize("calls", RECOVERY_CALLS)
def test_a_restart_completes_the_list_after_death_in_recovery_at_any(calls: str, site: Site, strace: str) -> None:
    watch = Stopwatch()
    cases = (_Case(site, strace, calls, number) for number in count(1))
    deaths = _count_deaths(cases, _Case.die_in_recovery)
    print(f"{calls}: {deaths} deaths in recovery in {watch.read():.0f} s")
    assert deaths > 0
