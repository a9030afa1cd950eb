"""Kills an operation before each of its system calls in turn; each time a farmer without faults does the rest.

An operation is traced once without faults. It is then killed before each of its calls that change a file, a lock or a
process, from the same state of the work directory, which is put back before each try. Between two such calls there are calls
that only read: a death before one of these leaves what a death before the next changing call leaves. Where it died is read
from its own trace, not from what was intended.
"""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from campaign.calls import Call, changing, killing, read_calls, traced
from campaign.local import Launch, LocalFarm
from campaign.same_names import NAME

DEADLINE = 120.0
LIMIT = 5
"""How often a call is aimed at that was missed."""
DEAD = (-signal.SIGKILL, 128 + signal.SIGKILL)

Key = tuple[str, str, int]
"""Name of a call, its file, and which such one it is in the operation."""
Pair = tuple[tuple[str, str], tuple[str, str]]
"""A call and the next one: the kind of place between two calls."""


@dataclass(frozen=True)
class Operation:
    """What is killed."""

    name: str
    seconds: tuple[float, ...]
    """The tasks of its list."""
    prepare: Callable[[LocalFarm], None]
    """Brings the list into the state from which it starts."""
    start: Callable[[LocalFarm, list[str]], Launch]
    """Starts it, with words before the command."""
    choose: Callable[[list[Call]], list[Call]]
    """Returns its calls among all of the trace."""
    resume: Callable[[LocalFarm], object] = lambda _: None
    """What a user does after its death, before a farmer does the rest."""


@dataclass
class Deaths:
    """What came of one operation."""

    operation: str
    calls: int
    """How many calls it has that change anything."""
    reading: int = 0
    """How many calls come between them that change nothing."""
    killed: dict[Key, int] = field(default_factory=dict)
    """How often it was killed before each of them."""
    pairs: set[Pair] = field(default_factory=set)
    """Between which two calls it was killed."""
    elsewhere: int = 0
    """How often it died at another call than one of these, or not at all."""
    missed: list[Key] = field(default_factory=list)
    """Calls before which it never died, nor at another time between the same two calls."""
    faults: list[str] = field(default_factory=list)


def keyed(calls: list[Call]) -> Iterator[tuple[Key, Call]]:
    """Return calls with their keys."""
    seen: dict[tuple[str, str], int] = {}
    for call in calls:
        what = (call.name, call.file)
        seen[what] = seen.get(what, 0) + 1
        yield (*what, seen[what]), call


def paired(calls: list[Call]) -> Iterator[tuple[Pair, Key]]:
    """Return the kind of place before each call."""
    before = ("", "")
    for key, _ in keyed(calls):
        yield (before, key[:2]), key
        before = key[:2]


class Killer:
    """Kills one operation again and again."""

    def __init__(self, folder: Path, operation: Operation) -> None:
        """Bring a list into the state from which the operation starts, and trace it once."""
        self._operation = operation
        self._folder = folder
        self._saved = folder.with_name(f"{folder.name}.saved")
        folder.mkdir()
        self._farm = self._new_farm()
        operation.prepare(self._farm)
        self._farm.site.clear()
        shutil.copytree(folder, self._saved, symlinks=True)
        whole = self._trace()
        self._calls = dict(keyed(changing(whole)))
        self._pairs = {key: pair for pair, key in paired(changing(whole))}
        self.deaths = Deaths(operation.name, len(self._calls), len(whole) - len(self._calls))

    def _new_farm(self) -> LocalFarm:
        codes = [3 if index % 4 == 1 else 0 for index in range(len(self._operation.seconds))]
        return LocalFarm(self._folder, self._operation.seconds, codes)

    def _trace(self) -> list[Call]:
        out = self._folder / "whole"
        launch = self._operation.start(self._farm, traced(out))
        launch.process.wait(DEADLINE)
        found = self._operation.choose(read_calls(out, self._farm.workdir))
        assert found, f"{self._operation.name}: nothing to kill it at: {launch.process.said()}"
        self._farm.site.clear()
        return found

    def kill_everywhere(self, step: int = 1) -> Deaths:
        """Kill it before each call, or before each `step`-th one."""
        wanted = list(self._calls.items())[::step]
        self.deaths.calls = len(wanted)
        for shift in range(LIMIT):  # where the number of calls before it differs a little from run to run
            for key, call in wanted:
                if not (key in self.deaths.killed or (shift and self._pairs[key] in self.deaths.pairs)):
                    self._kill(key, call, shift)
        self.deaths.missed = [
            key for key, _ in wanted if key not in self.deaths.killed and self._pairs[key] not in self.deaths.pairs
        ]
        return self.deaths

    def _kill(self, key: Key, call: Call, shift: int) -> None:
        self._restore()
        out = self._folder / "trace"
        path = self._farm.workdir / call.path
        is_known = bool(call.path) and (call.path == call.file or NAME in call.path or "DRAFT" in call.file or path.exists())
        if shift == 1 and is_known:  # how many other files it opens depends on what else lives on this machine
            prefix = killing(out, call.name, call.number_with_path, path)
        else:
            prefix = killing(out, call.name, max(1, call.number + (shift + 1) // 2 * (-1) ** shift))
        launch = self._operation.start(self._farm, prefix)
        self._farm.notes.excuse(launch.label, "SIGKILL")
        code = launch.process.wait(DEADLINE)
        pair: Pair | None = self._pairs[key]
        where: Key | None = key
        if code not in DEAD or "-P" not in prefix:
            pair, where = self._where(out) if code in DEAD else (None, None)
        if pair is not None and where is not None:
            self.deaths.pairs.add(pair)
            self.deaths.killed[where] = self.deaths.killed.get(where, 0) + 1
        else:
            self.deaths.elsewhere += 1
        faults = self._finish(code)
        self.deaths.faults += [f"{self._operation.name} killed before {where or key}: {fault}" for fault in faults]

    def _where(self, trace: Path) -> tuple[Pair, Key] | tuple[None, None]:
        """Return before which call of the operation it died: the last one of its trace."""
        calls = read_calls(trace, self._farm.workdir)
        chosen = changing(self._operation.choose(calls))
        return list(paired(chosen))[-1] if chosen and chosen[-1] is calls[-1] else (None, None)

    def _finish(self, code: int) -> list[str]:
        """Have a farmer do the rest; return what is wrong then."""
        farm = self._farm
        self._operation.resume(farm)
        last = farm.farmer("-n", "2")
        end = last.process.wait(DEADLINE)
        faults = (
            [] if end == 1 else [f"the last farmer ended with {end}, this one with {code}: {last.process.stderr[-400:]}"]
        )
        return [*faults, *farm.faults(), *farm.leftovers()]

    def _restore(self) -> None:
        self._farm.site.clear()
        shutil.rmtree(self._folder)
        shutil.copytree(self._saved, self._folder, symlinks=True)
        self._farm.launches.clear()


def run_all(folder: Path, operations: list[Operation], step: int = 1, lanes: int = 2) -> Iterator[Deaths]:
    """Kill operations everywhere, some at the same time; return what came of each as soon as it is known."""
    left = list(operations)
    done: list[Deaths] = []
    ready = threading.Condition()

    def work() -> None:
        while left:
            operation = left.pop(0)
            deaths = Deaths(operation.name, 0, faults=["interrupted"])
            try:
                deaths = Killer(folder / operation.name, operation).kill_everywhere(step)
            except Exception as error:
                deaths = Deaths(operation.name, 0, faults=[f"{type(error).__name__}: {error}"])
            finally:
                with ready:
                    done.append(deaths)
                    ready.notify()

    for _ in range(lanes):
        threading.Thread(target=work).start()
    for _ in operations:
        with ready:
            ready.wait_for(lambda: bool(done))
            yield done.pop(0)
