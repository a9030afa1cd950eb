"""The checker accepts a list that was worked through as promised, and refuses each way in which it was not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import checker
import pytest

TASKS = 6


@dataclass
class Place:
    """A work directory, notes and tasklist that are right, until a test breaks them."""

    folder: Path

    @property
    def workdir(self) -> Path:
        return self.folder / "work"

    @property
    def notes(self) -> Path:
        return self.folder / "notes"

    def make(self) -> None:
        """Write a list of six tasks, of which the last failed, and the fourth ran again since its farmer was killed."""
        self.workdir.mkdir()
        self.notes.mkdir()
        (self.folder / "tasks").write_text("# a comment\n\n" + "".join(f"work {i}\n" for i in range(TASKS)))
        (self.workdir / "toprocess").touch()
        self.write_list("finished", range(TASKS - 1))
        self.write_list("failed", [TASKS - 1])
        events = [{"ph": "X", "args": {"task": i, "outcome": "finished"}} for i in range(TASKS - 1)]
        (self.workdir / "timeline.json").write_text(json.dumps(events))
        for task_id in range(TASKS):
            self.note(f"{task_id}.b.start.second", 20)
            self.note(f"{task_id}.b.end.{3 if task_id == TASKS - 1 else 0}", 21)
        self.note("3.a.start.first", 10)
        self.note("3.a.beat", 12)
        self.note("excused.first.killed", 13)

    def write_list(self, name: str, ids: Iterable[int]) -> int:
        return (self.workdir / name).write_text("".join(f"{i} work {i}\n" for i in ids))

    def append(self, name: str, text: str) -> int:
        with (self.workdir / name).open("a") as file:
            return file.write(text)

    def note(self, name: str, time: float) -> Path:
        path = self.notes / name
        path.touch()
        os.utime(path, (time, time))
        return path

    def faults(self) -> list[str]:
        return checker.faults(self.workdir, self.notes, self.folder / "tasks")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.make()
    return place


def test_what_was_worked_through_as_promised_is_accepted(place: Place) -> None:
    assert place.faults() == []


BREAKAGES: dict[str, tuple[Callable[[Place], object], str]] = {
    "an outcome is lost": (lambda place: place.write_list("finished", range(1, TASKS - 1)), "not recorded: [0] (1 tasks)"),
    "a line is twice in a list": (lambda place: place.append("finished", "2 work 2\n"), "task 2 is recorded more than once"),
    "a task is in both lists": (lambda place: place.append("failed", "2 work 2\n"), "in finished and failed"),
    "a list ends in the middle of a line": (lambda place: place.append("finished", "4 wo"), "torn line"),
    "a line was written over": (lambda place: place.append("finished", "rk 4\n"), "finished:6 is not a line of a task"),
    "a block of zeros": (lambda place: place.append("failed", "\0" * 512 + "\n"), "failed:2 is not a line of a task"),
    "an ID has another task's text": (lambda place: place.append("finished", "4 work 1\n"), "is not a line of a task"),
    "an ID beyond the list": (lambda place: place.append("finished", "9 work 9\n"), "is not a line of a task"),
    "work is left": (lambda place: place.append("toprocess", "1 work 1\n"), "toprocess is not empty"),
    "added work is left": (lambda place: place.append("toprocess.added", "6 more\n"), "toprocess.added is not empty"),
    "the list is gone": (lambda place: shutil.move(place.workdir / "toprocess", place.folder), "toprocess is missing"),
    "a failure is recorded as finished": (
        lambda place: (place.write_list("finished", range(TASKS)), place.write_list("failed", [])),
        "task 5 is in finished, but ended with 3",
    ),
    "a success is recorded as failed": (
        lambda place: (place.write_list("finished", range(1, TASKS - 1)), place.write_list("failed", [0, TASKS - 1])),
        "task 0 is in failed, but ended with 0",
    ),
    "a task was recorded and never ended": (
        lambda place: shutil.move(place.notes / "1.b.end.0", place.folder),
        "never ran to its end",
    ),
    "a task was recorded and never ran": (
        lambda place: [shutil.move(place.notes / f"1.b.{kind}", place.folder) for kind in ("start.second", "end.0")],
        "task 1 never ran to its end (0 runs)",
    ),
    "a task ran again for no reason": (
        lambda place: (place.note("0.a.start.other", 5), place.note("0.a.end.0", 6)),
        "task 0 ran again, though nothing happened to other",
    ),
    "two runs at once": (lambda place: place.note("3.a.beat", 20.5), "task 3 ran twice at once"),
    "the first run ended after the second began": (lambda place: place.note("3.a.end.0", 20.5), "task 3 ran twice at once"),
    "a task that nobody asked for": (lambda place: place.note("77.a.start.first", 5), "tasks that do not exist: [77]"),
    "an end without a beginning": (lambda place: place.note("2.z.end.0", 5), "this run has no beginning"),
    "a task was removed for no reason": (
        lambda place: (place.write_list("finished", range(1, TASKS - 1)), place.append("removed", "0 removed work 0\n")),
        "task 0 was removed, and nobody asked for that",
    ),
    "a task was removed although it ran": (
        lambda place: (
            place.write_list("finished", range(1, TASKS - 1)),
            place.append("removed", "0 removed work 0\n"),
            place.note("unwanted.0", 1),
        ),
        "task 0 was removed, though second ran it",
    ),
    "a task was removed although it ran after it was asked for again": (
        lambda place: (
            place.write_list("finished", range(1, TASKS - 1)),
            place.append("removed", "0 removed work 0\n"),
            place.note("unwanted.0", 1),
            place.note("retried.0", 19),
        ),
        "task 0 was removed, though second ran it",
    ),
    "a task was removed and is recorded": (
        lambda place: (place.append("removed", "0 cancelled work 0\n"), place.note("unwanted.0", 1)),
        "task 0 is recorded more than once: in finished and removed",
    ),
    "a line of what was removed has no cause": (
        lambda place: place.append("removed", "0 work 0\n"),
        "removed:1 is not a line",
    ),
    "the timeline is an object": (lambda place: (place.workdir / "timeline.json").write_text("{}"), "is no list"),
    "the timeline is cut": (lambda place: (place.workdir / "timeline.json").write_text('[{"ph": '), "timeline.json: "),
    "the timeline has a run twice": (
        lambda place: (place.workdir / "timeline.json").write_text(
            json.dumps([{"ph": "X", "args": {"task": 1, "outcome": "finished"}}] * 2)
        ),
        "more than one end of: [1]",
    ),
}


@pytest.mark.parametrize("what", BREAKAGES)
def test_each_breakage_is_refused(what: str, place: Place) -> None:
    break_it, expected = BREAKAGES[what]
    break_it(place)
    found = place.faults()
    assert any(expected in fault for fault in found), found


def test_a_task_that_was_asked_for_again_may_run_again(place: Place) -> None:
    place.note("0.a.start.other", 5)
    place.note("0.a.end.1", 6)
    place.note("retried.0", 7)
    assert place.faults() == []


def test_a_task_that_was_asked_not_to_run_may_be_removed_or_ended(place: Place) -> None:
    place.write_list("finished", range(2, TASKS - 1))
    place.append("removed", "0 removed work 0\n")
    place.append("failed", "1 work 1\n")
    for task_id in range(2):
        place.note(f"unwanted.{task_id}", 1)
        (place.notes / f"{task_id}.b.end.0").unlink()
    (place.notes / "0.b.start.second").unlink()
    events = [{"ph": "X", "args": {"task": i, "outcome": "finished"}} for i in range(2, TASKS - 1)]
    (place.workdir / "timeline.json").write_text(json.dumps(events))
    assert place.faults() == []


def test_a_task_that_ran_may_be_removed_once_it_was_asked_for_again(place: Place) -> None:
    place.write_list("finished", range(1, TASKS - 1))
    place.append("removed", "0 removed work 0\n")
    place.note("unwanted.0", 1)
    place.note("retried.0", 30)
    assert place.faults() == []


def test_the_command_prints_what_is_wrong_and_ends_with_1(place: Place) -> None:
    command: list[str | Path] = [sys.executable, checker.__file__, place.workdir, place.notes, place.folder / "tasks"]
    right = subprocess.run(command, capture_output=True, text=True)
    assert (right.returncode, right.stdout) == (0, "nothing is wrong\n")
    place.append("toprocess", "1 work 1\n")
    wrong = subprocess.run(command, capture_output=True, text=True)
    assert wrong.returncode == 1
    assert "toprocess is not empty" in wrong.stdout


def test_the_checker_knows_nothing_of_what_it_checks() -> None:
    assert "import taskfarmer" not in Path(checker.__file__).read_text()
    assert "from taskfarmer" not in Path(checker.__file__).read_text()
