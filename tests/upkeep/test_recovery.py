"""What becomes of a dead farmer's tasks, wherever it died."""

import shutil
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from fakes import Hand, ids_in, make_farm, take_tasks, unasked

from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.tasklists.task import Task
from taskfarmer_mpi.upkeep.recovery import Recovery, recover, recover_at_start
from taskfarmer_mpi.workdir.farm import Farm
from taskfarmer_mpi.workdir.journal_reading import all_journals, open_journals
from taskfarmer_mpi.workdir.lists import append_tasks

COMMANDS = [f"true {i}" for i in range(10)]


def settle(farm: Farm) -> Recovery:
    return replace(recover(farm, (), 5.0), begin=0.0, end=0.0)


def cut(farm: Farm, count: int) -> list[int]:
    return [task.id for task in take_tasks(farm.workdir.toprocess, count)]


def record(path: Path, farm: Farm, *ids: int) -> None:
    append_tasks(path, [Task(task_id, farm.catalog[task_id]) for task_id in ids], unasked)


def test_tasks_in_a_dead_farmers_hands_go_back_and_their_outcomes_are_recorded(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    hand = Hand(farm, "dead")
    hand.note("taken", ids=cut(farm, 4))
    hand.end(0, 0)
    hand.end(1, 3)
    hand.die()
    assert settle(farm) == Recovery(farmers=1, tasks=2)
    assert ids_in(farm.workdir.finished) == [0]
    assert ids_in(farm.workdir.failed) == [1]
    assert ids_in(farm.workdir.toprocess) == [9, 8, 7, 6, 5, 4, 3, 2]
    assert (open_journals(farm.workdir.farmers), len(all_journals(farm.workdir.farmers))) == ([], 1)
    assert not list(farm.workdir.path.glob("lock.*"))


def test_recovering_again_changes_nothing(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    hand = Hand(farm, "dead")
    hand.note("taken", ids=cut(farm, 4))
    hand.die()
    settle(farm)
    before = farm.workdir.toprocess.read_bytes()
    assert settle(farm) == Recovery()
    assert farm.workdir.toprocess.read_bytes() == before


def test_a_farmer_that_is_dead_by_the_locks_of_a_copy_of_the_work_directory_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    hand = Hand(farm, "alive")
    hand.note("taken", ids=cut(farm, 4))
    path, away, held = farm.workdir.path, tmp_path / "away", farm.lock.held
    path.rename(away)
    shutil.copytree(away, path)
    hand.end(0, 0)

    def held_in_the_original(patience: float) -> AbstractContextManager[None]:
        if away.exists():
            shutil.rmtree(path)
            away.rename(path)
        return held(patience)

    monkeypatch.setattr(farm.lock, "held", held_in_the_original)
    assert settle(farm).tasks == 0
    assert open_journals(farm.workdir.farmers) == [hand.journal.path]
    assert ids_in(farm.workdir.toprocess) == [9, 8, 7, 6, 5, 4]
    hand.die()
    assert settle(farm) == Recovery(farmers=1, tasks=3)
    assert ids_in(farm.workdir.finished) == [0]


def test_a_living_farmer_is_left_alone(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    hand = Hand(farm, "alive")
    hand.note("taken", ids=cut(farm, 4))
    hand.note("begin", id=0, slot=0)
    assert settle(farm) == Recovery()
    assert len(ids_in(farm.workdir.toprocess)) == 6


def test_tasks_that_still_run_are_not_given_back(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    hand = Hand(farm, "dead")
    hand.note("taken", ids=cut(farm, 4))
    hand.journal.abandon()
    hand.life.release()
    recovery = settle(farm)
    assert (recovery.farmers, recovery.tasks) == (0, 0)
    assert "still run" in recovery.waiting[0]
    hand.task_lock.release()
    assert settle(farm).tasks == 4


def test_a_farmer_whose_lock_file_is_missing_is_not_taken_for_dead(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    hand = Hand(farm, "lost")
    hand.note("taken", ids=cut(farm, 4))
    hand.life.path.unlink()
    assert f"touch {hand.life.path}" in settle(farm).waiting[0]
    assert len(ids_in(farm.workdir.toprocess)) == 6


def test_death_between_the_journal_and_the_cut_changes_nothing(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    hand = Hand(farm, "dead")
    hand.note("taken", ids=[0, 1, 2])
    hand.die()
    assert settle(farm).tasks == 0
    assert sorted(ids_in(farm.workdir.toprocess)) == list(range(10))


def test_what_others_took_after_such_a_death_is_theirs(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    hand = Hand(farm, "dead")
    hand.note("taken", ids=[0, 1, 2])
    hand.die()
    assert cut(farm, 2) == [0, 1]  # a plain farmer that leaves no trace
    assert settle(farm).tasks == 0
    assert sorted(ids_in(farm.workdir.toprocess)) == list(range(2, 10))


def test_what_a_second_farmer_took_after_such_a_death_is_given_back_when_it_died_too(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    first, second = Hand(farm, "a"), Hand(farm, "b")
    first.note("taken", ids=[0, 1, 2])
    first.die()
    second.note("taken", ids=cut(farm, 2))
    second.die()
    assert settle(farm) == Recovery(farmers=2, tasks=2)
    assert sorted(ids_in(farm.workdir.toprocess)) == list(range(10))


def test_a_task_that_another_farmer_holds_or_recorded_is_not_given_back(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    dead, alive = Hand(farm, "dead"), Hand(farm, "alive")
    cut(farm, 4)
    dead.note("taken", ids=[0, 1, 2, 3])
    dead.note("begin", id=0, slot=0)
    alive.note("taken", ids=[0])
    alive.note("taken", ids=[1])
    alive.end(1, 0)
    record(farm.workdir.failed, farm, 2)
    dead.die()
    assert settle(farm).tasks == 1
    assert ids_in(farm.workdir.toprocess) == [9, 8, 7, 6, 5, 4, 3]
    assert ids_in(farm.workdir.failed) == [2]


def test_an_outcome_that_reached_its_list_is_not_recorded_twice(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    hand = Hand(farm, "dead")
    hand.note("taken", ids=cut(farm, 3))
    for task_id in range(3):
        hand.end(task_id, 0)
    record(farm.workdir.finished, farm, 0, 1)
    with farm.workdir.finished.open("ab") as file:
        file.write(b"2 tr")  # it died in the middle of the third line
    hand.die()
    assert settle(farm) == Recovery(farmers=1)
    assert farm.workdir.finished.read_text() == "0 true 0\n1 true 1\n2 true 2\n"


def test_a_task_that_ended_is_taken_off_a_list_whose_cut_was_lost_with_the_power(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    hand = Hand(farm, "dead")
    hand.note("taken", ids=[0, 1, 2])  # the cut that followed never reached the disk
    hand.end(0, 0)
    hand.end(1, 3)
    hand.die()
    assert settle(farm).farmers == 1
    assert (ids_in(farm.workdir.finished), ids_in(farm.workdir.failed)) == ([0], [1])
    assert ids_in(farm.workdir.toprocess) == [9, 8, 7, 6, 5, 4, 3, 2]


@pytest.mark.parametrize(
    "record", ['{"ev":"taken"}', '{"ev":"taken","ids":7}', '{"ev":"given","ids":["a"]}', '{"ev":"end","id":-1,"rc":0}']
)
def test_a_journal_with_a_damaged_record_is_left_alone_and_told(tmp_path: Path, record: str) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    damaged, dead = Hand(farm, "a"), Hand(farm, "b")
    cut(farm, 2)
    damaged.note("taken", ids=[0])
    with damaged.journal.path.open("a") as file:
        file.write(f"{record}\n")
    dead.note("taken", ids=[1])
    damaged.die()
    recovery = settle(farm)
    assert "a.journal: a record of " in recovery.waiting[0]
    assert recovery.farmers == 0
    assert damaged.journal.path.exists()
    assert ids_in(farm.workdir.toprocess) == [9, 8, 7, 6, 5, 4, 3, 2]


def test_death_between_giving_back_and_saying_so_changes_nothing(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    hand = Hand(farm, "dead")
    hand.note("taken", ids=cut(farm, 3))
    hand.note("begin", id=0, slot=0)
    hand.note("giving", ids=[0, 1, 2])
    record(farm.workdir.toprocess, farm, 2, 1, 0)
    hand.die()
    assert settle(farm).tasks == 0
    assert sorted(ids_in(farm.workdir.toprocess)) == list(range(10))


def test_death_before_giving_back_gives_back(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    hand = Hand(farm, "dead")
    hand.note("taken", ids=cut(farm, 3))
    hand.note("giving", ids=[0, 1, 2])
    hand.die()
    assert settle(farm).tasks == 3
    assert sorted(ids_in(farm.workdir.toprocess)) == list(range(10))


def test_a_torn_line_at_the_end_of_a_journal_is_passed_over(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    hand = Hand(farm, "dead")
    hand.note("taken", ids=cut(farm, 2))
    hand.end(0, 0)
    with hand.journal.path.open("ab") as file:
        file.write(b'{"ev":"end","t":1.0,"id":1,"slot":0,"begin":1.0,"en')
    hand.die()
    settle(farm)
    assert ids_in(farm.workdir.finished) == [0]
    assert ids_in(farm.workdir.toprocess)[-1] == 1


def test_many_dead_farmers_are_settled_at_once(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    hands = [Hand(farm, f"dead{i}") for i in range(4)]
    for hand in hands:
        hand.note("taken", ids=cut(farm, 2))
        hand.note("begin", id=0, slot=0)
        hand.die()
    assert settle(farm) == Recovery(farmers=4, tasks=8)
    assert sorted(ids_in(farm.workdir.toprocess)) == list(range(10))


def test_a_journal_of_a_newer_format_is_named_and_left_alone(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    path = farm.workdir.farmers / "new.journal"
    path.write_text('{"ev":"farmer","t":1,"format":99}\n')
    assert "new.journal" in settle(farm).waiting[0]
    assert path.exists()


def test_only_lock_files_of_the_farmer_itself_are_touched(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    victim = tmp_path / "victim"
    victim.write_bytes(b"")
    hand = Hand(farm, "dead")
    text = hand.journal.path.read_text().replace(str(hand.life.path), str(victim))
    hand.journal.path.write_text(text)
    hand.die()
    assert "not its own" in settle(farm).waiting[0]
    assert victim.exists()


def test_a_farmer_with_nothing_in_its_hands_is_not_waited_for(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    hand = Hand(farm, "lost")
    hand.life.path.unlink()
    assert settle(farm) == Recovery()


def test_a_torn_give_back_is_completed(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    hand = Hand(farm, "dead")
    hand.note("taken", ids=cut(farm, 3))
    hand.note("giving", ids=[0, 1, 2])
    with farm.workdir.toprocess.open("ab") as file:
        file.write(b"2 true 2\n1 tr")
    hand.die()
    assert settle(farm).tasks == 2
    assert sorted(ids_in(farm.workdir.toprocess)) == list(range(10))


def test_a_recovery_that_dies_in_the_middle_of_giving_back_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    hand = Hand(farm, "dead")
    hand.note("taken", ids=cut(farm, 3))
    hand.die()

    class KilledError(BaseException):
        pass

    def torn(*_: object) -> None:
        record(farm.workdir.toprocess, farm, 2)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr("taskfarmer_mpi.upkeep.recovery.give_back_tasks", torn)
        with pytest.raises(KilledError):
            settle(farm)
    assert settle(farm).tasks == 2
    assert sorted(ids_in(farm.workdir.toprocess)) == list(range(10))


def test_a_journal_that_names_tasks_which_do_not_exist_is_left_alone(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    hand = Hand(farm, "odd")
    hand.note("taken", ids=[10])
    hand.die()
    assert settle(farm) == Recovery(unknown=1)


def test_tasks_that_were_added_after_this_farmer_looked_go_back_to_their_own_stack(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    make_farm(tmp_path, [*COMMANDS, "true 10"]).workdir.added.write_text("")
    hand = Hand(farm, "younger")
    hand.note("taken", ids=[10])
    hand.die()
    assert settle(farm).tasks == 1
    assert ids_in(farm.workdir.added) == [10]


def test_a_farmer_born_during_recovery_keeps_what_it_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    hand = Hand(farm, "dead")
    hand.note("taken", ids=[0, 1, 2])
    hand.die()
    held = farm.lock.held

    def late(patience: float) -> AbstractContextManager[None]:
        born = Hand(farm, "born")
        born.note("taken", ids=cut(farm, 3))
        return held(patience)

    monkeypatch.setattr(farm.lock, "held", late)
    assert settle(farm).tasks == 0
    assert sorted(ids_in(farm.workdir.toprocess)) == list(range(3, 10))


@pytest.mark.parametrize("step", ["close", "finished", "toprocess"])
def test_recovery_that_dies_is_done_again(tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    hand = Hand(farm, "dead")
    hand.note("taken", ids=cut(farm, 4))
    hand.end(0, 0)
    hand.die()

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    name = {"close": "close_journal", "finished": "append_tasks", "toprocess": "give_back_tasks"}[step]
    with monkeypatch.context() as patch:
        patch.setattr(f"taskfarmer_mpi.upkeep.recovery.{name}", die)
        with pytest.raises(Killed):
            settle(farm)
    assert settle(farm).farmers == 1
    assert ids_in(farm.workdir.finished) == [0]
    assert sorted(ids_in(farm.workdir.toprocess)) == list(range(1, 10))


def test_a_foreign_line_with_the_number_of_a_task_does_not_stand_for_it(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    hand = Hand(farm, "dead")
    hand.note("taken", ids=cut(farm, 1))
    hand.note("begin", id=0, slot=0)
    with farm.workdir.toprocess.open("a") as file:
        file.write("0 another task\n")
    hand.die()
    assert settle(farm).tasks == 1
    assert farm.workdir.toprocess.read_text().endswith("0 another task\n0 true 0\n")


def test_a_task_whose_farmer_cannot_be_settled_yet_is_not_run_again_after_a_loss_of_power(tmp_path: Path) -> None:
    """The cut of the list was lost, and SCRATCH with the life locks was emptied when the node came up again."""
    farm = make_farm(tmp_path, COMMANDS)
    hand = Hand(farm, "lost")
    hand.note("taken", ids=[0, 1])
    hand.end(0, 0)
    hand.life.path.unlink()
    hand.die()
    damaged = Hand(farm, "damaged")
    damaged.note("taken", ids=["x"])
    damaged.die()
    recovery = recover_at_start(farm, 5.0)
    assert (recovery.farmers, len(recovery.waiting)) == (0, 2)
    assert ids_in(farm.workdir.toprocess) == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    damaged.journal.path.unlink()
    hand.life.path.touch()  # as the message says
    assert settle(farm).farmers == 1
    assert ids_in(farm.workdir.finished) == [0]
    assert ids_in(farm.workdir.toprocess) == [9, 8, 7, 6, 5, 4, 3, 2, 1]


def test_a_start_that_has_to_wait_for_another_farmer_takes_nothing_else_off_the_list(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    lost = Hand(farm, "lost")
    lost.note("taken", ids=cut(farm, 2))
    lost.life.path.unlink()
    lost.die()
    living = Hand(farm, "living")
    living.note("taken", ids=cut(farm, 2))
    living.end(2, 0)
    before = farm.workdir.toprocess.read_bytes()
    assert len(recover_at_start(farm, 5.0).waiting) == 1
    assert farm.workdir.toprocess.read_bytes() == before
