"""How many calls to the NFS server a visit makes, and a whole farm; run on a node of the bench, in the shared directory.

python tests/campaign/remote_calls.py MOUNT visit | farm SECONDS  # prints JSON: calls by name, or a list of these
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TASKS, SLOTS = 60, 2
"""The farm: its tasks and its slots."""
VISITS = 12
_ALIKE = {"OPEN_NOATTR": "OPEN", "DELEGRETURN": "CLOSE"}


def counted(mount: str) -> Counter[str]:
    """Return how many calls this node has made for a mount, by name."""
    statistics = Path("/proc/self/mountstats").read_text()
    part = (
        statistics.partition(f" mounted on {mount} with ")[2].partition("\ndevice ")[0].partition("per-op statistics\n")[2]
    )
    calls: Counter[str] = Counter()
    for name, number in re.findall(r"^\s+(\w+): (\d+) ", part, re.MULTILINE):
        calls[_ALIKE.get(name, name)] += int(number)
    return calls


def of_visits(mount: str, folder: Path) -> list[Counter[str]]:
    """Return the calls of visits that record an outcome and take a task, of which the first ones do not count."""
    from fakes import Hand, make_farm, run

    from taskfarmer_mpi.visits.neighbours import Neighbours
    from taskfarmer_mpi.visits.pace import Pace
    from taskfarmer_mpi.visits.tasks_in_hand import TasksInHand
    from taskfarmer_mpi.visits.visit_times import Situation
    from taskfarmer_mpi.visits.visits import Visits

    farm = make_farm(folder, ["sleep 0.3"] * TASKS)
    hand = Hand(farm, "hand")
    farm.lock.keep_open()
    neighbours = Neighbours(hand.journal.path, hand.identity, time.monotonic)
    locks = (hand.task_lock, hand.life)
    visits = Visits(farm, hand.journal, locks, Pace(1), neighbours, 5.0, time.monotonic)
    tasks, found = TasksInHand(), []
    for _ in range(VISITS + 2):
        before = counted(mount)
        situation = Situation(free=1, busy=0, takes_tasks=True, is_stopping=False, is_watching=False, is_dry=False)
        assert visits.visit(tasks, situation) is not None
        found.append(counted(mount) - before)
        tasks.outcomes = [run(farm, task.id, 0) for task in tasks.queue]
        tasks.queue.clear()
        time.sleep(0.1)
    return found[2:]


def of_farm(mount: str, folder: Path, seconds: str) -> Counter[str]:
    """Return the calls of a whole farm whose tasks last so long [s], and its visits under that name."""
    (folder / "tasks").write_text(f"sleep {seconds}\n" * TASKS)
    before = counted(mount)
    subprocess.run(
        [sys.executable, "-m", "taskfarmer_mpi", "-n", str(SLOTS), "tasks"], cwd=folder, check=True, capture_output=True
    )
    calls = counted(mount) - before
    (journal,) = (folder / "tasks_workdir" / "farmers").glob("*.closed")
    calls["visits"] = journal.read_bytes().count(b'\n{"ev":"visit"')
    return calls


def main() -> None:
    """Count, in a new directory."""
    mount, what, *seconds = sys.argv[1:]
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    folder = Path(tempfile.mkdtemp(dir=mount))
    print(json.dumps(of_visits(mount, folder) if what == "visit" else of_farm(mount, folder, *seconds)))


if __name__ == "__main__":
    main()
