"""Where every task is, for those who only look."""

from collections.abc import Collection
from pathlib import Path

from fakes import Hand, make_farm

from taskfarmer_mpi.history.task_states import MAX_ID, Place, TaskStates
from taskfarmer_mpi.upkeep.census import take_census
from taskfarmer_mpi.workdir.journal import close_journal

COMMANDS = [f"true {i}" for i in range(8)]


def test_every_task_is_counted_where_the_census_counts_it(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    farm.workdir.toprocess.write_text("6 true 6\n5 true 5\n")
    farm.workdir.finished.write_text("0 true 0\n2 tor")
    farm.workdir.failed.write_text("1 true 1\n")
    hand = Hand(farm, "alive")
    hand.note("taken", ids=[2, 3])
    hand.end(3, 0)
    where = TaskStates(farm.workdir)
    where.look(len(COMMANDS))
    census = take_census(farm, 5.0)
    assert where.count(Place.FINISHED) == census.finished == 1
    assert where.at(Place.FAILED) == census.failed == [1]
    assert where.count(Place.TO_DO) == census.to_do == 2
    assert where.count(Place.HELD) == census.held == 2
    assert where.at(Place.NOWHERE) == census.lost == [4, 7]
    assert where.at(Place.NOWHERE, 1) == [4]


def test_a_second_look_sees_what_has_come_since(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    hand = Hand(farm, "alive")
    where = TaskStates(farm.workdir)
    where.look()
    assert where.count(Place.TO_DO) == 8
    hand.note("taken", ids=[0, 1])
    farm.workdir.toprocess.write_text("".join(f"{i} true {i}\n" for i in range(7, 1, -1)))
    where.look()
    assert (where.at(Place.HELD), where.count(Place.TO_DO)) == ([0, 1], 6)
    farm.workdir.failed.write_text("0 true 0\n1 true 1\n")
    where.look()
    assert where.at(Place.FAILED) == [0, 1]
    (tmp_path / "new").write_text("1 true 1\n")  # somebody has failed tasks run again
    (tmp_path / "new").replace(farm.workdir.failed)
    farm.workdir.toprocess.write_text("".join(f"{i} true {i}\n" for i in (*range(7, 1, -1), 0)))
    hand.note("given", ids=[0])
    where.look()
    assert (where.at(Place.FAILED), where.count(Place.TO_DO)) == ([1], 7)


def test_a_task_on_its_way_back_to_the_list_is_not_in_nobodys_hands(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["true 0"])
    hand = Hand(farm, "alive")
    hand.note("taken", ids=[0])
    farm.workdir.toprocess.write_text("")

    class Given(TaskStates):
        """Has the task given back between the list and the journal."""

        def _read_journals(self, wanted: Collection[int]) -> None:
            if not self.summaries:
                farm.workdir.toprocess.write_text("0 true 0\n")
                hand.note("given", ids=[0])
            super()._read_journals(wanted)

    where = Given(farm.workdir)
    where.look(1)
    assert where.at(Place.TO_DO) == [0]


def test_an_id_that_cannot_be_costs_no_memory(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS)
    farm.workdir.finished.write_text(f"{MAX_ID + 1} x\n99999999999999999 x\n0 true 0\nnonsense\n")
    where = TaskStates(farm.workdir)
    where.look()
    assert len(where.places) == 8


def test_a_task_that_is_to_be_done_again_is_to_do_whatever_its_old_journals_have(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, COMMANDS[:3])
    for name, task in (("closed", 0), ("alive", 1)):
        hand = Hand(farm, name)
        hand.note("taken", ids=[task])
        hand.end(task, 1)
        hand.note("recorded")
        if name == "closed":
            hand.die()
            close_journal(hand.journal.path)
    farm.workdir.toprocess.write_text("1 true 1\n0 true 0\n")  # as `taskfarmer-ctl retry` leaves them
    where = TaskStates(farm.workdir)
    where.look(3)
    assert (where.at(Place.TO_DO), where.count(Place.HELD), where.at(Place.NOWHERE)) == ([0, 1], 0, [2])
    youngest = Hand(farm, "youngest")
    youngest.note("taken", ids=[1])
    youngest.note("begin", id=1, slot=0)  # it was taken and began when the list had been read already
    where.look(3)
    assert (where.at(Place.TO_DO), where.at(Place.HELD), where.at(Place.NOWHERE)) == ([0], [1], [2])
    youngest.note("end", id=1, slot=0, begin=1.0, end=2.0, rc=1, cpu=0.0, rss=0)
    youngest.note("recorded")
    farm.workdir.toprocess.write_text("1 true 1\n")  # a PyTaskFarmer took one
    where.look(3)
    assert (where.at(Place.TO_DO), where.count(Place.HELD), where.at(Place.NOWHERE)) == ([1], 0, [0, 2])
