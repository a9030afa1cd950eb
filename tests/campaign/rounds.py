"""One round of the campaign: farmers of every kind on one list, faults at random moments, then the proof.

All that is chosen comes from the seed; when it meets whom depends on the machine.
"""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from helpers import wait_for

from campaign.calls import CHANGING, ERRORS, excluding_nobody, failing, killing, read_calls, slow, traced
from campaign.journals import tear_journals
from campaign.local import Launch, LocalFarm, pytaskfarmer_script
from campaign.places import COPY, EMPTY, MOVED, READ_ONLY, Mounts, replace_for

DEADLINE = 120.0
"""How long farmers may take for what is left [s]."""
PAUSE = 2.0
"""How long nothing is done to farmers at most [s]."""
ALIVE = 4
"""How many launches work at the same time at most."""
WINDOW = ("ftruncate", "fdatasync", "fsync", "write")
"""Calls at which no farmer of ours dies beside a PyTaskFarmer: between `taken` and the cut of the list nobody can tell later
which of both has the tasks, as docs/design.md says."""
HARMLESS = ("slow sync", "clock set")
"""What is done to a farmer and is no reason for a task to run again."""
NO_LOCK = "a rank whose lock does not exclude"
"""Not the first rank: what that one does before the others prove the lock is done with its own locks only."""
PLACES = (MOVED, EMPTY, COPY, READ_ONLY)
ENDED = (0, 1, 75)
"""How a farmer may end to which nothing was done."""


@dataclass(frozen=True)
class Calls:
    """How many calls of each name a farmer makes."""

    usual: Counter[str]
    """In all."""
    startup: Counter[str]
    """Before it touches the work directory: there they never fail, since Python itself would."""


def count_calls(folder: Path) -> Calls:
    """Count the calls of a farmer, on a list in an empty directory."""
    farm = LocalFarm(folder, [0.05] * 30, [])
    out = farm.trace()
    farm.farmer("-n", "2", prefix=traced(out)).process.succeed(DEADLINE)
    calls = read_calls(out, farm.workdir)
    first = next(index for index, call in enumerate(calls) if call.file)
    farm.site.clear()
    return Calls(Counter(call.name for call in calls), Counter(call.name for call in calls[:first]))


@dataclass
class Report:
    """What a round did and found."""

    seed: int
    faults: list[str] = field(default_factory=list)
    """What is wrong."""
    done: Counter[str] = field(default_factory=Counter)
    """How often each thing was done to farmers."""
    runs: int = 0
    reruns: int = 0
    tasks: int = 0
    reclaimed: int = 0
    """Tasks that a PyTaskFarmer had lost by itself."""
    refused: int = 0
    """Jobs that ended before they began, since a rank found that the lock does not exclude."""
    asked: Counter[str] = field(default_factory=Counter)
    """How often each command was given."""
    oddities: list[str] = field(default_factory=list)
    """What farmers said that is worth a look."""


class Round:
    """A list that is worked through under faults."""

    def __init__(self, folder: Path, seed: int, calls: Calls, elsewhere: Sequence[str] = ()) -> None:
        """Make the list.

        Parameters
        ----------
        folder
            An empty directory.
        seed
            That of all that is chosen.
        calls
            How many calls a farmer makes.
        elsewhere
            Words before a command that has another mount in the place of the directory; half of what is started gets them.
        """
        self._elsewhere = list(elsewhere)
        self._chance = chance = random.Random(seed)
        self._calls = calls
        self.report = Report(seed)
        count = chance.randint(60, 200)
        seconds = [chance.choice((0.0, 0.1, 0.6)) * chance.uniform(0.5, 1.5) for _ in range(count)]
        self._farm = LocalFarm(folder, seconds, [3 if chance.random() < 0.1 else 0 for _ in seconds])
        script = pytaskfarmer_script()
        has_plain = chance.random() < 0.35 and not elsewhere  # on FUSE it is safe beside others of its node only
        self._script = script if has_plain else None
        self._is_torn = chance.random() < 0.3
        self._promised: list[tuple[Launch, list[int]]] = []
        self._mounts: Mounts | None = None
        self._without_lock: list[Launch] = []
        """Jobs with a rank whose lock does not exclude."""
        self._unwanted: set[int] = set()
        """Tasks that somebody asked to be removed or ended."""

    def play(self) -> Report:
        """Do everything; return what came of it."""
        self._mounts = None if self._elsewhere else Mounts.made_here()
        if self._mounts:
            self._farm.around = self._mounts.words(self._farm.folder)
        try:
            self._begin()
            for _ in range(self._chance.randint(16, 30)):
                self._let_work(self._chance.randint(0, 5))
                self._chance.choices((self._start, self._hit, self._command), (4, 6, 2))[0]()
            self._come_to_the_end()
        except AssertionError as error:
            self.report.faults.append(str(error))
        finally:
            self._farm.site.clear()
            if self._mounts:
                self._mounts.close()
        return self.report

    def _begin(self) -> None:
        """Start a farmer, and a PyTaskFarmer beside it."""
        first = self._farm.farmer("-n", "2")
        toprocess = self._farm.workdir / "toprocess"
        wait_for(lambda: toprocess.exists() or not first.process.is_running(), deadline=DEADLINE, what="the list is made")
        if self._script:
            self._start("pytaskfarmer")

    def _let_work(self, runs: int) -> None:
        """Wait until some more tasks have begun, or for a moment."""
        wanted = len(self._farm.notes.started()) + runs
        end = time.monotonic() + PAUSE
        while time.monotonic() < end and len(self._farm.notes.started()) < wanted:
            time.sleep(self._chance.uniform(0.0, 0.05))

    def _wait(self, launch: Launch) -> int:
        """Wait until a launch has ended; return its exit code."""
        try:
            wait_for(lambda: launch not in self._alive(), deadline=DEADLINE, what=f"the end of {launch.label}")
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *map(Launch.describe, self._alive())])) from None
        return launch.process.wait(0)

    # -- what is started ---------------------------------------------------------------------------

    def _alive(self) -> list[Launch]:
        plain = [launch for launch in self._farm.launches if launch.kind == "pytaskfarmer"]
        may_fail = any(launch.fault for launch in plain)  # else one of ours has damaged the timeline
        for launch in plain:
            if (launch.fault and launch.has_lost_a_process()) or (may_fail and launch.has_failed()):
                launch.kill_family()  # what is left of it never ends, and may hold the lock for good
        return [launch for launch in self._farm.launches if launch.process.is_running()]

    def _start(self, kind: str = "") -> None:
        if len(self._alive()) >= ALIVE:
            return
        kind = kind or self._chance.choice(["plain", "ranks", *(["pytaskfarmer"] if self._script else [])])
        fault, prefix = self._choose_fault(kind)
        if self._elsewhere and self._chance.random() < 0.5:
            prefix = [*self._elsewhere, *prefix]
        slots = str(self._chance.randint(1, 3))
        if kind == "pytaskfarmer" and self._script:
            launch = self._farm.pytaskfarmer(self._script, prefix=prefix, fault=fault)
        elif kind == "plain":
            launch = self._farm.farmer("-n", slots, prefix=prefix, fault=fault)
        else:
            victim = 1 if fault == NO_LOCK else self._chance.randrange(2)
            launch = self._farm.ranks(2, "-n", slots, prefix=prefix, victim=victim, fault=fault)
            self._without_lock += [launch] if fault == NO_LOCK else []
        self._note(launch)

    def _note(self, launch: Launch) -> None:
        if launch.fault:
            self.report.done[launch.fault] += 1
        if launch.fault and launch.fault not in HARMLESS:
            self._farm.notes.excuse(launch.label, launch.fault)

    def _choose_fault(self, kind: str) -> tuple[str, list[str]]:
        """Return a fault that is made by the words before a command, and these words."""
        faults = ("", "kill", "error", "slow sync", "few descriptors", "clock set", NO_LOCK)
        fault = self._chance.choices(faults, (4, 5, 4, 1, 1, 1, 1 if kind == "ranks" else 0))[0]
        out = self._farm.trace()
        if kind == "pytaskfarmer":
            if fault != "kill":
                return "", []
            name = self._chance.choice(("toprocess", "timeline.json", "finished"))
            where = ("-f", "-P", str(self._farm.workdir / name))
            number = self._chance.randint(1, 12)
            inject = f"inject=openat,write,close:signal=SIGKILL:when={number}"
            return f"PyTaskFarmer killed at {name}", traced(out, *where, "-e", inject)
        forbidden = WINDOW if self._script else ()
        if fault == "kill":
            call = self._chance.choice([name for name in CHANGING if name not in forbidden])
            return f"killed before {call}", killing(out, call, self._chance.randint(1, self._most(call)))
        if fault == "error":
            call = self._chance.choice([name for name in ERRORS if name not in forbidden])
            error = self._chance.choice(ERRORS[call].split())
            number = self._chance.randint(self._calls.startup[call] + 1, self._most(call))
            return f"{call}: {error}", failing(out, call, error, number)
        if fault == "slow sync":
            return fault, slow(out, 0.3)
        if fault == NO_LOCK:
            return fault, excluding_nobody(out)
        if fault == "clock set":
            wrong, later = (str(self._chance.choice((-86400, -600, 0, 600, 86400))) for _ in range(2))
            after = f"{self._chance.uniform(0.5, 4):.1f}"
            return fault, [sys.executable, str(Path(__file__).with_name("other_clock.py")), wrong, later, after]
        if fault == "few descriptors":
            limit = self._chance.randint(16, 30)
            return fault, ["bash", "-c", f'ulimit -n {limit}; exec "$@"', "limited"]
        return "", []

    def _most(self, call: str) -> int:
        return self._calls.startup[call] + 3 + int(1.5 * (self._calls.usual[call] - self._calls.startup[call]))

    # -- what is done to those at work -------------------------------------------------------------

    def _hit(self) -> None:
        alive = [launch for launch in self._alive() if launch.kind in ("plain", "ranks", "pytaskfarmer")]
        if not alive:
            return
        launch = self._chance.choice(alive)
        if launch.kind == "pytaskfarmer":
            self._farm.notes.excuse(launch.label, "SIGKILL")
            launch.fault = "SIGKILL of a PyTaskFarmer"
            launch.kill_family()
            self.report.done[launch.fault] += 1
            return
        farmers, guardians = launch.process.farmers(), launch.guardians()
        what = self._chance.choices(
            ("farmer", "guardians", "both", "freeze", "place"), (3, 3, 3, 3, 0 if self._script else 4)
        )[0]
        if what == "place":
            self._disturb_place()
            return
        if not farmers:
            return
        farmer = self._chance.choice(farmers)
        if what == "farmer":
            self._kill(launch, [farmer], "SIGKILL of a farmer")
        elif what == "both":
            self._kill(launch, [*guardians, farmer], "SIGKILL of farmer and guardian")
        elif what == "freeze":
            self._freeze(farmer)
        elif guardians:
            self.report.done["SIGKILL of a guardian"] += 1
            _signal(guardians, signal.SIGKILL)

    def _kill(self, launch: Launch, pids: list[int], what: str) -> None:
        self._farm.notes.excuse(launch.label, "SIGKILL")
        launch.fault = what
        self.report.done[what] += 1
        _signal(pids, signal.SIGKILL)

    def _disturb_place(self) -> None:
        """Do something to the work directory for a moment: who notices ends, and nobody makes another one in its place."""
        what, seconds = self._chance.choice(PLACES), self._chance.uniform(0.1, 2.0)
        end = time.monotonic() + PAUSE
        while not self._have_all_begun():  # one that begins has every right to make a work directory
            if time.monotonic() > end:
                return
            time.sleep(0.02)
        if what == READ_ONLY and self._mounts is None:
            return
        alive = self._alive()
        self.report.done[what] += 1
        for launch in alive:
            self._farm.notes.excuse(launch.label, what)
            launch.fault = what
        if what == READ_ONLY and self._mounts is not None:
            with self._mounts.read_only(self._farm.workdir):
                time.sleep(seconds)
        else:
            self.report.faults += replace_for(self._farm.workdir, what, seconds)

    def _have_all_begun(self) -> bool:
        """Whether all that live have journals."""
        journals = " ".join(os.listdir(self._farm.workdir / "farmers"))
        pids = [launch.process.farmers() for launch in self._alive()]
        return all(pids) and all(f"-{pid}-" in journals for each in pids for pid in each)

    def _freeze(self, farmer: int) -> None:
        self.report.done["SIGSTOP, SIGCONT"] += 1
        _signal([farmer], signal.SIGSTOP)
        time.sleep(self._chance.uniform(0.1, 1.5))
        _signal([farmer], signal.SIGCONT)

    # -- commands ----------------------------------------------------------------------------------

    def _command(self) -> None:
        farm = self._farm
        if not (farm.workdir / "farm.ini").exists() or len(self._alive()) > ALIVE:
            return
        name = self._chance.choice(("add", "retry", "trace", "remove", "cancel", "reclaim"))
        if name == "reclaim" and any(launch.kind == "pytaskfarmer" for launch in self._alive()):
            return  # it has tasks in its hands of which no file tells
        fault, prefix = "", []
        if self._chance.random() < 0.6:
            call = self._chance.choice([name for name in CHANGING if not (self._script and name in WINDOW)])
            fault, prefix = (
                f"{name} killed before {call}",
                killing(farm.trace(), call, self._calls.startup[call] + self._chance.randint(1, 12)),
            )
        ids, words = self._choose_words(name)
        launch = farm.command(name, *words, prefix=prefix, fault=fault)
        self._note(launch)
        self.report.asked[name] += 1
        if self._wait(launch) == 0:
            self._promised.append((launch, ids))
        if name == "retry":
            self._note_retry()
        if name == "reclaim" and self._script is None and "back on the list" in launch.process.stdout:
            self.report.faults.append(f"{launch.label}: in nobody's hands, without a PyTaskFarmer: {launch.process.stdout}")

    def _choose_words(self, name: str) -> tuple[list[int], list[str]]:
        """Return the tasks that a command adds, and its words; what it asks for is noted."""
        farm = self._farm
        if name == "add":
            first = farm.listed + len(farm.added_ids())
            ids = list(range(first, first + self._chance.randint(1, 4)))
            return ids, [farm.notes.task(task_id, 0.05) for task_id in ids]
        if name == "retry":
            self._note_retry()
        if name in ("remove", "cancel"):
            chosen = self._chance.sample(range(farm.listed), 3)
            self._unwanted.update(chosen)
            for task_id in chosen:
                farm.notes.unwanted(task_id)
            return [], [*map(str, chosen), *(["--wait", self._chance.choice("05")] if name == "cancel" else [])]
        return [], ["--yes"] if name == "reclaim" else []

    def _note_retry(self) -> None:
        for task_id in (*self._failing(), *self._unwanted):
            self._farm.notes.retried(task_id)

    def _failing(self) -> list[int]:
        lines = self._farm.tasklist.read_text().splitlines()
        return [task_id for task_id, line in enumerate(lines) if not line.endswith(" 0")]

    # -- the proof ---------------------------------------------------------------------------------

    def _come_to_the_end(self) -> None:
        """Let everything end, or kill it, and have one farmer without faults do the rest."""
        farm, report = self._farm, self.report
        if self._is_torn:
            for launch in self._alive():
                farm.notes.excuse(launch.label, "power off")
                launch.fault = "power off"
                launch.kill_family()
            report.done["power off"] += 1
            report.done["torn or zero-filled journal"] += tear_journals(farm.workdir, self._chance)
        for launch in farm.launches:
            self._judge(launch, self._wait(launch))
        lossy = any(launch.kind == "pytaskfarmer" and launch.fault for launch in farm.launches)
        last = farm.farmer("-n", "4", *(["--reclaim"] if lossy else []))
        code = last.process.wait(DEADLINE)
        said = last.process.stderr + last.process.stdout
        if match := re.search(r"(\d+) tasks? .*nobody's hands", said):
            report.reclaimed = int(match[1])
        if code not in (0, 1):
            report.faults.append(f"the last farmer ended with {code}: {said[-400:]}")
        report.faults += [*farm.faults(), *self._broken_promises(), *farm.leftovers()]
        starts = Counter(name.partition(".")[0] for name in farm.notes.started())
        report.tasks, report.runs = len(starts), sum(starts.values())
        report.reruns = report.runs - report.tasks

    def _judge(self, launch: Launch, code: int) -> None:
        """Look how a launch ended, and withdraw its excuse if nothing happened to it after all."""
        stderr = launch.process.stderr
        if "Traceback" in stderr and launch.kind != "pytaskfarmer":
            (self.report.oddities if launch.fault not in ("", *PLACES, "clock set") else self.report.faults).append(
                f"{launch.label} ({launch.fault or 'left in peace'}): {stderr[-600:]}"
            )
        if launch.kind == "pytaskfarmer":
            if code != 0 and not launch.fault:
                launch.fault = "ended by itself"
                self._farm.notes.excuse(launch.label, launch.fault)
            return
        if launch in self._without_lock:
            self.report.refused += code == 2
            said = f"{launch.label} ({NO_LOCK}; {launch.fault}) ended with {code}"
            if any(name.endswith(f".start.{launch.label}") for name in self._farm.notes.started()):
                self.report.faults.append(f"{said} and ran tasks: {stderr[-600:]}")
            elif code != 2:
                self.report.oddities.append(said)
        is_command = launch.kind not in ("plain", "ranks")
        if not launch.fault and code not in ((0, 2, 75) if launch.kind == "cancel" else (0, 2) if is_command else ENDED):
            self.report.faults.append(f"{launch.label}: nothing was done to it, and it ended with {code}: {stderr[-400:]}")
        if launch.kind == "plain" and code in (0, 1) and not launch.fault.startswith("SIGKILL"):
            self._farm.notes.withdraw_excuse(launch.label)

    def _broken_promises(self) -> list[str]:
        """Return the commands that said that they had added tasks which are not there."""
        there = set(self._farm.added_ids())
        return [
            f"{launch.label} ended with 0, but of {ids} not all are there"
            for launch, ids in self._promised
            if {*ids} - there
        ]


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
