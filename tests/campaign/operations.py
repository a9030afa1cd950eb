"""The operations that `every_call` kills, and the states from which they start."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from campaign.calls import Call, from_journal_to_task, in_workdir, killing, under_lock
from campaign.every_call import DEAD, DEADLINE, Operation
from campaign.local import Launch, LocalFarm

SECONDS = (0.0,) * 6
UNWANTED = (4, 5)
"""Tasks that are removed; they are the last on the list."""
_SAME_NAMES = (sys.executable, str(Path(__file__).with_name("same_names.py")))


def _nothing(_: LocalFarm) -> None:
    """Leave the list as it is: without a work directory."""


def _finish(farm: LocalFarm) -> None:
    """Have everything done."""
    farm.farmer("-n", "2").process.succeed(DEADLINE, code=1)


def _ask_for_failed(farm: LocalFarm) -> None:
    """Have everything done, and excuse the failed tasks, which will be asked for again."""
    _finish(farm)
    for line in (farm.workdir / "failed").read_text().splitlines():
        farm.notes.retried(int(line.partition(" ")[0]))


def _die(call: str, number: int, file: str = "") -> Callable[[LocalFarm], None]:
    """Return what has a farmer die before a call, with tasks in its hands."""

    def die(farm: LocalFarm) -> None:
        prefix = killing(farm.trace(), call, number, farm.workdir / file if file else None)
        launch = farm.farmer("-n", "2", prefix=prefix)
        farm.notes.excuse(launch.label, "SIGKILL")
        code = launch.process.wait(DEADLINE)
        assert code in DEAD, f"it did not die at {call} {number}: {launch.process.said()}"
        assert list((farm.workdir / "farmers").glob("*.journal")), "it died without a journal"

    return die


def _farmer(farm: LocalFarm, prefix: Sequence[str]) -> Launch:
    return farm.farmer("-n", "1", prefix=[*prefix, *_SAME_NAMES])


def _farmer_that_is_stopped(farm: LocalFarm, prefix: Sequence[str]) -> Launch:
    """Start a farmer that gets SIGTERM, as by a stop, when it starts its third program."""
    stop = ["-e", f"inject=clone3:signal={signal.SIGTERM.value}:when=3"]
    return farm.farmer("-n", "1", prefix=[prefix[0], *stop, *prefix[1:], *_SAME_NAMES])


def _add(farm: LocalFarm, prefix: Sequence[str]) -> Launch:
    tasks = [farm.notes.task(task_id, 0.0) for task_id in (farm.listed, farm.listed + 1)]
    return farm.command("add", *tasks, prefix=prefix)


def _retry(farm: LocalFarm, prefix: Sequence[str]) -> Launch:
    return farm.command("retry", prefix=prefix)


def _merge(farm: LocalFarm, prefix: Sequence[str]) -> Launch:
    return farm.command("trace", prefix=prefix)


def _remove(farm: LocalFarm, prefix: Sequence[str]) -> Launch:
    for task_id in UNWANTED:
        farm.notes.unwanted(task_id)
    return farm.command("remove", *map(str, UNWANTED), prefix=prefix)


def _damage(farm: LocalFarm) -> None:
    """Have a farmer die, and damage what it leaves: its journal does not say whose it is, and the list lacks a task."""
    _die("write", 1, "finished")(farm)
    (journal,) = (farm.workdir / "farmers").glob("*.journal")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(bytes(len(lines[0])) + b"".join(lines[1:]))
    toprocess = farm.workdir / "toprocess"
    lines = toprocess.read_bytes().splitlines(keepends=True)
    assert lines, "all tasks were taken"
    toprocess.write_bytes(b"".join([*lines[:-1], bytes(20), b"\n"]))


def _repair(farm: LocalFarm, prefix: Sequence[str]) -> Launch:
    return farm.command("repair", "--apply", prefix=prefix)


def _edit(farm: LocalFarm) -> None:
    """Have a farmer die with tasks in its hands, and edit the list: a new line, one that is gone, some that moved."""
    _die("write", 1, "finished")(farm)
    farm.notes.unwanted(5)
    lines = farm.tasklist.read_text().splitlines()
    farm.site.tasklist([*lines[2:5], farm.notes.task(6, 0.0), *lines[:2]])


def _accept(farm: LocalFarm, prefix: Sequence[str]) -> Launch:
    return farm.farmer("-n", "1", "--accept-changes", prefix=[*prefix, *_SAME_NAMES])


def _accept_again(farm: LocalFarm) -> None:
    """Take the edit over by a farmer with a name of its own: the dead one may have left its lock files."""
    farm.farmer("-n", "1", "--accept-changes").process.succeed(DEADLINE, code=1)


def _taking_over(calls: list[Call]) -> list[Call]:
    """Return the calls from the first draft of `tasks.added` to the first start of a program after that."""
    begin = next(index for index, call in enumerate(calls) if call.file.startswith(".tasks.added"))
    starts = [index for index, call in enumerate(calls) if index > begin and call.name == "clone3"]
    return calls[begin : starts[0] if starts else len(calls)]


OPERATIONS = [
    Operation("visit", SECONDS, _nothing, _farmer, under_lock),
    Operation("stop", SECONDS, _nothing, _farmer_that_is_stopped, under_lock),
    Operation("recovery-before-cut", SECONDS, _die("ftruncate", 2, "toprocess"), _farmer, from_journal_to_task),
    Operation("recovery-of-outcomes", SECONDS, _die("write", 1, "finished"), _farmer, from_journal_to_task),
    Operation("merge", SECONDS, _finish, _merge, in_workdir),
    Operation("add", SECONDS, _finish, _add, in_workdir),
    Operation("retry", SECONDS, _ask_for_failed, _retry, in_workdir),
    Operation("remove", SECONDS, _die("ftruncate", 2, "toprocess"), _remove, in_workdir),
    Operation("repair", SECONDS, _damage, _repair, in_workdir, lambda farm: _repair(farm, ()).process.succeed(DEADLINE)),
    Operation("accept-changes", SECONDS, _edit, _accept, _taking_over, _accept_again),
]
