"""The texts of tasks, from the files of a work directory."""

from pathlib import Path

from fakes import make_farm

from taskfarmer_mpi.history.task_texts import TaskTexts, count_tasks, read_some_texts
from taskfarmer_mpi.workdir.configuration import read_config


def test_a_task_has_the_text_of_its_list_or_else_of_its_line(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["echo a", "echo b", "echo é", "echo d"])
    farm.workdir.toprocess.write_text("3 echo d\n")
    farm.workdir.finished.write_text("0 echo a\n2 echo é\nno line\n99999999999999 x\n4 torn")
    texts = TaskTexts(farm.workdir, Path(farm.handler.path))
    assert [texts[task_id] for task_id in range(5)] == ["echo a", "echo b", "echo é", "echo d", "task 4"]
    without = TaskTexts(farm.workdir, None)
    assert [without[task_id] for task_id in (0, 1)] == ["echo a", "task 1"]


def test_a_tasklist_that_is_gone_hides_only_what_is_on_no_list(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["echo a", "echo b"])
    farm.workdir.toprocess.write_text("1 echo b\n")
    Path(farm.handler.path).unlink()
    texts = TaskTexts(farm.workdir, Path(farm.handler.path))
    assert [texts[0], texts[1]] == ["task 0", "echo b"]


def test_a_task_that_came_later_has_its_text_while_it_is_on_no_list(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["echo a"])
    Path(farm.handler.path).write_text("echo a\necho other\n")
    farm.workdir.tasks_added.write_text("1 added echo b\n2 line echo c\n")
    farm.workdir.finished.write_text("2 echo c\n")
    texts = TaskTexts(farm.workdir, Path(farm.handler.path))
    assert [texts[task_id] for task_id in range(3)] == ["echo a", "echo b", "echo c"]
    stored = read_config(farm.workdir)
    assert read_some_texts(farm.workdir, stored, {0, 1}) == {0: "echo a", 1: "echo b"}
    assert read_some_texts(farm.workdir, None, {0, 1}) == {1: "echo b"}
    assert count_tasks(farm.workdir, stored) == 3
