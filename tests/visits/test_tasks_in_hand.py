"""What a farmer has in its hands."""

from __future__ import annotations

from pathlib import Path

from taskfarmer_mpi.history.attempts import Attempts
from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.visits.tasks_in_hand import TasksInHand


def test_tasks_that_are_to_be_tried_again_at_the_same_moment_come_back_together(tmp_path: Path) -> None:
    tasks = TasksInHand(Attempts(tmp_path / "attempts"), "1-a")
    for number, moment in ((7, 5.0), (3, 5.0), (3, 5.0), (1, 6.0)):
        tasks.try_again(Task(number, "false"), moment)
    tasks.bring_back(4.9)
    assert tasks.back == []
    tasks.bring_back(5.0)
    assert [task.id for task in tasks.back] == [3, 3, 7]
    tasks.bring_back(6.0)
    assert [task.id for task in tasks.back] == [3, 3, 7, 1]
