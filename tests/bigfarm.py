"""Makes a work directory as farmers would have left it, of any size, without running a task."""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from fakes import stored_as

from taskfarmer_mpi.common.values import as_dict, replace
from taskfarmer_mpi.workdir.configuration import encode_config
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.journal_records import FORMAT, Identity, encode_record

BATCH = 50
LOG = """\
reading input
Traceback (most recent call last):
  File "analyse.py", line 3
ValueError: <script>alert('log')</script>
"""


@dataclass(frozen=True)
class Shape:
    """What the farm is like."""

    tasks: int
    farmers: int = 5
    slots: int = 16
    mean: float = 3.0
    """What a task takes on average [s]."""
    done: float = 1.0
    """Which part of the tasks is done."""
    failing: float = 0.002
    """Which part of the tasks fails."""
    giants: float = 0.0005
    """Which part of the tasks takes ten times as long as others."""
    end: float = 1_795_500_000.0
    """When the last task ended [s since the epoch]."""
    stagger: float = 0.0
    """How long after each other the farmers start [s]."""
    tail: float = 1.0
    """How many times longer the last tasks take."""


@dataclass
class _Farmer:
    identity: Identity
    file: TextIO
    queue: list[int] = field(default_factory=list)
    last: float = 0.0

    def note(self, kind: str, moment: float, **fields: object) -> None:
        self.file.write(encode_record(kind, moment, dict(fields)).decode())


def command(task: int) -> str:
    """Return the line of a task."""
    return f"python analyse.py --seed {task} --input data/run_{task % 97:02d}.h5" + (
        " # <script>alert(1)</script>" * (task == 1)
    )


def write_farm(folder: Path, shape: Shape) -> Path:
    """Make the work directory in an existing folder; return it. If not all tasks are done, its farmers count as dead."""
    dice = random.Random(1)
    tasklist = folder / "simulation.tasks"
    tasklist.write_text("".join(f"{command(task)}\n" for task in range(shape.tasks)))
    workdir = Workdir(folder / "simulation.tasks_workdir")
    workdir.create()
    done = round(shape.tasks * shape.done)
    workdir.config.write_bytes(encode_config(replace(stored_as(str(tasklist)), listed=shape.tasks)))
    to_do = (f"{task} {command(task)}\n" for task in range(shape.tasks - 1, done - 1, -1))
    workdir.toprocess.write_text("".join(to_do))
    begin = shape.end - (done * shape.mean / (shape.farmers * shape.slots) + shape.farmers * shape.stagger / 2)
    farmers = [_open_farmer(workdir, number, begin + number * shape.stagger, shape) for number in range(shape.farmers)]
    with workdir.finished.open("w") as finished, workdir.failed.open("w") as failed:
        _run_tasks(workdir, farmers, shape, done, begin, dice, finished, failed)
    for farmer in farmers:
        farmer.note("recorded", farmer.last + 0.2)
        if shape.done == 1:
            farmer.note("leave", max(farmer.last for farmer in farmers) + 0.3)
        farmer.file.close()
    return workdir.path


def _open_farmer(workdir: Workdir, number: int, born: float, shape: Shape) -> _Farmer:
    name = f"20261124T0600{number:02d}Z-node{number:02d}-4{number:02d}-abc123"
    identity = Identity(
        farmer=name,
        host=f"node{number:02d}",
        pid=4000 + number,
        rank=number,
        ranks=shape.farmers,
        job="123456",
        slots=shape.slots,
        alive_lock=str(workdir.path / f"lock.{name}.alive"),
        task_lock=str(workdir.path / f"lock.{name}.tasks"),
    )
    if shape.done < 1:
        Path(identity.alive_lock).touch()
        Path(identity.task_lock).touch()
    suffix = "closed" if shape.done == 1 else "journal"
    farmer = _Farmer(identity, (workdir.farmers / f"{name}.{suffix}").open("w"), last=born)
    farmer.note("farmer", born, format=FORMAT, **as_dict(identity))
    return farmer


def _run_tasks(
    workdir: Workdir,
    farmers: list[_Farmer],
    shape: Shape,
    done: int,
    begin: float,
    dice: random.Random,
    finished: TextIO,
    failed: TextIO,
) -> None:
    slots = [
        (begin + n * shape.stagger + dice.random() * 0.1, n, slot)
        for n in range(len(farmers))
        for slot in range(shape.slots)
    ]
    heapq.heapify(slots)
    next_task = 0
    while next_task < done or any(farmer.queue for farmer in farmers):
        moment, number, slot = heapq.heappop(slots)
        farmer = farmers[number]
        if not farmer.queue:
            batch = min(BATCH, max(1, (done - next_task) // (2 * len(farmers))))
            farmer.queue = list(range(next_task, min(next_task + batch, done)))
            next_task += len(farmer.queue)
            if not farmer.queue:
                continue
            farmer.note("recorded", moment)
            farmer.note("taken", moment, ids=farmer.queue)
            farmer.queue.reverse()
        task = farmer.queue.pop()
        length = dice.lognormvariate(0, 0.7) * shape.mean / math.exp(0.245)
        length *= 10 if dice.random() < shape.giants else 1
        length *= shape.tail if task >= done - shape.slots else 1
        code = dice.choice([1, 1, 1, 3, -9, 139, 127]) if dice.random() < shape.failing else 0
        end = moment + length
        farmer.last = max(farmer.last, end)
        cpu, rss = 0.9 * length, dice.randrange(10_000, 900_000)
        farmer.file.write(f'{{"ev":"begin","t":{moment:.6f},"id":{task},"slot":{slot}}}\n')
        farmer.file.write(
            f'{{"ev":"end","t":{end:.6f},"id":{task},"slot":{slot},"begin":{moment:.6f},"end":{end:.6f},"rc":{code},'
            f'"cpu":{cpu:.6f},"rss":{rss}}}\n'
        )
        (failed if code else finished).write(f"{task} {command(task)}\n")
        if code:
            workdir.log(task).write_text(LOG)
        heapq.heappush(slots, (end + 0.002, number, slot))
