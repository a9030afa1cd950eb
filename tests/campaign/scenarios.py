"""What happened to farms on NFS when a node was cut off or lost, one scenario each; all end with the checker.

A scenario gets a farm maker and returns what is wrong afterwards; nothing if the promise was kept.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from helpers import Process, Site, wait_for

from campaign.nfs import LEASE, NFSFarm, Nodes

DEADLINE = 300.0
"""How long farmers may take for what is left [s]."""
SHORT = 0.5 * LEASE
"""How long a node that is not busy can be cut off and keep its tasks [s]: packets go again after pauses that double."""
NO_ANSWER = "had no answer of its file system"
"""What a farmer says whose node was cut off for longer than its lease."""


@dataclass(frozen=True)
class Setting:
    """Where and how a scenario is played."""

    site: Site
    nodes: Nodes
    seed: int
    call: str = ""
    """System call before which a farmer halts."""
    nth: int = 0
    file: str = ""
    """File in the work directory; calls with others do not count."""
    cut: float = 2.0 * LEASE
    """How long a node is cut off that halts before a call [s]."""
    seen: list[str] = field(default_factory=list)
    """At which calls nodes were really cut off."""

    def farm(self, count: int, least: float, most: float) -> NFSFarm:
        """Make a list of tasks that last from `least` to `most` seconds; every tenth fails."""
        chance = random.Random(self.seed)
        return self.farm_of([chance.uniform(least, most) for _ in range(count)])

    def wait(self, most: float) -> None:
        """Wait for up to `most` seconds: the seed chooses the moment."""
        time.sleep(random.Random(f"moment {self.seed}").uniform(0, most))

    def farm_of(self, seconds: list[float]) -> NFSFarm:
        """Make a list of tasks that last so long [s]; every tenth fails."""
        codes = [3 if task_id % 10 == 9 else 0 for task_id in range(len(seconds))]
        return NFSFarm(self.site, self.nodes, f"s{self.seed}-{time.monotonic_ns()}", seconds, codes)


def finish(farm: NFSFarm, *farmers: Process) -> list[str]:
    """Wait for farmers, have the rest done, and return what the checker finds."""
    for farmer in farmers:
        farmer.wait(DEADLINE)
    last = farm.farm("node2", "last", "-n", "4")
    code = last.wait(DEADLINE)
    found = farm.faults()
    if code not in (0, 1):
        found.append(f"the last farmer ended with {code}: {last.stderr.strip().splitlines()[-1:]}")
    return [*found, *(f"left behind: {line}" for line in farm.leftovers())]


def was_without_answer(farmer: Process) -> bool:
    """Whether a farmer says that it was cut off for as long as the lease lets it run tasks: 5/6 of it."""
    spans = re.findall(rf"{NO_ANSWER} for ([\d.]+) s", farmer.stderr)
    return any(float(span) >= 0.83 * LEASE for span in spans)


def cut_with_lock(setting: Setting, call: str = "fdatasync", nth: int = 3, file: str = "finished") -> list[str]:
    """Cut a node off while it holds the lock, halted before one of its calls.

    After a short cut nothing may run again, unless the node had no answer for nearly the lease nevertheless, and says so.
    """
    if setting.call:
        call, nth, file = setting.call, setting.nth, setting.file
    farm = setting.farm(60, 0.05, 0.3)
    first = farm.farm("node1", "cut", "-n", "2", prefix=farm.halting(call, nth, setting.cut + 4, file))
    second = farm.farm("node2", "other", "-n", "2")
    farm.wait_until_halted("node1", "cut")
    if setting.cut > SHORT:
        farm.notes.excuse("cut", "cut off")
    setting.nodes.cut_for("node1", setting.cut)
    if first.wait(DEADLINE) == 75 and was_without_answer(first):
        farm.notes.excuse("cut", "cut off")
    found = finish(farm, first, second)
    setting.seen.append(farm.halted_call())
    if found:
        found.append(f"the node that was cut off ended with {first.wait(1)} and said: {first.stderr.strip()}")
    return found


def cut_before_truncate(setting: Setting) -> list[str]:
    """Cut a node off for longer than the lease, with the lock, before it takes tasks off the list."""
    return cut_with_lock(setting, "ftruncate", 4, "toprocess")


def cut_while_tasks_run(setting: Setting) -> list[str]:
    """Cut a node off for longer than the lease while its tasks run for longer still, and another farmer comes."""
    farm = setting.farm(2, 40.0, 40.0)
    first = farm.farm("node1", "cut", "-n", "2")
    farm.wait_until_running("cut", 2)
    setting.wait(5)
    farm.notes.excuse("cut", "cut off")
    setting.nodes.cut("node1")
    time.sleep(LEASE + 2)
    second = farm.farm("node2", "other", "-n", "2")
    time.sleep(LEASE)
    setting.nodes.join("node1")
    found = finish(farm, first, second)
    if first.wait(1) != 75 or NO_ANSWER not in first.stderr:
        found.append(f"the node that was cut off ended with {first.wait(1)} and said: {first.stderr.strip()}")
    return found


def kill_after_healed_cut(setting: Setting) -> list[str]:
    """Cut a node off, join it, then kill farmer and guardian there: its tasks must end before others get them."""
    farm = setting.farm_of([60.0, 60.0, *[3.0] * 30])
    first = farm.farm("node1", "cut", "-n", "4", "--lease", "0")
    farm.wait_until_running("cut", 4)
    setting.wait(5)
    farm.notes.excuse("cut", "cut off")
    setting.nodes.cut("node1")
    time.sleep(2.2 * LEASE)
    # who gets its lock makes the server forget all of the node, but only a farmer that recovers declares it dead
    asked = farm.start("node2", "asks", "sh", "-c", "flock -w 30 tasks_workdir/lock.*.alive echo got")
    assert asked.wait(DEADLINE) == 0, asked.said()
    setting.nodes.join("node1")
    seen = len(farm.notes.started())
    # visits take the lock `alive` again, unless the farmer has noticed by its journal that it lost its locks
    wait_for(lambda: len(farm.notes.started()) > seen + 1 or not first.is_running(), deadline=60, what="visits, or an end")
    # stopped first, or it would start another guardian; in brackets, or these words would find themselves
    farmer, guardian = "[-]m taskfarmer_mpi", "guardian[.]py"
    kill = f"pkill -STOP -f '{farmer}'; pkill -KILL -f '{guardian}'; pkill -KILL -f '{farmer}'"
    setting.nodes.run("node1", "sh", "-c", kill, cwd="/")
    second = farm.farm("node2", "other", "-n", "4")
    return finish(farm, first, second)


def dry_beside_dead_node(setting: Setting) -> list[str]:
    """Lose a node with tasks in its hands when another one runs dry: who ends with 0 or 1 says that all is recorded."""
    farm = setting.farm(16, 2.0, 3.0)
    first = farm.farm("node1", "lost", "-n", "2")
    second = farm.farm("node2", "other", "-n", "2")
    farm.wait_until_ended(4)  # the other one has work for some seconds more
    farm.wait_until_running("lost", 1)
    setting.wait(3)
    farm.notes.excuse("lost", "node lost")
    setting.nodes.kill("node1")
    code = second.wait(DEADLINE)
    faults = [fault for fault in farm.faults() if not fault.startswith("timeline.json")]  # left to whoever is last
    found = [f"after exit code {code}: {fault}" for fault in faults] if code in (0, 1) else []
    setting.nodes.boot("node1")
    return found + finish(farm, first)


SCENARIOS: dict[str, Callable[[Setting], list[str]]] = {
    scenario.__name__.replace("_", "-"): scenario
    for scenario in (cut_with_lock, cut_before_truncate, cut_while_tasks_run, kill_after_healed_cut, dry_beside_dead_node)
}
