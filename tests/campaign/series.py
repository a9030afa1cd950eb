"""Plays many scenarios: those of a lane one after the other on the same machines, lanes at the same time."""

from __future__ import annotations

import shutil
import threading
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from helpers import Site

from campaign.losses import LOSSES
from campaign.nfs import LEASE, Nodes
from campaign.ranks import RANKS
from campaign.scenarios import SCENARIOS, Setting

ALL = SCENARIOS | {scenario.__name__.replace("_", "-"): scenario for scenario in (*LOSSES, *RANKS)}


@dataclass(frozen=True)
class Play:
    """One scenario in one setting; fields as those of `Setting`."""

    scenario: str
    version: str = "4.2"
    call: str = ""
    nth: int = 0
    file: str = ""
    cut: float = 2.0 * LEASE
    seed: int = 1
    options: str = ""

    def __str__(self) -> str:
        """Return it in the words of scripts/nfs-scenario."""
        where = f" at {self.call} {self.nth} of {self.file or 'all'}, {self.cut:g} s" if self.call else ""
        return f"{self.scenario}, NFSv{self.version}{self.options and ','}{self.options}{where}, seed {self.seed}"


@dataclass(frozen=True)
class Played:
    """What came of a scenario."""

    play: Play
    faults: list[str]
    """What is wrong; nothing if the promise was kept."""
    seen: list[str] = field(default_factory=list)
    """At which calls nodes were really cut off."""
    seconds: float = 0.0

    def lines(self) -> list[str]:
        """Return what came of it for people: one line, and one for each fault."""
        seen = f" (cut off before: {', '.join(self.seen)})" if self.seen else ""
        verdict = "WRONG" if self.faults else "right"
        return [f"{self.play}: {verdict} after {self.seconds:.0f} s{seen}", *(f"    {fault}" for fault in self.faults)]


def summary(played: Sequence[Played]) -> list[str]:
    """Return what came of scenarios, for people: how many were wrong, and at which calls nodes were cut off."""
    wrong = sum(1 for one in played if one.faults)
    cuts = Counter(call for one in played for call in one.seen)
    return [
        f"{len(played)} scenarios, {wrong} wrong",
        *(f"    cut off {count} times before {call}" for call, count in sorted(cuts.items())),
    ]


class Series:
    """Scenarios that are being played; each has a future with its `Played`."""

    def __init__(self, folder: Path, lanes: Sequence[Sequence[Play]], keep: Path | None = None) -> None:
        """Begin to play; each lane has machines of its own.

        Parameters
        ----------
        folder
            Where farmers leave what they print.
        lanes
            What to play.
        keep
            Where to keep lists and notes of scenarios that fail.
        """
        self._folder = folder
        self._keep = keep
        self._is_closed = False
        self._benches: dict[int, Nodes] = {}
        self.results: dict[Play, Future[Played]] = {play: Future() for lane in lanes for play in lane}
        self._threads = [threading.Thread(target=self._play_lane, args=lane) for lane in enumerate(lanes)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End what is being played, and all machines."""
        self._is_closed = True
        for number in list(self._benches):
            self._stop(number)
        for thread in self._threads:
            thread.join()

    def _play_lane(self, number: int, lane: Sequence[Play]) -> None:
        for play in lane:
            if self._is_closed:
                self.results[play].cancel()
                continue
            begin = time.monotonic()
            faults: list[str] = []
            seen: list[str] = []
            try:
                faults = self._play(self._bench(number, play), play, seen)
            except Exception:  # whatever it is, it is a fault of this scenario only
                faults = traceback.format_exc().splitlines()
            if faults:
                self._stop(number)
            self.results[play].set_result(Played(play, faults, seen, time.monotonic() - begin))
        self._stop(number)

    def _bench(self, number: int, play: Play) -> Nodes:
        """Return the machines of a lane, booted anew if they do not fit."""
        kind = (play.version, play.options)
        if number in self._benches and self._benches[number].kind != kind:
            self._stop(number)
        if number not in self._benches:
            self._benches[number] = Nodes(nodes=2, version=play.version, options=play.options)
        return self._benches[number]

    def _stop(self, number: int) -> None:
        nodes = self._benches.pop(number, None)
        if nodes is not None:
            nodes.stop()

    def _play(self, nodes: Nodes, play: Play, seen: list[str]) -> list[str]:
        folder = self._folder / f"{time.monotonic_ns()}"
        folder.mkdir()
        site = Site(folder)
        setting = Setting(site, nodes, play.seed, play.call, play.nth, play.file, play.cut, seen)
        faults: list[str] = ["interrupted"]
        try:
            faults = ALL[play.scenario](setting)
        finally:
            site.clear()
            if faults and self._keep is not None and not self._is_closed:
                kept = self._keep / f"{play.scenario}-{play.version}-{folder.name}"
                nodes.save(kept)
                shutil.copytree(folder, kept / "said", dirs_exist_ok=True)
        return faults
