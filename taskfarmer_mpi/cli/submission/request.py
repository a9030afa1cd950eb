"""What a batch job asks for: what the user says, else what an earlier run tells, else what the script has."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from taskfarmer_mpi.cli.submission.times import encode_time, read_limit
from taskfarmer_mpi.common.programs import Ask, AskError, ask
from taskfarmer_mpi.common.values import Value
from taskfarmer_mpi.common.wording import count_of, say_duration
from taskfarmer_mpi.history.runs import read_histories
from taskfarmer_mpi.ordering.forecast import SPARE, last_end, weigh_nodes
from taskfarmer_mpi.workdir.files import Workdir

SCRIPT_NODES, SCRIPT_CPUS, SCRIPT_TIME = 5, 4, 3600.0
"""What the batch scripts have."""
START = 120.0
"""For the start of a job and its end [s]."""
_HANDY = 3600.0
"""So long a job may be before more nodes are asked for than one [s]."""


class Known(Value):
    """What is known of the tasks that are left."""

    seconds: list[float]
    """What each is expected to last [s], in the order in which they run."""
    nodes: int
    """How many nodes worked last; 0 if none did."""

    def time(self, slots: int) -> float:
        """Return for how long to ask with so many slots [s]."""
        return SPARE * last_end(self.seconds, slots) + START

    def nodes_within(self, time: float, slots: int) -> int:
        """Return how many nodes with so many slots each do them in a time [s]; no more than have something to do."""
        most = -(-len(self.seconds) // slots)
        usable = max((time - START) / SPARE, 1.0)
        nodes = max(1, min(math.ceil(sum(self.seconds) / usable / slots), most))
        while nodes < most and self.time(nodes * slots) > time:
            nodes = min(max(nodes + 1, nodes * 5 // 4), most)
        return nodes

    def usual_nodes(self, slots: int) -> int:
        """Return how many nodes to ask for: as many as last, else as many as make it short."""
        choices = weigh_nodes(self.seconds, slots)
        return self.nodes or next((nodes for nodes, time in choices if time <= _HANDY), choices[-1][0])

    def __str__(self) -> str:
        together = f"{say_duration(sum(self.seconds))} in all, the longest of {say_duration(max(self.seconds))}"
        return f"{count_of(len(self.seconds), 'task')} left, by an earlier run of {together}"


def count_nodes(workdir: Workdir) -> int:
    """Return on how many nodes farmers of the last job worked; 0 if there was none."""
    histories = [history for history in read_histories(workdir)[0] if history.identity.slots]
    last = max(histories, key=lambda history: history.born, default=None)
    return 0 if last is None else len({one.identity.host for one in histories if one.identity.job == last.identity.job})


class Site(Value):
    """What Slurm says of the nodes that a job may get; None where it says nothing."""

    cpus: int | None
    """What the smallest node has."""
    limit: float | None
    """How long a job may take there [s]."""


def ask_site(partitions: Sequence[str], features: Sequence[str], ask: Ask = ask) -> Site:
    """Return what Slurm says of the nodes that a job may get.

    Parameters
    ----------
    partitions, features
        Those for which the job asks; the default partition, and all nodes, where none is given.
    ask
        How a program is asked.
    """
    try:
        answer = ask("sinfo", "--noheader", "--exact", "--format=%P %c %l %f")
    except AskError:
        return Site(None, None)
    rows = [row for line in answer.splitlines() if len(row := line.split(maxsplit=3)) == 4 and row[1].isdigit()]
    fitting = [row for row in rows if {*features} <= {*row[3].split(",")}] or rows
    wanted = {name for names in partitions for name in names.split(",")}
    own = [row for row in fitting if (row[0].rstrip("*") in wanted if wanted else row[0].endswith("*"))] or fitting
    limits = [read_limit(row[2]) for row in own]
    return Site(
        min((int(row[1]) for row in own), default=None), min((one for one in limits if one is not None), default=None)
    )


class Asked(Value):
    """What a job asks for."""

    kind: str
    """Which script."""
    directives: dict[str, str]
    """Options of sbatch, without the dashes."""
    sentences: list[str]
    """What is asked for, and from what that is known."""


class Wish(Value):
    """What the user said; None where he said nothing."""

    nodes: str | None
    seconds: float | None
    cpus: int | None
    array: str | None
    is_until_done: bool
    slots: int | None
    """Slots per farmer; 0 for one per CPU, minus N for N % of that."""

    @property
    def kind(self) -> str:
        """Which script does it."""
        return "array" if self.array is not None else "requeue" if self.is_until_done else "multinode"

    @property
    def node_count(self) -> int | None:
        """How many nodes that are at least."""
        if self.array is None:
            return None if self.nodes is None else int(self.nodes.partition("-")[0])
        match = re.fullmatch(r"(\d{1,6})-(\d{1,6})(%\d+)?", self.array)
        return max(int(match[2]) - int(match[1]) + 1, 1) if match else 1


def choose(wish: Wish, site: Site, known: Known | None) -> Asked:
    """Return what the job asks for: what the user says, else what an earlier run tells, else what the script has."""
    cpus = wish.cpus or site.cpus or SCRIPT_CPUS
    share = wish.slots or -100
    slots = share if share > 0 else max(cpus * -share // 100, 1)
    seconds, count = wish.seconds, wish.node_count
    sentences = []
    if known is not None and (seconds is None or count is None):
        sentences.append(str(known))
        if count is None:
            count = known.usual_nodes(slots) if seconds is None else known.nodes_within(seconds, slots)
        if seconds is None:
            seconds = known.time(count * slots)
            if site.limit is not None and seconds > site.limit:
                sentences.append("one job may not take so long; --until-done goes on after it" * (not wish.is_until_done))
                seconds = site.limit
    elif known is None and (seconds is None or count is None):
        missing = [name for name, value in (("-N", count), ("-t", seconds)) if value is None]
        sentences.append(
            f"no earlier run of the list tells more: what the script has counts, unless you give {' and '.join(missing)}"
        )
    count = SCRIPT_NODES if count is None else count
    time = encode_time(SCRIPT_TIME if seconds is None else seconds)
    directives = {"cpus-per-task": str(cpus), "time": time}
    directives["nodes" if wish.array is None else "array"] = wish.array or wish.nodes or str(count)
    of_nodes = (
        f"an array {wish.array} of nodes" if wish.array else f"{wish.nodes or count} {'node' if count == 1 else 'nodes'}"
    )
    sentences.append(f"asks for {of_nodes} with {count_of(cpus, 'CPU')} each, for {time}")
    return Asked(wish.kind, directives, [sentence for sentence in sentences if sentence])
